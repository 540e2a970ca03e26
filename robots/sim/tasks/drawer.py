"""Drawer: a cabinet with two drawers side by side and a duck; seven tasks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robots.scene import check_task
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks import look
from robots.sim.tasks.history import StateHistory
from robots.sim.tasks.objects import Toy, pick_level, place_toy, read_toy
from robots.sim.tasks.toy import REST_Z, gripper_words, landmark_array
from robots.sim.waypoints import CLOSED, OPEN, Waypoint, at, grasp, lift, put_down

DRAWERS = ("left", "right")
TRAVEL_M = 0.13
OPEN_M = (0.01, 0.03, 0.055, 0.08)
"""Openings [m] that reach levels 2, 3, 4 and 5; 0.08 m is about 60 % of the travel."""
CLOSED_M, NEARLY_CLOSED_M = 0.012, 0.03
START_OPEN_M = (0.085, 0.12)
OTHER_OPEN_PROBABILITY = 0.25
HANDLE_FROM_DRAWER = np.array([-0.152, 0.0, 0.01])  # [m]
FORWARD = np.array([1.0, 0.0, 0.0])
HOOK_M, PULL_M, BEFORE_M = 0.062, 0.125, 0.045
HOOK_BEHIND, EASE = 0.024 * FORWARD, 0.02 * FORWARD
ABOVE_DRAWERS_M, PULL_BOTH_M = 0.125, 0.085
OPPOSITE = {"open": "close", "close": "open"}
"""How a scripted expert pulls and pushes a drawer [m]."""
WORDS = ("closed", "slightly open", "half open", "mostly open", "open")


@dataclass(frozen=True, eq=False)
class DrawerState:
    """All that the truth about this scene depends on: openings [m] by drawer, the duck, the gripper opening."""

    opened: dict[str, float]
    duck: Toy
    gripper: np.ndarray
    opening: float


def open_level(before_m: float, now_m: float) -> int:
    """Rubric level of "open"; perfect needs 60 % of the travel for two steps."""
    if now_m >= OPEN_M[-1]:
        return 5 if before_m >= OPEN_M[-1] else 4
    return 1 + sum(now_m >= threshold for threshold in OPEN_M[:-1])


def close_level(start_m: float, before_m: float, now_m: float) -> int:
    """Rubric level of "close"."""
    if now_m <= CLOSED_M and before_m <= CLOSED_M:
        return 5
    if now_m <= NEARLY_CLOSED_M:
        return 4
    progress = 1.0 - now_m / max(start_m, 1e-6)
    return 3 if progress >= 0.5 else 2 if progress >= 0.12 else 1


def both_level(first: int, second: int) -> int:
    """Level of a task about both drawers: one alone is "partial", both are perfect."""
    return 5 if first == second == 5 else max(1, min(4, (first + second) // 2))


def concerned(task: str) -> list[str]:
    """Drawers that a task is about."""
    return [drawer for drawer in DRAWERS if drawer in task or "both" in task]


class DrawerScene(StateHistory[DrawerState]):
    """A cabinet whose drawers start closed or open as the task needs; the other one is open now and then."""

    tasks = (
        *(f"{verb} the {drawer} drawer" for verb in ("open", "close") for drawer in DRAWERS),
        "open both drawers",
        "close both drawers",
        "pick up the duck",
    )

    def __init__(self, arm: MujocoArm) -> None:
        self._arm = arm
        super().__init__()

    def reset(self, rng: np.random.Generator, task: str, split: look.Split) -> None:
        """Place cabinet and duck; colours, light and camera follow `split`."""
        check_task(task, self.tasks)
        arm = self._arm
        arm.model.body("cabinet").pos = [
            0.48 + rng.uniform(-0.015, 0.015),
            rng.uniform(-0.015, 0.015),
            0.0,
        ]
        side = rng.choice([-1.0, 1.0])
        duck = np.array([rng.uniform(0.20, 0.30), side * rng.uniform(0.165, 0.19), REST_Z["duck"]])
        place_toy(arm, "duck", duck, rng.uniform(-0.35, 0.35))
        for drawer in DRAWERS:
            needed = float(task.startswith("close"))
            chance = needed if drawer in concerned(task) else OTHER_OPEN_PROBABILITY
            is_open = rng.random() < chance
            opened = rng.uniform(*START_OPEN_M)
            arm.data.joint(f"{drawer}_drawer").qpos[0] = opened if is_open else 0.0
            arm.data.joint(f"{drawer}_drawer").qvel[0] = 0.0
        front = look.FRONT.draw(rng, split)
        look.set_colours(
            arm.model,
            {
                "cabinet": look.CABINET.draw(rng, split),
                **{f"{d}_{part}": front for d in DRAWERS for part in ("front", "bottom", "side")},
                "duck_body": (duck_colour := look.DUCK.draw(rng, split)),
                "duck_head": duck_colour,
                "table": look.TABLE.draw(rng, split),
            },
        )
        look.set_light_and_camera(arm.model, rng, split)
        self._fresh = True

    def level_between(
        self, task: str, start: DrawerState, before: DrawerState, now: DrawerState
    ) -> int:
        """Rubric level of the state `now` after `before`, if the episode began with `start`."""
        verb = check_task(task, self.tasks).split()[0]
        if verb == "pick":
            return pick_level(start.duck, before.duck, now.duck)
        levels = [
            open_level(before.opened[d], now.opened[d])
            if verb == "open"
            else close_level(start.opened[d], before.opened[d], now.opened[d])
            for d in concerned(task)
        ]
        return levels[0] if len(levels) == 1 else both_level(*levels)

    def remaining_m(self, task: str, state: DrawerState) -> float:
        """How far a state is from the goal of a task, in [m]."""
        verb = check_task(task, self.tasks).split()[0]
        if verb == "pick":
            return 0.0 if state.duck.held else 1.0
        if verb == "close":
            return max(state.opened[d] for d in concerned(task))
        return max(OPEN_M[-1] - state.opened[d] for d in concerned(task))

    def askable(self, task: str) -> bool:
        """Whether the goal was not already true, for each drawer that the task is about."""
        if task.startswith("pick"):
            return True
        opened = [self.start.opened[d] for d in concerned(task)]
        if task.startswith("open"):
            return all(m < OPEN_M[0] for m in opened)
        return all(m > NEARLY_CLOSED_M for m in opened)

    def caption(self) -> str:
        """How far each drawer is open, where the duck is, what the gripper does."""
        drawers = [
            f"the {d} drawer is {WORDS[open_level(now, now) - 1]}"
            for d, now in self.now.opened.items()
        ]
        lifted = (
            self.now.duck.held and self.now.duck.position[2] - self.start.duck.position[2] > 0.008
        )
        duck = "is in the gripper" if lifted else "is on the table"
        return " . ".join([*drawers, f"the duck {duck}", gripper_words(self.now.opening)])

    def handle(self, drawer: str) -> np.ndarray:
        """Centre of a handle `(3,)` [m] in the base frame."""
        return self._arm.data.xpos[self._arm.model.body(f"{drawer}_drawer").id] + HANDLE_FROM_DRAWER

    def movable(self) -> tuple[np.ndarray, ...]:
        """Position of the duck."""
        return (self.now.duck.position,)

    def waypoints(self, task: str) -> Iterator[Waypoint]:
        """Where a scripted expert goes for a task, from the state now."""
        words = task.split()
        if words[0] == "pick":
            yield from grasp(self.now.duck.position)
            yield from lift(self.now.duck.position)
        elif "both" in words:
            yield from self._pull_both() if words[0] == "open" else self._push_both()
        else:
            yield from (self._pull if words[0] == "open" else self._push)(words[2])

    def undo_waypoints(self, task: str) -> Iterator[Waypoint]:
        """Where an expert goes to put the duck down, or to move drawers the other way."""
        words = task.split()
        if words[0] == "pick":
            yield from put_down(self.start.duck.position)
        else:
            yield from self.waypoints(" ".join([OPPOSITE[words[0]], *words[1:]]))

    def _pull(self, drawer: str) -> Iterator[Waypoint]:
        handle = self.handle(drawer)
        hook = handle + HOOK_BEHIND
        back = handle - FORWARD * (PULL_M - self.now.opened[drawer])
        yield Waypoint(at(hook, 0.15), CLOSED)
        yield Waypoint(at(hook, HOOK_M), CLOSED, wait=1)
        yield Waypoint(at(back, HOOK_M), CLOSED, wait=1)
        yield Waypoint(at(back + EASE, HOOK_M), CLOSED)
        yield Waypoint(at(back + EASE, 0.15), CLOSED)

    def _pull_both(self) -> Iterator[Waypoint]:
        """One after the other within the time for one: no higher than needed, no wider than the truth asks."""
        for drawer in DRAWERS:
            handle = self.handle(drawer)
            hook = handle + HOOK_BEHIND
            back = handle - FORWARD * (PULL_BOTH_M - self.now.opened[drawer])
            yield Waypoint(at(hook, ABOVE_DRAWERS_M), CLOSED)
            yield Waypoint(at(hook, HOOK_M), CLOSED)
            yield Waypoint(at(back, HOOK_M), CLOSED)
            yield Waypoint(at(back + EASE, ABOVE_DRAWERS_M), CLOSED)

    def _push_both(self) -> Iterator[Waypoint]:
        """One push in the middle: the open fingers reach both handles."""
        handles = [self.handle(drawer) for drawer in DRAWERS]
        middle = np.mean(handles, axis=0)
        before, shut = middle.copy(), middle.copy()
        before[0] = max(0.12, min(handle[0] for handle in handles) - BEFORE_M)
        shut[0] = handles[0][0] + self.now.opened[DRAWERS[0]] - 0.012
        yield Waypoint(at(before, 0.15), OPEN)
        yield Waypoint(at(before, HOOK_M), OPEN, wait=1)
        yield Waypoint(at(shut, HOOK_M), OPEN, wait=2)
        yield Waypoint(at(before, HOOK_M), OPEN)
        yield Waypoint(at(before, 0.15), OPEN)

    def _push(self, drawer: str) -> Iterator[Waypoint]:
        handle = self.handle(drawer)
        before = handle - FORWARD * BEFORE_M
        shut = handle + FORWARD * (self.now.opened[drawer] - 0.012)
        before[0] = max(before[0], 0.12)
        yield Waypoint(at(before, 0.15), CLOSED)
        yield Waypoint(at(before, HOOK_M), CLOSED, wait=1)
        yield Waypoint(at(shut, HOOK_M), CLOSED, wait=2)
        yield Waypoint(at(before, HOOK_M), CLOSED)
        yield Waypoint(at(before, 0.15), CLOSED)

    def landmarks(self) -> np.ndarray:
        """Gripper, duck and handles; see `Scene.landmarks`."""
        state = self.now
        points = {
            "gripper": (state.gripper, state.opening),
            "duck": (state.duck.position, (state.duck.position[2] - REST_Z["duck"]) / 0.15),
            **{f"{d}_handle": (self.handle(d), state.opened[d] / TRAVEL_M) for d in DRAWERS},
        }
        return landmark_array(self._arm, points)

    def _read(self) -> DrawerState:
        arm = self._arm
        return DrawerState(
            opened={d: float(arm.data.joint(f"{d}_drawer").qpos[0]) for d in DRAWERS},
            duck=read_toy(arm, "duck"),
            gripper=arm.data.site("ee").xpos.copy(),
            opening=arm.read().gripper,
        )
