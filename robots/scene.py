"""What a scene offers the environment. Its true level is for reports, never for a learner that must not know."""

from typing import Literal, Protocol

import numpy as np

from roboreward_gym.errors import UnknownName

Split = Literal["train", "test", "any"]
"""Which looks of a scene: "train" leaves out the held-out colours and camera poses, "test" uses only those."""


class Scene(Protocol):
    """Objects on the table, the tasks that make sense for them, and the true state of each."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task whose true level the scene knows."""
        ...

    def reset(self, rng: np.random.Generator, task: str, split: Split) -> None:
        """Place and paint everything; the start must leave `task` undone."""
        ...

    def observe(self) -> None:
        """Take note of the state after the reset and after each step."""
        ...

    def level(self, task: str) -> int:
        """Rubric level 1..5 of the state now for any task of `tasks`.

        Raises:
            NoTruth: Nobody knows.
        """
        ...

    def askable(self, task: str) -> bool:
        """Whether the task's goal was not already true at the start."""
        ...

    def caption(self) -> str:
        """The final state in words."""
        ...

    def movable(self) -> tuple[np.ndarray, ...]:
        """Positions `(3,)` [m] of the toys now."""
        ...

    def landmarks(self) -> np.ndarray:
        """`(K, 4)` float32 of `robots.conventions.LANDMARKS`: image x, y in 0..1, present, value in 0..1."""
        ...


def check_task(task: str, tasks: tuple[str, ...]) -> str:
    """Return the task, or raise `UnknownName` with the closest one of the scene."""
    if task not in tasks:
        raise UnknownName("task", task, tasks)
    return task
