"""One labelled video: what every reader yields and every writer takes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import LEVELS, Clip, check_task

Kind = Literal["original", "counterfactual", "truncated", "organic"]
KINDS: tuple[Kind, ...] = ("original", "counterfactual", "truncated", "organic")
"""An episode with the task it was recorded for; the same video with another task; a part of it with its own task; and an
episode whose outcome somebody labelled."""


TEXTS = (
    "task",
    "subset",
    "source_episode",
    "original_task",
    "check",
    "checked_by",
    "licence",
)
"""Fields of an `Example` that are written as text."""


class InvalidExample(RoboRewardError, ValueError):
    """A record whose fields are out of range or contradict one another."""


class InvalidSource(RoboRewardError, ValueError):
    """A data set on disk that is not what its kind promises."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Decoded frames.

    Attributes:
        frames: `(T, H, W, 3)` uint8 RGB, in order of time.
        fps: Frames per second, in [Hz].
    """

    frames: np.ndarray
    fps: float

    def first(self, count: int) -> "Frames":
        """Return the first `count` frames."""
        return Frames(self.frames[:count], self.fps)

    def clip(self, task: str) -> Clip:
        """Return them as a reward model takes them."""
        return Clip(self.frames, task, self.fps)


@dataclass(frozen=True, eq=False)
class Video:
    """A recording that is decoded when it is asked for, and not before.

    Attributes:
        where: Where it lies, for people.
        load: Decodes it; raises a `RoboRewardError` if it cannot be read.
        file: The video file, if it holds this recording and nothing else.
    """

    where: str
    load: Callable[[], Frames]
    file: Path | None = None

    def read(self) -> Frames:
        """Decode all frames."""
        return self.load()


@dataclass(frozen=True, eq=False)
class Example:
    """A video, a task, and how far the robot got with it.

    Attributes:
        video: The recording, decoded lazily.
        task: What the robot is told to do.
        reward: Level 1..5, or None if nobody knows.
        subset: Data set that the episode comes from, such as `bridge`; a plain folder name.
        source_episode: Unlike that of any other episode of the subset. Examples that share it are not independent.
        kind: How the pair of video and task came about.
        original_task: The task that the episode was recorded for; None if it is not known.
        kept: Part of the episode that the video shows, in (0, 1].
        check: What a verifier said about task and reward; ends in `ANSWER: TRUE` or `ANSWER: FALSE`. Empty: nobody checked.
        checked_by: Name of the verifier.
        licence: Licence of the video, as its publisher states it.

    Raises:
        InvalidExample: A field out of range, or fields that contradict one another.
    """

    video: Video
    task: str
    reward: int | None
    subset: str
    source_episode: str
    kind: Kind
    original_task: str | None = None
    kept: float = 1.0
    check: str = ""
    checked_by: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        check_task(self.task)
        self._check_texts()
        # 5.0 is among the levels, and is written as 5.0.
        unlike = isinstance(self.reward, bool | float)
        if self.reward is not None and (unlike or self.reward not in LEVELS):
            self._refuse(f"the reward {self.reward!r} is not one of {LEVELS}")
        if self.kind not in KINDS:
            self._refuse(f"the kind {self.kind!r} is not one of {KINDS}")
        if self.subset in ("", ".", "..") or set(self.subset) & set("/\\\0"):
            self._refuse(f"the subset {self.subset!r} cannot be the name of a folder")
        if not self.source_episode:
            self._refuse("the source episode has no name")
        if not (isinstance(self.kept, int | float) and 0 < self.kept <= 1):
            self._refuse(f"the kept part {self.kept!r} is not in (0, 1]")
        if self.kind == "original" and self.reward not in (None, LEVELS[-1]):
            self._refuse(f"a demonstration has the reward 5, not {self.reward}; call it organic")
        if self.kind == "truncated" and self.reward == LEVELS[-1]:
            self._refuse("a truncated video cannot have the reward 5")

    def _check_texts(self) -> None:
        for name in TEXTS:
            text = getattr(self, name)
            if text is None and name == "original_task":
                continue
            if not isinstance(text, str):
                self._refuse(f"the {name} {text!r} is not text")
            try:
                text.encode()
            except UnicodeEncodeError:  # half of a character, as JSON may hold it
                self._refuse(f"the {name} {text!r} is not Unicode text")

    def _refuse(self, what: str) -> None:
        where = f"{self.subset}/{self.source_episode}".encode(errors="backslashreplace").decode()
        raise InvalidExample(f"{where}: {what}.")


@dataclass(frozen=True)
class Skipped:
    """Something of a source that is not an example.

    Attributes:
        where: File, episode or row.
        rule: Why, as one word to count by.
        why: Why, in words.
    """

    where: str
    rule: str
    why: str


Item = Example | Skipped
"""What a reader yields: a record that is broken is reported in its place, and the others go on."""


def examples(items: Iterator[Item]) -> Iterator[Example]:
    """Leave out what was skipped."""
    return (item for item in items if isinstance(item, Example))
