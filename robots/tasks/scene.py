"""What a scene offers the environment; the truth it tells is for reports, never for a learner that must not know."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from roboreward_gym.errors import UnknownName
from robots.mujoco_arm import MujocoArm
from robots.tasks.look import Split

LEVEL_NAMES = {
    1: "no success",
    2: "minimal progress",
    3: "partial completion",
    4: "near completion",
    5: "perfect completion",
}


class Scene(Protocol):
    """Objects on the table, the commands that make sense for them, and the truth about each command."""

    @property
    def commands(self) -> tuple[str, ...]:
        """Every command whose truth the scene knows."""
        ...

    def reset(self, rng: np.random.Generator, task: str, split: Split) -> None:
        """Place and paint everything; the start must leave `task` undone."""
        ...

    def observe(self) -> None:
        """Take note of the state after the reset and after each step."""
        ...

    def level(self, task: str) -> int:
        """Rubric level 1..5 of the state now for any command of `commands`.

        Raises:
            NoTruth: Nobody knows.
        """
        ...

    def askable(self, task: str) -> bool:
        """Whether the command's goal was not already true at the start."""
        ...

    def caption(self) -> str:
        """The final state in words."""
        ...

    def movable(self) -> tuple[np.ndarray, ...]:
        """Positions `(3,)` [m] of the toys now."""
        ...

    def landmarks(self) -> np.ndarray:
        """`(K, 4)` float32 of `robots.layout.LANDMARKS`: image x, y in 0..1, present, value in 0..1."""
        ...


@dataclass(frozen=True, eq=False)
class Toy:
    """A toy now: `position` `(3,)` [m], `speed` [m/s], and which fingers touch it."""

    position: np.ndarray
    speed: float
    held: bool


def check_command(task: str, commands: tuple[str, ...]) -> str:
    """Return the command, or raise `UnknownName` with the closest one of the scene."""
    if task not in commands:
        raise UnknownName("command", task, commands)
    return task


def read_toy(arm: MujocoArm, name: str) -> Toy:
    """State of a free body of the scene."""
    body = arm.model.body(name)
    joint = arm.model.joint(body.jntadr[0])
    velocity = arm.data.qvel[joint.dofadr[0] : joint.dofadr[0] + 3]
    return Toy(
        arm.data.xpos[body.id].copy(), float(np.linalg.norm(velocity)), all(arm.touching(name))
    )


def place_toy(arm: MujocoArm, name: str, position: np.ndarray, yaw: float) -> None:
    """Put a free body at `position` `(3,)` [m], upright, turned by `yaw` [rad], at rest."""
    joint = arm.model.joint(arm.model.body(name).jntadr[0])
    q, v = joint.qposadr[0], joint.dofadr[0]
    arm.data.qpos[q : q + 7] = [*position, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
    arm.data.qvel[v : v + 6] = 0.0


def pick_level(start: Toy, before: Toy, now: Toy) -> int:
    """Rubric level of "pick up": lifted 5 cm and held, for two steps, is perfect."""

    def lifted(toy: Toy, height_m: float) -> bool:
        return toy.held and toy.position[2] - start.position[2] >= height_m

    if lifted(now, 0.05) and lifted(before, 0.05):
        return 5
    if lifted(now, 0.025):
        return 4
    if lifted(now, 0.008):
        return 3
    moved = np.linalg.norm(now.position[:2] - start.position[:2]) >= 0.02
    return 2 if now.held or moved else 1
