"""Who does what in the augmentation: four roles, each a protocol with one method, and what they tell one another."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from reward_models.data.example import Frames
from roboreward_gym.errors import RoboRewardError

NEGATIVE_LEVELS = (1, 2, 3, 4)


class UnusableAnswer(RoboRewardError, ValueError):
    """What a role answered cannot be used; it is asked again, or what it was asked about is rejected.

    Args:
        rule: Why, as one word to count by.
        why: Why, in words.
    """

    def __init__(self, rule: str, why: str) -> None:
        super().__init__(why)
        self.rule = rule


@dataclass(frozen=True, eq=False)
class Episode:
    """A recorded episode, or its first part, in memory.

    Attributes:
        source_episode: Its name.
        task: What the robot was told to do, standardised.
        video: Its frames.
        total: Frames of the whole episode.
    """

    source_episode: str
    task: str
    video: Frames
    total: int

    @property
    def count(self) -> int:
        """Frames that are shown."""
        return len(self.video.frames)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of pixels, shape and frame rate."""
        frames = np.ascontiguousarray(self.video.frames)
        shape = f"{frames.shape} {self.video.fps!r} "
        return hashlib.sha256(shape.encode() + frames.tobytes()).hexdigest()

    def first(self, count: int) -> "Episode":
        """Return its first `count` frames."""
        return Episode(self.source_episode, self.task, self.video.first(count), self.total)


@dataclass(frozen=True)
class Description:
    """What can be seen.

    Attributes:
        objects: Visible objects.
        initial: The scene at the start.
        actions: What the robot does.
        final: The scene at the end.
        done_at_start: Tasks whose goal is true from the start.
    """

    objects: tuple[str, ...]
    initial: str
    actions: str
    final: str
    done_at_start: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """How far the video is from four other tasks, from no success (level 1) to one minor requirement missed (4).

    Attributes:
        failures: What is wrong, for the levels 1 to 4 in this order.
    """

    failures: tuple[str, str, str, str]


@dataclass(frozen=True)
class Proposal:
    """What a proposer is asked for: one task that this video has reached `level` of.

    Attributes:
        description: What can be seen.
        task: The task that the video fulfils.
        failure: What the plan says for this level.
        level: 1..4.
        lower: Tasks that were accepted for lower levels, from the lowest on.
        rejected: Tasks that were rejected for this level, each with the reason.
        seed: For proposers that draw; the same seed gives the same task.
    """

    description: Description
    task: str
    failure: str
    level: int
    lower: Sequence[str] = ()
    rejected: Sequence[tuple[str, str]] = ()
    seed: int = 0


@dataclass(frozen=True)
class Verdict:
    """What a verifier says.

    Attributes:
        confirmed: Whether task and level fit the video.
        text: Its explanation; ends in `ANSWER: TRUE` or `ANSWER: FALSE`.
    """

    confirmed: bool
    text: str


class Describer(Protocol):
    """Sees the video and says what is in it."""

    def describe(self, episode: Episode) -> Description:
        """Describe an episode.

        Raises:
            UnusableAnswer: There is no description.
        """
        ...


class Planner(Protocol):
    """Thinks of four ways in which the episode could have fallen short of another task."""

    def plan(self, task: str, description: Description) -> Plan:
        """Plan four failure modes, the worst first.

        Raises:
            UnusableAnswer: There is no plan.
        """
        ...


class Proposer(Protocol):
    """Writes tasks."""

    def propose(self, proposal: Proposal) -> str:
        """Write one task.

        Raises:
            UnusableAnswer: It wrote something else.
        """
        ...


class Verifier(Protocol):
    """Sees the video and says whether it reaches exactly a level of a task."""

    def verify(self, episode: Episode, task: str, level: int) -> Verdict:
        """Check one label.

        Raises:
            UnusableAnswer: It does not say.
        """
        ...
