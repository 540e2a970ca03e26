"""The page of a report: one HTML file that needs no other file and no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.media import video
from experiments.metrics import UNKNOWN, Rate, false_positive_rate, mean_absolute_error
from experiments.report import plots
from experiments.report.chart import Chart, save_charts
from experiments.report.gain import Gain
from experiments.report.losses import NOTE as LOSSES_NOTE
from experiments.report.template import render, strip_words, video_words
from experiments.results import Training
from experiments.strips import Strip


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
        final: Success of the policy that was kept.
        gain: What was gained on the starts that both played.
        training: The training episodes.
        curve_note: What the learner knew.
        videos: Videos, before and after.
        video_note: Which episodes the videos show and how they were chosen.
        groups: Frame strips.
        table: Config and provenance, name to value.
        losses: Figures of what the fine-tuner logged.
        refresh_s: The page reloads itself every so often, in [s]; 0 for never.
    """

    title: str
    lead: str
    base: Rate
    final: Rate
    gain: Gain
    training: Training
    curve_note: str
    videos: Sequence[EpisodeVideo]
    video_note: str
    groups: Sequence[Group]
    table: Mapping[str, Any]
    losses: Sequence[Chart] = ()
    refresh_s: int = 0

    def write(self, path: Path) -> Path:
        """Write the HTML file, and its figures into a folder beside it; return its path."""
        charts = self._charts()
        save_charts([*charts.values(), *self.losses], path)
        pictures: dict[str, Any] = {name: chart.images() for name, chart in charts.items()}
        pictures["losses"] = [chart.images() for chart in self.losses]
        return render("report.html.j2", {**self._context(), **pictures}, path)

    def _charts(self) -> dict[str, Chart]:
        training = self.training
        return {
            "curve": plots.learning_chart(training.predicted, training.success, self.base, self.final),
            "bars": plots.success_chart(self.base, self.final),
            "confusion": plots.confusion_chart(training.confusion),
        }  # fmt: skip

    def _context(self) -> dict[str, Any]:
        counts = self.training.confusion
        return {
            "title": self.title,
            "refresh_s": self.refresh_s,
            "losses_note": LOSSES_NOTE,
            "lead": self.lead,
            "numbers": self._numbers(counts),
            "videos": [_video(episode) for episode in self.videos],
            "video_note": self.video_note,
            "curve_note": self.curve_note,
            "confusion_note": _confusion_note(counts),
            "groups": [
                {"title": g.title, "note": g.note, "strips": [strip_words(s) for s in g.strips]}
                for g in self.groups
                if g.strips
            ],
            "table": self.table,
        }

    def _numbers(self, counts: np.ndarray) -> list[dict[str, str]]:
        rate = false_positive_rate(counts)
        return [
            _number("base", "base success", self.base),
            _number(
                "tuned" if self.gain.kind == "gain" else "base",
                "success of the policy that was kept",
                self.final,
            ),
            _gained(self.gain),
            {
                "kind": "predicted",
                "value": f"{100 * rate:.1f} %" if np.isfinite(rate) else "-",
                "label": "false-positive rate: predicted 5, true level below 5, while training",
            },
        ]


def _gained(gain: Gain) -> dict[str, str]:
    label = "points gained, with the paired 95 % interval"
    if np.isfinite(gain.value) and gain.kind == "unclear" and gain.decision != "base kept":
        label += ", which includes 0"
    decision = gain.decision and f" ({gain.decision})"
    return {"kind": gain.kind, "value": gain.words, "label": label + decision}


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


def _video(episode: EpisodeVideo) -> dict[str, str]:
    return video_words(video(episode.frames, episode.fps), episode.frames[-1], episode.caption)
