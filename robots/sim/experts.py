"""Scripted experts, good and bad: they know the simulation's state and produce demonstrations and failures.

An expert is a generator of waypoints; `ScriptedExpert` walks to each at a bounded speed. `Style` makes it sloppy,
slow, or stop half-way, the way demonstrations and organic failures differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from robots.conventions import ACTION_DIM, MAX_STEP_M
from robots.scene import check_task
from robots.sim.waypoints import OPEN, Waypoint
from robots.widowx import WidowXEnv

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


@runtime_checkable
class Scripted(Protocol):
    """A scene that knows how each of its tasks is done."""

    def waypoints(self, task: str) -> Iterator[Waypoint]:
        """Where to go for a task, from the state now."""
        ...


@runtime_checkable
class Undoable(Protocol):
    """A scene that knows how each of its tasks is taken back."""

    def undo_waypoints(self, task: str) -> Iterator[Waypoint]:
        """Where to go to take a task back, from the state now."""
        ...


class ScriptedExpert:
    """Acts for one episode of one task; make a new one after each reset.

    Args:
        env: Where it acts; its plan is made from the state now.
        task: What to do.
        rng: For its errors.
        style: How it works.
        undo: Take the task back instead: a toy goes to where it was at the start, a drawer is moved the other way.
    """

    def __init__(
        self,
        env: WidowXEnv,
        task: str,
        rng: np.random.Generator,
        style: Style | None = None,
        *,
        undo: bool = False,
    ) -> None:
        check_task(task, env.tasks)
        self._env, self._rng, self._style = env, rng, style or Style()
        scene = env.scene
        if undo and isinstance(scene, Undoable):
            plan = list(scene.undo_waypoints(task))
        elif not undo and isinstance(scene, Scripted):
            plan = list(scene.waypoints(task))
        else:
            raise TypeError(f"The scene {type(scene).__name__} has no scripted experts.")
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
