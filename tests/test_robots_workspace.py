"""A path of slow moves stays in the box, with the fingers above the table."""

import numpy as np
import pytest

from robots.conventions import GRIPPER_DOWN, JOINT_UPPER, NEUTRAL_JOINTS
from robots.errors import MotionRefused, UnreachablePose
from robots.kinematics import Kinematics
from robots.safety import SafetyLimits
from robots.workspace import check_path

KINEMATICS, LIMITS = Kinematics(), SafetyLimits()


def pose(x: float, y: float, z: float) -> np.ndarray:
    joints = KINEMATICS.inverse(np.array([x, y, z]), GRIPPER_DOWN, NEUTRAL_JOINTS, iterations=200)
    assert joints is not None
    return joints


def test_a_path_in_the_box_passes() -> None:
    check_path(NEUTRAL_JOINTS, [pose(0.3, 0.1, 0.1), pose(0.3, -0.1, 0.03)], LIMITS, KINEMATICS)


def test_a_pose_under_the_table_is_refused() -> None:
    with pytest.raises(UnreachablePose, match="position must be between"):
        check_path(NEUTRAL_JOINTS, [pose(0.3, 0.0, -0.1)], LIMITS, KINEMATICS)


def test_a_pose_outside_the_box_is_refused() -> None:
    with pytest.raises(UnreachablePose, match="position must be between"):
        check_path(NEUTRAL_JOINTS, [pose(0.2, 0.3, 0.2)], LIMITS, KINEMATICS)


def test_a_pose_past_the_joint_limits_is_refused() -> None:
    with pytest.raises(MotionRefused, match="inside their limits"):
        check_path(NEUTRAL_JOINTS, [JOINT_UPPER], LIMITS, KINEMATICS)


def test_fingers_under_the_table_on_the_way_between_two_good_poses_are_refused() -> None:
    start, end = (
        np.array([2.8, 1.7, 1.4, -2.0, -0.6, -1.2]),
        np.array([0.1, 1.3, -1.9, 2.0, 1.9, -2.5]),
    )
    check_path(start, [start], LIMITS, KINEMATICS)
    check_path(end, [end], LIMITS, KINEMATICS)
    with pytest.raises(MotionRefused, match=r"On the way to pose 1 .* under the table"):
        check_path(start, [end], LIMITS, KINEMATICS)
