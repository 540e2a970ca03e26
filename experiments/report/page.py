"""The page of a report: one HTML file that needs no other file and no network."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from experiments.metrics import UNKNOWN, Rate, false_positive_rate, mean_absolute_error
from experiments.report import plots
from experiments.report.media import data_uri, video
from experiments.report.strips import Strip
from experiments.results import Training

TEMPLATE = Path(__file__).with_name("report.html.j2")


@dataclass(frozen=True)
class Group:
    """Strips under one heading."""

    title: str
    note: str
    strips: Sequence[Strip]


@dataclass(frozen=True, eq=False)
class EpisodeVideo:
    """An episode to be shown as a video; frames `(T, H, W, 3)` uint8, rate in [Hz]."""

    frames: np.ndarray
    fps: float
    caption: str


@dataclass(frozen=True, eq=False)
class Page:
    """All that is shown about one run.

    Attributes:
        title: Heading.
        lead: What was done, in one or two sentences.
        base: Success of the base policy.
        final: Success of the fine-tuned policy.
        training: The training episodes.
        curve_note: What the learner knew.
        videos: Videos, before and after.
        video_note: Which episodes the videos show and how they were chosen.
        groups: Frame strips.
        table: Config and provenance, name to value.
    """

    title: str
    lead: str
    base: Rate
    final: Rate
    training: Training
    curve_note: str
    videos: Sequence[EpisodeVideo]
    video_note: str
    groups: Sequence[Group]
    table: Mapping[str, Any]

    def write(self, path: Path) -> Path:
        """Write the HTML file; return its path."""
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        page = environment.from_string(TEMPLATE.read_text()).render(self._context())
        partial = path.with_suffix(".partial")
        partial.write_text(page)
        return partial.replace(path)

    def _context(self) -> dict[str, Any]:
        training, counts = self.training, self.training.confusion
        curve = (training.predicted, training.success, self.base, self.final)
        return {
            "title": self.title,
            "lead": self.lead,
            "numbers": self._numbers(counts),
            "videos": [_video(episode) for episode in self.videos],
            "video_note": self.video_note,
            "curve_note": self.curve_note,
            "curve": _figure(lambda palette: plots.learning_curve(palette, *curve)),
            "bars": _figure(lambda p: plots.success_bars(p, self.base, self.final)),
            "confusion": _figure(lambda palette: plots.confusion_map(palette, counts)),
            "confusion_note": _confusion_note(counts),
            "groups": [
                {"title": g.title, "note": g.note, "strips": [_strip(s) for s in g.strips]}
                for g in self.groups
                if g.strips
            ],
            "table": self.table,
        }

    def _numbers(self, counts: np.ndarray) -> list[dict[str, str]]:
        rate = false_positive_rate(counts)
        gain = 100 * (self.final.value - self.base.value)
        gained = f"{gain:+.0f}" if math.isfinite(gain) else UNKNOWN
        return [
            _number("base", "base success", self.base),
            _number("tuned", "fine-tuned success", self.final),
            {"kind": "tuned", "value": gained, "label": "points gained"},
            {
                "kind": "predicted",
                "value": f"{100 * rate:.1f} %" if math.isfinite(rate) else "-",
                "label": "false-positive rate: predicted 5, true level below 5, while training",
            },
        ]


def _number(kind: str, label: str, rate: Rate) -> dict[str, str]:
    if not rate.known:
        return {"kind": kind, "value": UNKNOWN, "label": f"{label} (no episode was rated)"}
    low, high = (100 * end for end in rate.interval)
    detail = f"{rate.successes} of {rate.total}, 95 % interval {low:.0f} to {high:.0f}"
    return {"kind": kind, "value": f"{100 * rate.value:.0f} %", "label": f"{label} ({detail})"}


def _confusion_note(counts: np.ndarray) -> str:
    total = int(counts.sum())
    if not total:
        return "No training episode has both a score and a truth."
    error = mean_absolute_error(counts)
    return f"All {total} training episodes; the mean error of the reward model is {error:.2f} levels. Shade: share of the true level."


def _figure(draw: Callable[[plots.Palette], bytes]) -> dict[str, str]:
    return {
        "light": data_uri(draw(plots.LIGHT), "image/png"),
        "dark": data_uri(draw(plots.DARK), "image/png"),
    }


def _video(episode: EpisodeVideo) -> dict[str, str]:
    return {
        "source": data_uri(video(episode.frames, episode.fps), "video/mp4"),
        "caption": episode.caption,
    }


def _strip(strip: Strip) -> dict[str, Any]:
    return {**vars(strip), "image": data_uri(strip.image, "image/jpeg")}
