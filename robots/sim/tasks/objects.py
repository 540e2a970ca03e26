"""Toys of a simulated scene: where they are, whether they are held, and the rubric level of picking one up."""

from dataclasses import dataclass

import numpy as np

from robots.sim.mujoco_arm import MujocoArm


@dataclass(frozen=True, eq=False)
class Toy:
    """A toy now: `position` `(3,)` [m], `speed` [m/s], and which fingers touch it."""

    position: np.ndarray
    speed: float
    held: bool


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
    """Rubric level of "pick up": lifted 5 cm and held, for two steps, is perfect. A toy that is only pushed is level 1."""

    def lifted(toy: Toy, height_m: float) -> bool:
        return toy.held and toy.position[2] - start.position[2] >= height_m

    if lifted(now, 0.05) and lifted(before, 0.05):
        return 5
    if lifted(now, 0.025):
        return 4
    if lifted(now, 0.008):
        return 3
    return 2 if now.held else 1
