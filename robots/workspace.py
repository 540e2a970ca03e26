"""Whether slow moves between poses stay where the arm may be: in the box, and with the fingers above the table."""

from collections.abc import Sequence

import numpy as np

from robots import safety
from robots.errors import MotionRefused
from robots.kinematics import Kinematics
from robots.safety import SafetyLimits

SAMPLES = 20
"""Points that are looked at on the way between two poses."""


def check_path(
    start: np.ndarray, poses: Sequence[np.ndarray], limits: SafetyLimits, kinematics: Kinematics
) -> None:
    """Check a path through poses of joints `(6,)` [rad], straight between them in joint space.

    Args:
        start: `(6,)` [rad], where it begins; known to be allowed.
        poses: Where it goes.
        limits: The limits to keep.
        kinematics: Kinematics of the arm.

    Raises:
        MotionRefused: A pose past the joint limits, or fingers under the table on the way.
        UnreachablePose: A pose with the end effector outside the box.
    """
    for number, joints in enumerate(poses, start=1):
        safety.check_target(joints, None, limits)
        safety.check_pose(kinematics.forward(joints)[0], limits)
        for fraction in np.linspace(0.0, 1.0, SAMPLES):
            height = safety.lowest_finger(*kinematics.forward(start + fraction * (joints - start)))
            if height < limits.table_m:
                raise MotionRefused(
                    f"On the way to pose {number} the fingers would be {1e3 * (limits.table_m - height):.0f} "
                    "mm under the table. Nothing has moved; choose a higher pose, or one more in between."
                )
        start = joints
