"""Scripted experts, good and bad: they know the simulation's state and produce demonstrations and failures.

An expert is a generator of waypoints; `ScriptedExpert` walks to each at a bounded speed. `Style` makes it sloppy,
slow, or stop half-way, the way demonstrations and organic failures differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robots.conventions import ACTION_DIM, MAX_STEP_M
from robots.scene import Scene, check_task
from robots.sim.tasks.drawer import DRAWERS, DrawerScene
from robots.sim.tasks.toy import ToyScene
from robots.widowx import WidowXEnv

OPEN, CLOSED = 1.0, -1.0
HOVER_M, CARRY_M, GRASP_M, RELEASE_M = 0.11, 0.13, 0.023, 0.04
FORWARD = np.array([1.0, 0.0, 0.0])
HOOK_M, PULL_M, BEFORE_M = 0.062, 0.125, 0.045
HOOK_BEHIND, EASE = 0.024 * FORWARD, 0.02 * FORWARD
ARRIVED_M = 0.006


@dataclass(frozen=True)
class Style:
    """How an expert works.

    Attributes:
        speed: Largest step, as a fraction of the action limit.
        aim_error_m: Standard deviation of the persistent error in each aimed-at point, in x and y [m].
        action_noise: Standard deviation of noise on each translation action, in action units.
        stop_after: Fraction of its waypoints after which it stops; 1 finishes.
        drop_probability: Chance that it lets go while carrying.
    """

    speed: float = 0.85
    aim_error_m: float = 0.0
    action_noise: float = 0.0
    stop_after: float = 1.0
    drop_probability: float = 0.0


@dataclass(frozen=True, eq=False)
class Waypoint:
    """Go to `position` `(3,)` [m], then hold it for `wait` steps, with the gripper at -1 closed .. 1 open."""

    position: np.ndarray
    gripper: float
    wait: int = 0


class ScriptedExpert:
    """Acts for one episode of one task; make a new one after each reset."""

    def __init__(
        self, env: WidowXEnv, task: str, rng: np.random.Generator, style: Style | None = None
    ) -> None:
        check_task(task, env.tasks)
        self._env, self._rng, self._style = env, rng, style or Style()
        plan = list(_waypoints(env.scene, task))
        keep = max(1, round(self._style.stop_after * len(plan)))
        self._plan = [self._sloppy(w) for w in self._drop(plan)[:keep]]
        self._waited = 0
        self._last_gripper = OPEN

    @property
    def finished(self) -> bool:
        """Whether every waypoint was reached; actions then hold the pose."""
        return not self._plan

    def act(self) -> np.ndarray:
        """Action `(7,)` float32 in [-1, 1] towards the current waypoint."""
        action = np.zeros(ACTION_DIM)
        if self._plan:
            waypoint = self._plan[0]
            self._last_gripper = waypoint.gripper
            offset = waypoint.position - self._env.target
            largest = self._style.speed * MAX_STEP_M
            distance = float(np.linalg.norm(offset))
            action[:3] = offset * min(1.0, largest / max(distance, 1e-9)) / MAX_STEP_M
            if distance <= max(ARRIVED_M, largest):
                self._arrive(waypoint)
        action[:3] += (
            self._rng.normal(0.0, self._style.action_noise, 3) if self._style.action_noise else 0.0
        )
        action[6] = self._last_gripper
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _arrive(self, waypoint: Waypoint) -> None:
        if self._waited < waypoint.wait:
            self._waited += 1
            return
        self._plan.pop(0)
        self._waited = 0

    def _sloppy(self, waypoint: Waypoint) -> Waypoint:
        error = (
            np.append(self._rng.normal(0.0, self._style.aim_error_m, 2), 0.0)
            if self._style.aim_error_m
            else 0
        )
        return Waypoint(waypoint.position + error, waypoint.gripper, waypoint.wait)

    def _drop(self, plan: list[Waypoint]) -> list[Waypoint]:
        """Perhaps open the gripper from one random waypoint on."""
        if self._rng.random() >= self._style.drop_probability:
            return plan
        at = int(self._rng.integers(1, len(plan)))
        return [
            Waypoint(w.position, OPEN if i >= at else w.gripper, w.wait) for i, w in enumerate(plan)
        ]


def _waypoints(scene: Scene, task: str) -> Iterator[Waypoint]:
    words = task.split()
    if isinstance(scene, ToyScene):
        toy = scene.now.toys[words[2] if words[0] == "put" else words[-1]].position
        yield from _grasp(toy)
        yield from _place(getattr(scene.now, words[-1])) if words[0] == "put" else _lift(toy)
    elif isinstance(scene, DrawerScene):
        if words[0] == "pick":
            yield from _grasp(scene.now.duck.position)
            yield from _lift(scene.now.duck.position)
        for drawer in DRAWERS:
            if drawer in words or "both" in words:
                yield from (_pull if words[0] == "open" else _push)(scene, drawer)
    else:
        raise TypeError(f"The scene {type(scene).__name__} has no scripted experts.")


def _at(xy: np.ndarray, z: float) -> np.ndarray:
    return np.array([xy[0], xy[1], z])


def _grasp(toy: np.ndarray) -> Iterator[Waypoint]:
    yield Waypoint(_at(toy, HOVER_M), OPEN)
    yield Waypoint(_at(toy, GRASP_M), OPEN, wait=1)
    yield Waypoint(_at(toy, GRASP_M), CLOSED, wait=2)
    yield Waypoint(_at(toy, CARRY_M), CLOSED)


def _lift(toy: np.ndarray) -> Iterator[Waypoint]:
    yield Waypoint(_at(toy, CARRY_M), CLOSED, wait=3)


def _place(target: np.ndarray) -> Iterator[Waypoint]:
    yield Waypoint(_at(target, CARRY_M), CLOSED)
    yield Waypoint(_at(target, RELEASE_M), CLOSED, wait=1)
    yield Waypoint(_at(target, RELEASE_M), OPEN, wait=1)
    yield Waypoint(_at(target, CARRY_M), OPEN, wait=2)


def _pull(scene: DrawerScene, drawer: str) -> Iterator[Waypoint]:
    handle = scene.handle(drawer)
    hook = handle + HOOK_BEHIND
    back = handle - FORWARD * (PULL_M - scene.now.opened[drawer])
    yield Waypoint(_at(hook, 0.15), CLOSED)
    yield Waypoint(_at(hook, HOOK_M), CLOSED, wait=1)
    yield Waypoint(_at(back, HOOK_M), CLOSED, wait=1)
    yield Waypoint(_at(back + EASE, HOOK_M), CLOSED)
    yield Waypoint(_at(back + EASE, 0.15), CLOSED)


def _push(scene: DrawerScene, drawer: str) -> Iterator[Waypoint]:
    handle = scene.handle(drawer)
    before = handle - FORWARD * BEFORE_M
    shut = handle + FORWARD * (scene.now.opened[drawer] - 0.012)
    before[0] = max(before[0], 0.12)
    yield Waypoint(_at(before, 0.15), CLOSED)
    yield Waypoint(_at(before, HOOK_M), CLOSED, wait=1)
    yield Waypoint(_at(shut, HOOK_M), CLOSED, wait=2)
    yield Waypoint(_at(before, HOOK_M), CLOSED)
    yield Waypoint(_at(before, 0.15), CLOSED)
