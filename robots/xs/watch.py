"""The watch over a moving arm: does it go where it is sent?"""

from collections import deque

import numpy as np

from robots.conventions import ARM_JOINTS
from robots.errors import ArmFault
from robots.xs.feeds import Joints

MAX_ERROR_RAD = 0.25
"""Distance to the set-point from which a joint has to close in on it."""
MIN_CLOSING_RAD_S = 0.05
"""Slowest speed that counts as closing in."""
MAX_LATE_S = 0.3
"""How long it may fail to: longer than a servo takes to turn around."""

WINDOW_S = 1.0
RESPONSE_S = 0.4
"""What a joint gets to begin with a new set-point."""
MIN_COMMANDED_RAD = 0.1
"""A set-point that changes by more within the window asks for motion that can be seen."""
MIN_FOLLOWED_FRACTION = 0.3
"""A joint that does less than this part of it does not follow."""

GRIPPER_ERROR_M = 0.003
"""Distance of a finger to its set-point from which it has to move, or to push on something."""
GRIPPER_STILL_M = 0.0005
GRIPPER_LATE_S = 0.6
"""How long it may stand still without."""
MIN_PUSH_MA = 50.0
"""A gripper that holds something draws more; without torque it draws nothing."""


class FollowWatch:
    """Notices a joint that does not follow its set-point: a servo in error, a collision, or lost commands.

    Either it is far from its set-point and does not close in, or its set-point has moved to and fro and it has not.
    """

    def __init__(self) -> None:
        self._since = np.full(len(ARM_JOINTS), np.inf)
        self._past: deque[tuple[float, np.ndarray, np.ndarray]] = deque()

    def check(self, joints: Joints, setpoint: np.ndarray, now: float) -> None:
        """Raise `ArmFault` if a joint has not followed `setpoint` `(6,)` [rad] for too long."""
        error = setpoint - joints.arm
        closing = joints.speed * np.sign(error)
        lost = (np.abs(error) > MAX_ERROR_RAD) & (closing < MIN_CLOSING_RAD_S)
        self._since = np.where(lost, np.minimum(self._since, now), np.inf)
        if (now - self._since > MAX_LATE_S).any():
            worst = int(np.argmin(self._since))
            raise ArmFault(
                f"{ARM_JOINTS[worst]} does not follow its set-point: {abs(error[worst]):.2f} rad away for "
                f"{now - self._since[worst]:.1f} s. The arm holds: a servo in error, an obstacle, or lost "
                "commands."
            )
        self._check_motion(joints, setpoint, now)

    def forget(self) -> None:
        """Start anew, after a pause."""
        self._since[:] = np.inf
        self._past.clear()

    def _check_motion(self, joints: Joints, setpoint: np.ndarray, now: float) -> None:
        past = self._past
        past.append((now, setpoint, joints.arm))
        if now - past[0][0] < WINDOW_S:
            return
        commanded = _range([point for at, point, _ in past if now - at >= RESPONSE_S])
        moved = _range([arm for _, _, arm in past])
        while now - past[0][0] >= WINDOW_S:
            past.popleft()
        idle = (commanded > MIN_COMMANDED_RAD) & (moved < MIN_FOLLOWED_FRACTION * commanded)
        if idle.any():
            worst = int(np.argmax(np.where(idle, commanded, 0.0)))
            raise ArmFault(
                f"{ARM_JOINTS[worst]} does not follow its set-point: it moved {moved[worst]:.2f} of "
                f"{commanded[worst]:.2f} rad within {WINDOW_S:g} s. The arm holds: a servo in error, an "
                "obstacle, or lost commands."
            )


class GripperWatch:
    """Notices a gripper that neither moves nor pushes: its servo is in error, for example after an overload."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._was_m = float("nan")

    def check(self, target_m: float, finger_m: float, effort_ma: float, now: float) -> None:
        """Raise `ArmFault` if a finger at `finger_m` [m] has not gone to `target_m` [m] for too long.

        Fingers that close on an object stand still too, but their servo draws current.
        """
        away = abs(target_m - finger_m) > GRIPPER_ERROR_M
        moved = not abs(finger_m - self._was_m) < GRIPPER_STILL_M
        holding = target_m < finger_m and abs(effort_ma) >= MIN_PUSH_MA
        if moved:
            self._was_m = finger_m
        if not away or moved or holding:
            self._since = None
            return
        self._since = now if self._since is None else self._since
        if now - self._since > GRIPPER_LATE_S:
            raise ArmFault(
                f"The gripper does not follow: its finger is at {finger_m * 1e3:.0f} mm instead of "
                f"{target_m * 1e3:.0f} mm and its servo draws {effort_ma:.0f} mA. The arm holds: an overload "
                "has switched the servo off, or a finger is stuck."
            )

    def forget(self) -> None:
        """Start anew, after a pause."""
        self._since, self._was_m = None, float("nan")


def _range(values: list[np.ndarray]) -> np.ndarray:
    """Largest less smallest of each joint [rad]."""
    return np.ptp(np.array(values), axis=0)
