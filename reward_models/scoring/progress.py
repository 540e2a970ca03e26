"""Progress over time: the scores of what a recording shows up to some of its moments."""

from collections.abc import Sequence

import numpy as np

from roboreward_gym.rewards import expected_progress
from roboreward_gym.scorer import ScoreOrError
from roboreward_gym.types import Clip, ProgressScore

Curve = Sequence[tuple[float, float | None]]
"""Seconds since the start, and the expected progress there in [0, 1]; None where there is no score."""


def prefixes(clip: Clip, points: int) -> list[Clip]:
    """The beginnings of a clip that make `points` points of a curve with the clip itself, evenly spread.

    Shorter clips have fewer. Of a thinned recording they end at frames that it has.
    """
    if points < 2:
        return []
    ends = np.unique(np.linspace(0, len(clip.frames) - 1, points + 1).round().astype(int))[1:-1]
    return [_prefix(clip, int(end)) for end in ends]


def curve(clips: Sequence[Clip], outcomes: Sequence[ScoreOrError]) -> Curve:
    """The curve of these prefixes of one recording."""
    return [(_end_s(clip), _progress(o)) for clip, o in zip(clips, outcomes, strict=True)]


def _prefix(clip: Clip, end: int) -> Clip:
    frames = clip.frames[: end + 1]
    if clip.indices is None:
        return Clip(frames, clip.task, clip.fps)
    indices = clip.indices[: end + 1]
    return Clip(frames, clip.task, clip.fps, indices, int(indices[-1]) + 1)


def _end_s(clip: Clip) -> float:
    return ((clip.num_frames or len(clip.frames)) - 1) / clip.fps


def _progress(outcome: ScoreOrError) -> float | None:
    readable = isinstance(outcome, ProgressScore) and outcome.level is not None
    return expected_progress(outcome) if readable else None
