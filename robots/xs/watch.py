"""The watch over a moving arm: does it go where it is sent?"""

from collections import deque

import numpy as np

from robots.conventions import ARM_JOINTS
from robots.errors import ArmFault
from robots.xs.feeds import Joints

FAR_RAD = 0.25
"""Distance to the set-point from which a joint has to come nearer."""
NEARING_RAD_S = 0.05
LATE_S = 0.3
"""How long it may fail to: longer than a servo takes to turn around."""

WINDOW_S = 1.0
ANSWER_S = 0.4
"""What a joint gets to begin with what it is told."""
TOLD_RAD = 0.1
"""A set-point that changes by more within the window asks for motion that can be seen."""
DONE_FRACTION = 0.3
"""A joint that does less than this part of it does not do what it is told."""


class FollowWatch:
    """Notices a joint that does not do what it is told: a servo in error, a collision, or lost commands.

    It is far from its set-point and does not come nearer, or its set-point has moved to and fro and it has not.
    """

    def __init__(self) -> None:
        self._since = np.full(len(ARM_JOINTS), np.inf)
        self._past: deque[tuple[float, np.ndarray, np.ndarray]] = deque()

    def check(self, joints: Joints, setpoint: np.ndarray, now: float) -> None:
        """Raise `ArmFault` if a joint has not followed `setpoint` `(6,)` [rad] for too long."""
        error = setpoint - joints.arm
        nearing = joints.speed * np.sign(error)
        lost = (np.abs(error) > FAR_RAD) & (nearing < NEARING_RAD_S)
        self._since = np.where(lost, np.minimum(self._since, now), np.inf)
        if (now - self._since > LATE_S).any():
            worst = int(np.argmin(self._since))
            raise ArmFault(
                f"Expected {ARM_JOINTS[worst]} to follow its set-point, got {abs(error[worst]):.2f} rad "
                f"away from it for {now - self._since[worst]:.1f} s. The arm holds: a servo in error, "
                "an obstacle, or lost commands."
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
        told = _range([point for at, point, _ in past if now - at >= ANSWER_S])
        done = _range([arm for _, _, arm in past])
        while now - past[0][0] >= WINDOW_S:
            past.popleft()
        idle = (told > TOLD_RAD) & (done < DONE_FRACTION * told)
        if idle.any():
            worst = int(np.argmax(np.where(idle, told, 0.0)))
            raise ArmFault(
                f"Expected {ARM_JOINTS[worst]} to follow its set-point over {told[worst]:.2f} rad, got "
                f"{done[worst]:.2f} rad of motion within {WINDOW_S:g} s. The arm holds: a servo in error, "
                "an obstacle, or lost commands."
            )


def _range(values: list[np.ndarray]) -> np.ndarray:
    """Largest less smallest of each joint [rad]."""
    return np.ptp(np.array(values), axis=0)
