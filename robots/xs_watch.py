"""The watch over a moving arm: does it go where it is sent?"""

import numpy as np

from robots.errors import ArmFault
from robots.feeds import Joints
from robots.layout import ARM_JOINTS

FAR_RAD = 0.25
"""Distance to the set-point from which a joint has to come nearer."""
NEARING_RAD_S = 0.05
LATE_S = 0.3
"""How long it may fail to: longer than a servo takes to turn around."""


class FollowWatch:
    """Notices a joint that is far from its set-point and does not come nearer.

    That is a servo in error, a collision, or commands that do not arrive.
    """

    def __init__(self) -> None:
        self._since = np.full(len(ARM_JOINTS), np.inf)

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

    def forget(self) -> None:
        """Start anew, after a pause."""
        self._since[:] = np.inf
