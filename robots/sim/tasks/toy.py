"""Toy on towel: a duck and a block, a towel and a plate; six tasks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from roboreward_gym.errors import InvalidSetting
from robots.conventions import LANDMARKS
from robots.scene import check_task
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks import look
from robots.sim.tasks.history import StateHistory
from robots.sim.tasks.objects import Toy, pick_level, place_toy, read_toy
from robots.sim.waypoints import Waypoint, grasp, lift, place, put_down

Layout = Literal["sides", "any"]

TOYS = ("duck", "block")
TARGETS = ("towel", "plate")
REST_Z = {"duck": 0.014, "block": 0.016}  # [m], centre above the table
TOWEL_HALF = np.array([0.055, 0.045])  # [m]
PLATE_RADIUS = 0.05  # [m]
THICKNESS_M = 0.005
"""A little more than towel and plate have."""
SLOTS = np.array([[0.23, -0.11], [0.23, 0.11], [0.365, -0.11], [0.365, 0.11]])
RIGHT, LEFT = (0, 2), (1, 3)
SLOT_JITTER_M = 0.014
NEAR_M = 0.02
RESTING_M = 0.015
RELEASED_M = 0.03
STILL_M_S = 0.01
OPEN_GRIPPER = 0.85
TOWARD_M = 0.03
"""So much nearer to the target is a small change toward the goal."""
GRASPED_M = 0.02
"""So is a toy in the gripper, lifted by more than this [m]."""
MAX_YAW = 0.35


@dataclass(frozen=True, eq=False)
class ToyState:
    """All that the truth about this scene depends on.

    Attributes:
        toys: Duck and block by name.
        towel: x, y [m] and yaw [rad].
        plate: x, y [m].
        gripper: `(3,)` end effector [m].
        opening: Gripper opening in 0..1.
    """

    toys: dict[str, Toy]
    towel: np.ndarray
    plate: np.ndarray
    gripper: np.ndarray
    opening: float


def outside_m(state: ToyState, toy: str, target: str) -> float:
    """How far a toy's centre lies outside a target's outline, in [m]; 0 inside."""
    xy = state.toys[toy].position[:2]
    if target == "plate":
        return max(0.0, float(np.linalg.norm(xy - state.plate[:2])) - PLATE_RADIUS)
    c, s = np.cos(state.towel[2]), np.sin(state.towel[2])
    local = np.array([[c, s], [-s, c]]) @ (xy - state.towel[:2])
    return float(np.linalg.norm(np.maximum(np.abs(local) - TOWEL_HALF, 0.0)))


def put_level(start: ToyState, before: ToyState, now: ToyState, toy: str, target: str) -> int:
    """Rubric level of "put toy on target"; perfect needs it inside, resting, released and still for two steps.

    The rubric's level 2 is "a small change toward the goal": a toy that was pushed elsewhere, or off the table, is level 1.
    """

    def perfect(state: ToyState) -> bool:
        it = state.toys[toy]
        return bool(
            outside_m(state, toy, target) == 0.0
            and it.position[2] - REST_Z[toy] < RESTING_M
            and not it.held
            and np.linalg.norm(state.gripper - it.position) >= RELEASED_M
            and it.speed < STILL_M_S
        )

    it = now.toys[toy]
    if it.position[2] < 0.0:  # it fell off the table
        return 1
    if perfect(now) and perfect(before):
        return 5
    distance = outside_m(now, toy, target)
    if distance <= NEAR_M:
        return 4
    at_first = outside_m(start, toy, target)
    if 1.0 - distance / max(at_first, 1e-6) >= 0.5:
        return 3
    grasped = it.held and it.position[2] - start.toys[toy].position[2] > GRASPED_M
    return 2 if grasped or at_first - distance >= TOWARD_M else 1


class ToyScene(StateHistory[ToyState]):
    """Two toys and two targets in four slots: toys right and targets left of the arm, or in any order."""

    tasks = (
        *(f"put the {toy} on the {target}" for toy in TOYS for target in TARGETS),
        *(f"pick up the {toy}" for toy in TOYS),
    )

    def __init__(self, arm: MujocoArm, layout: Layout = "sides") -> None:
        if layout not in ("sides", "any"):
            raise InvalidSetting(f"layout must be 'sides' or 'any', got {layout!r}.")
        self._arm, self._layout = arm, layout
        super().__init__()

    def reset(self, rng: np.random.Generator, task: str, split: look.Split) -> None:
        """Shuffle things over the slots; colours, light and camera follow `split`."""
        check_task(task, self.tasks)
        arm = self._arm
        if self._layout == "sides":
            order = np.concatenate([rng.permutation(RIGHT), rng.permutation(LEFT)])
        else:
            order = rng.permutation(len(SLOTS))
        places = SLOTS[order] + rng.uniform(-SLOT_JITTER_M, SLOT_JITTER_M, (4, 2))
        for name, xy in zip(TOYS, places[:2], strict=True):
            place_toy(arm, name, np.array([*xy, REST_Z[name]]), rng.uniform(-MAX_YAW, MAX_YAW))
        for name, xy in zip(TARGETS, places[2:], strict=True):
            yaw = rng.uniform(-MAX_YAW, MAX_YAW)
            mocap = arm.model.body(name).mocapid[0]
            arm.data.mocap_pos[mocap] = [*xy, 0.0]
            arm.data.mocap_quat[mocap] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        look.set_colours(
            arm.model,
            {
                "duck_body": (duck := look.DUCK.draw(rng, split)),
                "duck_head": duck,
                "block": look.BLOCK.draw(rng, split),
                "towel_cloth": look.TOWEL.draw(rng, split),
                "plate_rim": look.PLATE.draw(rng, split),
                "table": look.TABLE.draw(rng, split),
            },
        )
        look.set_light_and_camera(arm.model, rng, split)
        self._fresh = True

    def place_on(self, toy: str, target: str) -> None:
        """Start anew with a toy on a target already; call after a reset."""
        arm, xy = self._arm, getattr(self.now, target)[:2]
        place_toy(arm, toy, np.array([*xy, REST_Z[toy] + THICKNESS_M]), 0.0)
        arm.settle(0.2)
        self._fresh = True
        self.observe()

    def level_between(self, task: str, start: ToyState, before: ToyState, now: ToyState) -> int:
        """Rubric level of the state `now` after `before`, if the episode began with `start`."""
        words = check_task(task, self.tasks).split()
        if words[0] == "pick":
            toy = words[-1]
            return pick_level(start.toys[toy], before.toys[toy], now.toys[toy])
        return put_level(start, before, now, words[2], words[-1])

    def remaining_m(self, task: str, state: ToyState) -> float:
        """How far a state is from the goal of a task, in [m]."""
        words = check_task(task, self.tasks).split()
        if words[0] == "pick":
            return 0.0 if state.toys[words[-1]].held else 1.0
        return outside_m(state, words[2], words[-1])

    def askable(self, task: str) -> bool:
        """Whether the goal was not already true."""
        words = check_task(task, self.tasks).split()
        return words[0] == "pick" or outside_m(self.start, words[2], words[-1]) > 0.0

    def caption(self) -> str:
        """Where each toy is and what the gripper does."""
        return " . ".join([*(self._where(toy) for toy in TOYS), gripper_words(self.now.opening)])

    def movable(self) -> tuple[np.ndarray, ...]:
        """Positions of both toys."""
        return tuple(toy.position for toy in self.now.toys.values())

    def waypoints(self, task: str) -> Iterator[Waypoint]:
        """Where a scripted expert goes for a task, from the state now."""
        words = task.split()
        toy = self.now.toys[words[2] if words[0] == "put" else words[-1]].position
        yield from grasp(toy)
        yield from place(getattr(self.now, words[-1])) if words[0] == "put" else lift(toy)

    def undo_waypoints(self, task: str) -> Iterator[Waypoint]:
        """Where an expert goes to bring the toy of a task back to where it was at the start."""
        words = task.split()
        toy = words[2] if words[0] == "put" else words[-1]
        home = self.start.toys[toy].position
        if words[0] == "put":
            yield from grasp(self.now.toys[toy].position)
            yield from place(home)
        else:
            yield from put_down(home)

    def landmarks(self) -> np.ndarray:
        """Gripper, toys and targets; see `Scene.landmarks`."""
        state = self.now
        points = {
            "gripper": (state.gripper, state.opening),
            **{
                t: (state.toys[t].position, (state.toys[t].position[2] - REST_Z[t]) / 0.15)
                for t in TOYS
            },
            "towel": (np.array([*state.towel[:2], 0.0]), 0.0),
            "plate": (np.array([*state.plate[:2], 0.0]), 0.0),
        }
        return landmark_array(self._arm, points)

    def _where(self, toy: str) -> str:
        start, it = self.start.toys[toy], self.now.toys[toy]
        if it.held and it.position[2] - start.position[2] > 0.008:
            over = [t for t in TARGETS if outside_m(self.now, toy, t) == 0.0]
            return f"the {toy} is in the gripper over the {over[0] if over else 'table'}"
        for target in TARGETS:
            if outside_m(self.now, toy, target) == 0.0:
                return f"the {toy} is on the {target}"
        moved = np.linalg.norm(it.position[:2] - start.position[:2]) >= 0.03
        return f"the {toy} {'moved' if moved else 'stayed'} on the table"

    def _read(self) -> ToyState:
        arm = self._arm
        towel, plate = (arm.data.xpos[arm.model.body(t).id] for t in TARGETS)
        quaternion = arm.data.xquat[arm.model.body("towel").id]
        yaw = 2.0 * np.arctan2(quaternion[3], quaternion[0])
        return ToyState(
            toys={t: read_toy(arm, t) for t in TOYS},
            towel=np.array([*towel[:2], yaw]),
            plate=plate[:2].copy(),
            gripper=arm.data.site("ee").xpos.copy(),
            opening=arm.read().gripper,
        )


def gripper_words(opening: float) -> str:
    """The gripper in words; a toy between the fingers keeps it at 0.7, which is closed."""
    return f"the gripper is {'open' if opening > OPEN_GRIPPER else 'closed'}"


def landmark_array(arm: MujocoArm, points: dict[str, tuple[np.ndarray, float]]) -> np.ndarray:
    """`(K, 4)` float32 in the order of `LANDMARKS`: x, y, present, value."""
    rows = np.zeros((len(LANDMARKS), 4), np.float32)
    xy = arm.project(np.stack([point for point, _ in points.values()]))
    for (name, (_, value)), (x, y) in zip(points.items(), xy, strict=True):
        inside = 0.0 <= x < 1.0 and 0.0 <= y < 1.0
        rows[LANDMARKS.index(name)] = [x, y, float(inside), np.clip(value, 0.0, 1.0)]
    return rows
