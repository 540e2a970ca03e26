"""A keyboard as a LeRobot teleoperator, in the terminal: it needs no display, and works over ssh."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.teleoperators import Teleoperator
from lerobot.utils.decorators import check_if_already_connected, check_if_not_connected

from robots.conventions import ACTION_DIM
from robots.errors import ArmUnavailable
from robots.lerobot_plugin.config_roboreward_keyboard import RoboRewardKeyboardConfig
from robots.lerobot_plugin.features import ACTION_FEATURES, HOME, named_action
from robots.lerobot_plugin.shared_terminal import SharedTerminal

AXES = {
    key: (axis, sign)
    for axis, keys in enumerate(("ws", "ad", "ec", "uo", "ik", "jl"))
    for key, sign in zip(keys, (1.0, -1.0), strict=True)
}
"""Index of the action and its sign for each key: x, y, z, roll, pitch, yaw."""
SPEEDS = {"1": 0.2, "2": 0.5, "3": 1.0}
GRIPPER_KEY, HOME_KEY = "g", "h"
MOTION_KEYS = frozenset([*AXES, *SPEEDS, GRIPPER_KEY, HOME_KEY])
KEYS = (
    "w/s forward/back, a/d left/right, e/c up/down, u/o roll, i/k pitch, j/l yaw, g gripper, 1 2 3 speed, "
    "h back to the start (a new scene in simulation), space stop"
)


@dataclass
class KeyState:
    """What keys have set: they stay so until another key.

    Attributes:
        speed: Part of the largest step.
        gripper: -1 closed, 1 open.
    """

    speed: float
    gripper: float = 1.0

    def take(self, keys: str) -> tuple[np.ndarray, bool]:
        """Action `(7,)` for the keys of one control period, and whether to go back to the start.

        A terminal reports presses and no releases: a key moves the arm for one period, and repeats while it is held.
        """
        action, home = np.zeros(ACTION_DIM), False
        for key in keys:
            if key in AXES:
                axis, sign = AXES[key]
                action[axis] = sign * self.speed
            elif key in SPEEDS:
                self.speed = SPEEDS[key]
            elif key == GRIPPER_KEY:
                self.gripper = -self.gripper
            elif key == HOME_KEY:
                home, self.gripper = True, 1.0  # as the arm is after it
        action[-1] = self.gripper
        return action, home


class RoboRewardKeyboard(Teleoperator):
    """Steps of the end effector from keys."""

    config_class = RoboRewardKeyboardConfig
    name = "roboreward_keyboard"

    def __init__(self, config: RoboRewardKeyboardConfig) -> None:
        super().__init__(config)
        self.config = config
        self._terminal: SharedTerminal | None = None
        self._state = KeyState(config.speed)

    @property
    def action_features(self) -> dict[str, type]:
        """As the robot's."""
        return dict(ACTION_FEATURES)

    @property
    def feedback_features(self) -> dict[str, type]:
        """None."""
        return {}

    @property
    def is_connected(self) -> bool:
        """Whether keys are read."""
        return self._terminal is not None

    @property
    def is_calibrated(self) -> bool:
        """A keyboard needs no calibration."""
        return True

    @check_if_already_connected
    def connect(self, calibrate: bool = True) -> None:  # noqa: FBT001, FBT002 - LeRobot's signature
        """Begin to read keys.

        Raises:
            ArmUnavailable: Standard input is not a terminal.
        """
        terminal = SharedTerminal.of_process()
        if not terminal.is_tty:
            raise ArmUnavailable(
                "The keyboard teleoperator reads keys from a terminal, and standard input is not one. Start the "
                "command in a terminal (ssh -t, docker run -it), without a pipe."
            )
        terminal.open(MOTION_KEYS)
        self._terminal = terminal
        terminal.write(f"Keys: {KEYS}. LeRobot's own: n next, r record again, q quit.")

    def calibrate(self) -> None:
        """Nothing to do."""

    def configure(self) -> None:
        """Nothing to do."""

    @check_if_not_connected
    def get_action(self) -> dict[str, float]:
        """Action for the keys since the last call."""
        assert self._terminal is not None
        action, home = self._state.take(self._terminal.motion_keys())
        # One key more than the features: LeRobot stores those of the features only.
        return {**named_action(action), HOME: float(home)}

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        """A keyboard feels nothing."""

    @check_if_not_connected
    def disconnect(self) -> None:
        """Leave the terminal as it was."""
        assert self._terminal is not None
        self._terminal.close()
        self._terminal = None
