"""What a reward model sees and answers: the vocabulary that every package of this project shares."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from roboreward_gym.errors import InvalidClip, InvalidScore

LEVELS = (1, 2, 3, 4, 5)
"""Progress levels of the RoboReward rubric: 1 no success ... 5 perfect completion."""

PROBABILITY_TOLERANCE = 1e-3


def check_task(task: object) -> str:
    """Return the task text, or raise `InvalidClip` if it is empty or no text."""
    if not isinstance(task, str):
        raise InvalidClip(
            f"The task is of type {type(task).__name__}, not text. Pass task= what the robot has to do."
        )
    if not task.strip():
        raise InvalidClip("The task is empty. Pass task= what the robot has to do.")
    return task


@dataclass(frozen=True, eq=False)
class Clip:
    """All that a reward model ever sees of an episode; a person and a model see the same.

    Attributes:
        frames: `(T, H, W, 3)` uint8 RGB, T >= 1, in order of time, the last one the final state.
        task: What the robot was told to do, one sentence.
        fps: Frames per second of the whole recording, in [Hz], > 0.
        indices: `(T,)` int, strictly increasing: which frames of the whole recording these are, where
            some were left out to save memory; the last frame is never left out. None: all of them.
        num_frames: Frames of the whole recording; given together with `indices`.

    A frame's time is its index over `fps`, so it is the same with and without thinning.

    Raises:
        InvalidClip: Wrong shape, dtype, an empty task, an impossible frame rate or index.
    """

    frames: np.ndarray
    task: str
    fps: float
    indices: np.ndarray | None = None
    num_frames: int | None = None

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, np.ndarray):
            raise InvalidClip(
                f"The frames are of type {type(frames).__name__}. Pass a NumPy array."
            )
        if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
            raise InvalidClip(
                f"Frames must have the shape (T, H, W, 3) with T >= 1, got {frames.shape}. "
                "Record at least one RGB frame, channels last."
            )
        if frames.dtype != np.uint8:
            raise InvalidClip(f"The frames are {frames.dtype}. Convert them to uint8 in 0..255.")
        check_task(self.task)
        fps: object = self.fps
        number = isinstance(fps, numbers.Real) and not isinstance(fps, bool)
        if not (number and math.isfinite(self.fps) and self.fps > 0):
            raise InvalidClip(f"fps must be above 0 Hz, got {fps!r}.")
        if self.indices is not None or self.num_frames is not None:
            self._check_indices()

    def _check_indices(self) -> None:
        if self.indices is None or self.num_frames is None:
            raise InvalidClip("Pass indices and num_frames together, or neither of them.")
        indices = np.asarray(self.indices)
        if indices.shape != (len(self.frames),) or not np.issubdtype(indices.dtype, np.integer):
            raise InvalidClip(
                f"The {len(self.frames)} frames need one whole number each in indices, which is "
                f"{indices.dtype} of shape {indices.shape}."
            )
        if indices[0] < 0 or (np.diff(indices) <= 0).any() or indices[-1] != self.num_frames - 1:
            raise InvalidClip(
                f"Indices must increase from 0 or more to {self.num_frames - 1}, the last frame of "
                f"the recording; these are {indices.tolist()}."
            )

    @property
    def duration_s(self) -> float:
        """Length of the whole recording in [s], as frames over frame rate."""
        return (self.num_frames or len(self.frames)) / self.fps


@dataclass(frozen=True, eq=False, repr=False)
class ProgressScore:
    """A reward model's answer about one clip.

    Attributes:
        level: 1..5, or None when the answer was unreadable. Never guessed.
        probabilities: `(5,)` float probabilities of the levels 1..5, or None if the model gives none.
        off_format: Probability that the answer is anything but one of the digits 1..5, in [0, 1].
        text: The answer as text, for logs.
        manifest: What was shown to which model (ids, hashes, frame indices, sizes, versions).

    Raises:
        InvalidScore: Out of range, not normalised, or a readable level without finite numbers.
    """

    level: int | None
    probabilities: np.ndarray | None = None
    off_format: float = 0.0
    text: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = isinstance(self.level, int | np.integer) and not isinstance(self.level, bool)
        if self.level is not None and not (whole and self.level in LEVELS):
            raise InvalidScore(f"level must be in 1..5 or None, got {self.level!r}.")
        if not 0.0 <= self.off_format <= 1.0 + PROBABILITY_TOLERANCE:
            raise InvalidScore(f"off_format must be in [0, 1], got {self.off_format}.")
        if self.probabilities is not None:
            p = np.asarray(self.probabilities)
            if p.shape != (5,) or not np.isfinite(p).all() or (p < 0).any():
                raise InvalidScore(f"probabilities must be five finite numbers >= 0, got {p}.")
            if abs(float(p.sum()) - 1.0) > PROBABILITY_TOLERANCE:
                raise InvalidScore(f"probabilities must sum to 1, got {float(p.sum()):.4f}.")

    def __repr__(self) -> str:
        """In one short line, without text and manifest."""
        if self.level is None:
            return f"ProgressScore(unreadable: {self.text[:60]!r})"
        if self.probabilities is None:
            return f"ProgressScore(level={self.level})"
        return (
            f"ProgressScore(level={self.level}, expected={self.expected:.2f}, "
            f"P(5)={self.success_probability:.2f})"
        )

    @property
    def readable(self) -> bool:
        """Whether the model gave a level."""
        return self.level is not None

    @property
    def expected(self) -> float:
        """Mean level under the probabilities; the level itself without them; NaN if unreadable."""
        if self.level is None:
            return math.nan
        if self.probabilities is None:
            return float(self.level)
        return float(np.dot(self.probabilities, LEVELS))

    @property
    def success_probability(self) -> float:
        """Probability of level 5; NaN if unreadable."""
        if self.level is None:
            return math.nan
        if self.probabilities is None:
            return float(self.level == LEVELS[-1])
        return float(self.probabilities[-1])

    @property
    def entropy(self) -> float:
        """Entropy of the probabilities in [nat]; NaN without probabilities."""
        if self.level is None or self.probabilities is None:
            return math.nan
        p = np.asarray(self.probabilities, dtype=np.float64)
        return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


@runtime_checkable
class RewardModel(Protocol):
    """Anything that can score episodes: a VLM, a server, a person, a test fake.

    It may have an attribute `protocol` with a number `fps`: how many frames per second it looks at, in
    [Hz]. The wrappers then do not render frames that it would not look at.
    """

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score each clip; same order, same length. A list of one is the single case."""
        ...
