"""Where a scripted expert goes: the waypoints from which scenes build what they show."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

OPEN, CLOSED = 1.0, -1.0
HOVER_M, CARRY_M, GRASP_M, RELEASE_M = 0.11, 0.13, 0.023, 0.04


@dataclass(frozen=True, eq=False)
class Waypoint:
    """Go to `position` `(3,)` [m], then hold it for `wait` steps, with the gripper at -1 closed .. 1 open."""

    position: np.ndarray
    gripper: float
    wait: int = 0


def at(xy: np.ndarray, z: float) -> np.ndarray:
    """A point `(3,)` [m] above `(2,)` or more of x and y."""
    return np.array([xy[0], xy[1], z])


def grasp(toy: np.ndarray) -> Iterator[Waypoint]:
    """Take a toy at `(3,)` [m] and lift it."""
    yield Waypoint(at(toy, HOVER_M), OPEN)
    yield Waypoint(at(toy, GRASP_M), OPEN, wait=1)
    yield Waypoint(at(toy, GRASP_M), CLOSED, wait=2)
    yield Waypoint(at(toy, CARRY_M), CLOSED)


def lift(toy: np.ndarray) -> Iterator[Waypoint]:
    """Hold it up for a while."""
    yield Waypoint(at(toy, CARRY_M), CLOSED, wait=3)


def put_down(spot: np.ndarray) -> Iterator[Waypoint]:
    """Lower what is held to `(3,)` [m] and let go."""
    yield Waypoint(at(spot, CARRY_M), CLOSED)
    yield Waypoint(at(spot, RELEASE_M), CLOSED, wait=1)
    yield Waypoint(at(spot, RELEASE_M), OPEN, wait=1)
    yield Waypoint(at(spot, CARRY_M), OPEN)


def place(target: np.ndarray) -> Iterator[Waypoint]:
    """Carry it to `(3,)` [m] and let go."""
    yield Waypoint(at(target, CARRY_M), CLOSED)
    yield Waypoint(at(target, RELEASE_M), CLOSED, wait=1)
    yield Waypoint(at(target, RELEASE_M), OPEN, wait=1)
    yield Waypoint(at(target, CARRY_M), OPEN, wait=2)
