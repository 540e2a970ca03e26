"""`audit.html`: what was made of each episode, to look at in a browser."""

import base64
import io
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from PIL import Image

from reward_models.augment.output import STAGED, rules_of
from reward_models.data.published import SPLITS
from reward_models.data.video_file import video_of, whole_file
from roboreward_gym.errors import RoboRewardError

PAGE = "audit.html"
FRAMES = 6
FRAME_SIZE = (160, 96)


def write_page(out: Path, lines: Iterable[Mapping[str, Any]], most: int) -> None:
    """Write the page about the first `most` episodes, and all that has no examples.

    Raises:
        OutputError: No room.
    """
    lines = list(lines)
    shown = [_episode(out, line) for line in lines if line.get("rows")][:most]
    without = [line for line in lines if not line.get("rows")]
    counts: dict[str, int] = {}
    for line in lines:
        for rule in rules_of(line):
            counts[rule] = counts.get(rule, 0) + 1
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = files("reward_models.augment").joinpath("page.html").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        name=out.name,
        episodes=shown,
        total=sum(bool(line.get("rows")) for line in lines),
        examples=sum(len(line.get("rows", ())) for line in lines),
        without=without[:most],
        rules=sorted(counts.items(), key=lambda pair: -pair[1]),
    )
    with whole_file(out / PAGE) as beside:
        beside.write_text(text, encoding="utf-8")


def _episode(out: Path, line: Mapping[str, Any]) -> dict[str, Any]:
    row = line["rows"][0]
    path = next(
        (p for place in (*SPLITS, STAGED) if (p := out / place / row["file_name"]).exists()), None
    )
    events = sorted(
        line["events"], key=lambda e: (e["kind"] != "original", e["kind"], e["level"] or 0)
    )
    return {
        **line,
        "events": events,
        "video": None if path is None else path.relative_to(out).as_posix(),
        "split": None if path is None else path.relative_to(out).parts[0],
        "strip": None if path is None else _strip(path),
    }


def _strip(path: Path) -> str | None:
    """A few frames side by side, as a data URL."""
    try:
        frames = video_of(path).read().frames
    except RoboRewardError:
        return None
    chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    strip = Image.new("RGB", (FRAME_SIZE[0] * len(chosen), FRAME_SIZE[1]))
    for place, i in enumerate(chosen):
        strip.paste(Image.fromarray(frames[i]).resize(FRAME_SIZE), (place * FRAME_SIZE[0], 0))
    buffer = io.BytesIO()
    strip.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
