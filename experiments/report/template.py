"""Templates of the pages, and what several of them show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from experiments.media import data_uri, jpeg
from experiments.strips import Strip

TEMPLATES = Path(__file__).parent


def render(template: str, context: Mapping[str, Any], path: Path) -> Path:
    """Write a page, which appears whole or not at all; returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    partial = path.with_suffix(".partial")
    partial.write_text(environment.get_template(template).render(context))
    return partial.replace(path)


def video_words(video: bytes, last_frame: np.ndarray, caption: str) -> dict[str, str]:
    """An MP4 for a template, with its last frame, `(H, W, 3)` uint8, for paper."""
    return {
        "source": data_uri(video, "video/mp4"),
        "still": data_uri(jpeg(last_frame), "image/jpeg"),
        "caption": caption,
    }


def strip_words(strip: Strip) -> dict[str, Any]:
    """A strip for a template; its frames are pictures of their own, so that they fold on a narrow page."""
    frames = [data_uri(frame, "image/jpeg") for frame in strip.frames()]
    return {**{k: v for k, v in vars(strip).items() if k != "image"}, "frames": frames}
