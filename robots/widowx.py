"""The WidowX environment: clock, spaces, safety and episode logic, over any `Arm`."""

import math
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from roboreward_gym.errors import InvalidSetting
from robots import safety
from robots.arm import Arm
from robots.conventions import (
    ACTION_DIM,
    CONTROL_HZ,
    GRIPPER_DOWN,
    MAX_STEP_M,
    MAX_STEP_RAD,
    NEUTRAL_JOINTS,
    STATE_DIM,
    STATE_HIGH,
    STATE_LOW,
    euler_from_rotation,
    rotated,
    rotation_from_euler,
    turned_by,
)
from robots.errors import NoTruth
from robots.guard import Guard
from robots.kinematics import Kinematics
from robots.scene import Scene, Split, check_task

START_POSITION = np.array([0.24, 0.0, 0.20])  # [m]
START_JITTER_M = 0.015

Observation = dict[str, np.ndarray]


class WidowXEnv(gym.Env[Observation, np.ndarray]):
    """5 Hz delta end-effector control of a WidowX 250S; see `robots.conventions` for state and action.

    Like the real robot it cannot know whether it succeeded: it never terminates, and a time limit truncates.
    The reward (1.0 while the true state is a success) and every `truth/...` entry of `info` are ground truth of
    the simulation, for oracle baselines and reports only; NaN where nobody knows it, as on a real table.

    Args:
        arm: Where actions go and images come from.
        scene: Objects, tasks and true state; simulation only.
        task: The task of every episode. `env.task = ...` changes it from the next reset on,
            `reset(options={"task": ...})` for one episode.
        look: "train" leaves out the held-out colours and camera poses, "test" uses only those, "any" all.
        image: False leaves the image out of observations, for physics without a camera.
        render_mode: "rgb_array" or None.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}

    def __init__(
        self,
        arm: Arm,
        scene: Scene,
        task: str,
        *,
        look: Split = "any",
        image: bool = True,
        render_mode: str | None = None,
        limits: safety.SafetyLimits | None = None,
    ) -> None:
        if look not in ("train", "test", "any"):
            raise InvalidSetting(f"look must be 'train', 'test' or 'any', got {look!r}.")
        self.arm, self.scene = arm, scene
        self._task = self._next_task = check_task(task, scene.tasks)
        self.tasks = scene.tasks
        self.render_mode = render_mode
        self._look, self._with_image = look, image
        self._limits = limits or safety.SafetyLimits()
        self._guard = Guard(arm, self._limits)
        self._kinematics = Kinematics()
        self._image: np.ndarray | None = None
        self._position, self._euler = START_POSITION.copy(), np.zeros(3)
        self._joints, self._gripper = NEUTRAL_JOINTS.copy(), 1.0
        spaces: dict[str, gym.Space] = {
            "state": gym.spaces.Box(STATE_LOW, STATE_HIGH, (STATE_DIM,), np.float32)
        }
        if image:
            spaces["image"] = gym.spaces.Box(0, 255, (*arm.image_size, 3), np.uint8)
        self.observation_space: gym.spaces.Dict = gym.spaces.Dict(spaces)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)

    @property
    def task(self) -> str:
        """The task of the present episode."""
        return self._task

    @task.setter
    def task(self, task: str) -> None:
        self._next_task = check_task(task, self.tasks)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Shuffle the scene by seed and bring the arm to its start."""
        super().reset(seed=seed)
        task = (options or {}).get("task", self._next_task)
        self._task = check_task(task, self.tasks)
        self.scene.reset(self.np_random, self.task, self._look)
        position = START_POSITION + self.np_random.uniform(-START_JITTER_M, START_JITTER_M, 3)
        safety.check_pose(position, self._limits)
        joints = self._kinematics.inverse(position, GRIPPER_DOWN, NEUTRAL_JOINTS, iterations=100)
        if joints is None:
            raise safety.UnreachablePose(
                f"No joints reach the start at {position} m. Check the safety limits."
            )
        self._position, self._euler = position, np.zeros(3)
        self._joints, self._gripper = joints, 1.0
        self._guard.reset(joints, self._gripper)
        self._image = None
        self.scene.observe()
        return self._observation(), self._info(np.zeros(ACTION_DIM, np.float32))

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move for one control period of 0.2 s by an action `(7,)` in [-1, 1].

        `info["action"]` is what was executed. `info["held"]` is 1.0 if no joints were found for the target and the arm
        stayed where it was, `info["clipped"]` if the joints would have had to move faster than they may.

        Raises:
            ArmFault: The arm was stopped; the episode is invalid, and the next reset recovers the arm.
        """
        executed, limited = self._execute(safety.check_action(action))
        self.scene.observe()
        info = {**self._info(executed), **limited}
        return self._observation(), info["truth/success"], False, False, info

    def observe(self) -> Observation:
        """The present state and image, between two steps.

        Raises:
            ArmFault: The arm has been stopped.
        """
        self._image = None
        return self._observation()

    def render(self) -> np.ndarray | None:
        """The camera image of this step, `(H, W, 3)` uint8 RGB, the same as in the observation."""
        return self._camera() if self.render_mode == "rgb_array" else None

    def level(self, task: str) -> int:
        """True rubric level 1..5 of the state now, for any task of the scene."""
        return self.scene.level(task)

    def close(self) -> None:
        """Release the arm."""
        self.arm.close()

    @property
    def target(self) -> np.ndarray:
        """Position `(3,)` [m] that the next delta is added to."""
        return self._position.copy()

    def _execute(self, action: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
        """Send a checked action; returns `(7,)` float32, what was executed after all limits, and which limits acted."""
        before = rotation_from_euler(self._euler)
        asked = euler_from_rotation(rotated(before, action[3:6] * MAX_STEP_RAD))
        position, euler = safety.clamp_pose(
            self._position + action[:3] * MAX_STEP_M, asked, self._limits
        )
        found = self._kinematics.inverse(position, rotation_from_euler(euler), self._joints)
        joints = safety.safe_joints(found, self._joints, self._limits)
        clipped = False
        if (
            found is not None
            and joints is not None
            and np.abs(found - self._joints).max() > self._limits.largest_step_rad
        ):
            # Each joint is clipped by itself, so the hand leaves its way: it can come under the table though neither its
            # start nor its target is.
            position, rotation = self._kinematics.forward(joints)
            euler = euler_from_rotation(rotation)
            clipped = safety.is_allowed(position, rotation, self._limits)
            joints = joints if clipped else None
        # The target stays where it was, or is where the joints were sent: it never runs ahead of them.
        held = joints is None
        if joints is None:
            position, euler, joints = self._position, self._euler, self._joints
        turned = action[3:6]
        if held or clipped or not np.array_equal(euler, asked):
            turned = turned_by(before, rotation_from_euler(euler)) / MAX_STEP_RAD
        executed = np.concatenate([(position - self._position) / MAX_STEP_M, turned, action[6:]])
        self._position, self._euler, self._joints = position, euler, joints
        self._gripper = float((action[6] + 1.0) / 2.0)
        self._guard.move(joints, self._gripper)
        self._image = None
        return (
            np.clip(executed, -1.0, 1.0).astype(np.float32),
            {"held": float(held), "clipped": float(clipped)},
        )

    def _observation(self) -> Observation:
        reading = self._guard.read()
        position, rotation = self._kinematics.forward(reading.joints)
        state = np.concatenate([position, euler_from_rotation(rotation), [reading.gripper]])
        observation = {"state": state.astype(np.float32)}
        if self._with_image:
            observation["image"] = self._camera().copy()
        return observation

    def _camera(self) -> np.ndarray:
        if self._image is None:
            self._image = self._guard.camera()
        return self._image

    def _info(self, executed: np.ndarray) -> dict[str, Any]:
        try:
            level = float(self.scene.level(self.task))
        except NoTruth:
            return {"action": executed, "truth/level": math.nan, "truth/success": math.nan}
        return {"action": executed, "truth/level": level, "truth/success": float(level == 5)}


def widowx(env: gym.Env[Any, Any]) -> WidowXEnv:
    """The WidowX environment inside any wrappers.

    Raises:
        TypeError: There is another environment inside.
    """
    inner = env.unwrapped
    if not isinstance(inner, WidowXEnv):
        raise TypeError(
            f"{type(inner).__name__} is not a WidowX environment. Make one with gym.make."
        )
    return inner
