"""The WidowX as a LeRobot robot: the same guarded arm, limits and conventions as in the environments."""

import logging
import threading
import time
from contextlib import ExitStack
from typing import Any

import numpy as np
from lerobot.robots import Robot
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected

from robots.catalogue import entry_of_scene
from robots.conventions import ACTION_DIM, CONTROL_HZ
from robots.environments import simulated
from robots.errors import ArmFault, ArmUnavailable
from robots.lerobot_plugin.config_roboreward_widowx import RoboRewardWidowXConfig
from robots.lerobot_plugin.features import (
    ACTION_FEATURES,
    CAMERA,
    HOME,
    STATE_NAMES,
    action_from_names,
    is_return_to_start,
    named_action,
)
from robots.lerobot_plugin.shared_terminal import SharedTerminal
from robots.signals import end_on_unhandled_signals
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.clock import ControlClock, SystemTimer

log = logging.getLogger(__name__)

PERIOD_S = 0.95 / CONTROL_HZ
"""What an action takes at least: whatever rate LeRobot is set to, the arm is not faster than its limits mean. The rest
of the period is LeRobot's, which complains if it gets none."""
FRESH_S = 0.05
"""An observation from the end of the last action is not older than this in LeRobot's loop; after a pause there is a new one."""


class RoboRewardWidowX(Robot):
    """Steps of the end effector in, state and camera image out, at 5 Hz (`--dataset.fps=5`).

    Making one moves nothing, but asks whether there is a driver: LeRobot makes its data set only afterwards. `connect`
    is the first motion, to the start of an episode. LeRobot's "return to the initial position" does that again.

    Args:
        config: Which one.
        terminal: Whose space bar stops it; by default that of the process.
    """

    config_class = RoboRewardWidowXConfig
    name = "roboreward_widowx"

    def __init__(
        self, config: RoboRewardWidowXConfig, *, terminal: SharedTerminal | None = None
    ) -> None:
        super().__init__(config)
        self.config = config
        self.cameras = {CAMERA: config.camera_topic if config.backend == "ros2" else "simulated"}
        self._terminal = terminal or SharedTerminal.of_process()
        self._clock = ControlClock(PERIOD_S, SystemTimer())
        self._env = self._make()
        self._observation: dict[str, np.ndarray] | None = None
        self._observed_at = 0.0
        self._at_start = False
        self._leave = ExitStack()

    @property
    def observation_features(self) -> dict[str, Any]:
        """State and camera."""
        size = (self.config.image_height, self.config.image_width, 3)
        return {**dict.fromkeys(STATE_NAMES, float), CAMERA: size}

    @property
    def action_features(self) -> dict[str, type]:
        """Steps in [-1, 1] and the gripper."""
        return dict(ACTION_FEATURES)

    @property
    def is_connected(self) -> bool:
        """Whether the arm has been brought to its start."""
        return self._observation is not None

    @property
    def is_calibrated(self) -> bool:
        """The servos are calibrated by their maker."""
        return True

    @check_if_already_connected
    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 - LeRobot's signature
        """Go slowly to the start of an episode. From now on an ssh connection that drops puts the arm to sleep, as Ctrl-C does.

        Raises:
            ArmUnavailable: No driver, another robot's, or a real arm without a terminal.
            ArmFault: Stopped on the way.
        """
        end_on_unhandled_signals()
        self._terminal.open()
        with ExitStack() as leave:
            leave.callback(self._terminal.close)
            leave.callback(self._env.close)
            self._reset(seed=self.config.seed)
            self._leave = leave.pop_all()

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    @check_if_not_connected
    def get_observation(self) -> dict[str, Any]:
        """The present state and image.

        Raises:
            ArmFault: The arm has been stopped.
        """
        if time.monotonic() - self._observed_at > FRESH_S:
            self._see(self._env.observe())
        assert self._observation is not None
        state = zip(STATE_NAMES, self._observation["state"], strict=True)
        return {**{name: float(value) for name, value in state}, CAMERA: self._observation["image"]}

    @check_if_not_connected
    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move for one control period; returns what was executed after all limits.

        Raises:
            InvalidAction: Not an action of this robot; nothing has moved.
            ArmFault: The arm was stopped, by the space bar too; it holds.
        """
        self._check_stop()
        if is_return_to_start(action) or action.get(HOME):
            return self._go_to_start()
        wanted = action_from_names(action)
        self._clock.stop()  # LeRobot counts the periods
        self._clock.begin()
        observation, _, _, _, info = self._env.step(wanted)
        if self.config.backend == "sim":  # else the arm has waited
            self._clock.finish(threading.Event())
        self._see(observation)
        self._at_start = False
        return named_action(info["action"])

    def disconnect(self) -> None:
        """Put the arm to sleep if it was moved, and give the terminal back."""
        self._observation = None
        self._leave.close()

    def _make(self) -> WidowXEnv:
        config = self.config
        name, size = entry_of_scene(config.scene).name, (config.image_height, config.image_width)
        task = {"task": config.task} if config.task else {}
        if config.backend == "sim":
            return simulated.make(name, **task, image_size=size)
        if config.watched and not self._terminal.is_tty:
            raise ArmUnavailable(
                "A real arm needs a terminal, whose space bar stops it, and standard input is not one. Start the "
                "command in a terminal (ssh -t), without a pipe."
            )
        try:
            from robots.environments import over_ros
        except ModuleNotFoundError as error:
            raise ArmUnavailable(
                f"--robot.backend=ros2 needs ROS 2 and our messages ({error}). Run `make setup-ros` and start the "
                "command with .venv-ros/bin/python, see docs/robot.md."
            ) from error
        env = over_ros.make(
            name,
            **task,
            watched=config.watched,
            robot_name=config.robot_name,
            camera_topic=config.camera_topic,
            camera_reference=config.camera_reference,
            setup=config.setup,
            limits=config.limits,
            reset_script=config.reset_script,
            simulated_clock=config.simulated_clock,
            image_size=size,
            keyboard=self._terminal,
        )
        assert isinstance(env.arm, XsArm)
        env.arm.ready_s = config.ready_s
        if not config.simulated_clock:
            env.arm.clock = self._clock
        try:
            env.arm.connect()
        except ArmUnavailable:
            env.close()
            raise
        return env

    def _go_to_start(self) -> dict[str, float]:
        """Go to the start of an episode, unless the arm is there: LeRobot asks for it many times in a row."""
        if not self._at_start:
            self._reset()
        return named_action(np.append(np.zeros(ACTION_DIM - 1), 1.0))

    def _reset(self, seed: int | None = None) -> None:
        self._see(self._env.reset(seed=seed)[0])
        self._at_start = True
        log.info("The arm is at its start.")

    def _check_stop(self) -> None:
        """The space bar ends a simulated run too; beside a real arm the operator's keys are read all the time."""
        if not self.config.watched and self._terminal.pressed():
            self._env.arm.hold()
            raise ArmFault("Stopped with the space bar. The arm holds.")

    def _see(self, observation: dict[str, np.ndarray]) -> None:
        self._observation, self._observed_at = observation, time.monotonic()
