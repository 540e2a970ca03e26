"""What a reward model sees and answers: the vocabulary that every package of this project shares."""

import copy
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from roboreward_gym.errors import InvalidClip, InvalidScore, NoFrames

LEVELS = (1, 2, 3, 4, 5)
"""Progress levels of the RoboReward rubric: 1 no success ... 5 perfect completion."""

PROBABILITY_TOLERANCE = 1e-3

MAX_FRAMES = 256
MAX_BYTES = 256 * 2**20
"""What a `FrameBuffer` holds at most, by default."""


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
        task: The instruction that the robot was given, one sentence.
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


class FrameBuffer:
    """The frames of one episode in bounded memory.

    Every `stride`-th frame is taken. When the buffer is full, every other frame is dropped and the
    stride doubles, so that the frames stay evenly spread over an episode of any length. The first
    frame and the last are always kept. Frames that are not kept are never taken, hence not
    rendered. The clip has the indices of the frames that it holds, at the rate of the episode.

    Args:
        frame: The frame of the reset; all others must have its size.
        max_frames: Most frames that are ever held, at least 2.
        max_bytes: Most bytes that they may take; two frames are held in any case.
        stride: Steps from one frame to the next.
        expected: Guess of the number of frames, so that the buffer is allocated once.
    """

    def __init__(
        self,
        frame: np.ndarray,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        stride: int = 1,
        expected: int = 64,
    ) -> None:
        self._limit = max(2, min(max_frames, max_bytes // frame.nbytes))
        # Handed over with the clip and never reused, so a clip needs no copy of its own.
        room = min(max(expected, 2), self._limit)
        self._frames: np.ndarray = np.empty((room, *frame.shape), np.uint8)
        self._frames[0] = frame
        self._indices = [0]
        self._is_lent = False
        """Whether a prefix shows the same memory."""
        self.stride = stride
        self.steps = 0

    def __len__(self) -> int:
        return len(self._indices)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker sends: the frames without the room that was kept for more."""
        return {**self.__dict__, "_frames": self._frames[: len(self)]}

    def add(self, take: Callable[[], np.ndarray], *, final: bool) -> None:
        """Count one step, and take its frame if it is to be kept."""
        self.steps += 1
        kept = len(self._indices)
        if kept == self._limit and (final or self.steps % self.stride == 0):
            kept = self._thin()
        if not final and self.steps % self.stride:
            return
        frame = self._checked(take())
        if kept == len(self._frames):
            grown = np.empty((min(2 * kept, self._limit), *frame.shape), np.uint8)
            grown[:kept] = self._frames
            self._frames = grown
        self._frames[kept] = frame
        self._indices.append(self.steps)

    def prefix(self, take: Callable[[], np.ndarray]) -> "FrameBuffer":
        """The episode so far, to its present frame, which is taken if it is not kept; later steps do not change it.

        Where the present frame is kept, nothing is copied.
        """
        part = copy.copy(self)
        part._indices, part._frames = [*self._indices], self._frames[: len(self)]
        if self._indices[-1] == self.steps:
            self._is_lent = True
        else:
            part._indices.append(self.steps)
            part._frames = np.concatenate([part._frames, self._checked(take())[None]])
        return part

    def to_clip(self, task: str, fps: float) -> Clip:
        """Return the clip; `fps` is the rate of the steps in [Hz]."""
        frames = self._frames[: len(self._indices)]
        if len(frames) == self.steps + 1:
            return Clip(frames, task, fps)
        return Clip(frames, task, fps, np.array(self._indices), self.steps + 1)

    def _thin(self) -> int:
        """Drop every other frame; returns how many are left."""
        kept = self._frames[: len(self._indices) : 2]
        if self._is_lent:
            self._frames, self._is_lent = np.empty_like(self._frames), False
        self._frames[: len(kept)] = kept
        self._indices = self._indices[::2]
        self.stride *= 2
        return len(kept)

    def _checked(self, frame: np.ndarray) -> np.ndarray:
        if frame.shape != self._frames.shape[1:]:
            raise NoFrames(
                f"This frame has the shape {frame.shape}, the frame of the reset {self._frames.shape[1:]}. "
                "Keep the image size constant during an episode."
            )
        return frame


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
