"""The arm's model is the vendor's arm."""

import numpy as np
import pytest
from scipy.linalg import expm

from robots.conventions import (
    GRIPPER_DOWN,
    JOINT_LOWER,
    JOINT_UPPER,
    euler_from_rotation,
    rotation_from_euler,
)
from robots.kinematics import Kinematics

HOME = (0.458325, 0.0, 0.36065)
SCREWS = np.array(
    [
        (0, 0, 1, 0, 0, 0),
        (0, 1, 0, -0.11065, 0, 0),
        (0, 1, 0, -0.36065, 0, 0.04975),
        (1, 0, 0, 0, 0.36065, 0),
        (0, 1, 0, -0.36065, 0, 0.29975),
        (1, 0, 0, 0, 0.36065, 0),
    ]
)
"""Space-frame screw axes (angular, linear) that Interbotix publishes for the wx250s."""


@pytest.fixture(scope="module")
def kinematics() -> Kinematics:
    return Kinematics()


def vendor_forward(joints: np.ndarray) -> np.ndarray:
    """Product of exponentials."""
    pose = np.eye(4)
    for angle, (wx, wy, wz, *v) in zip(joints, SCREWS, strict=True):
        twist = np.zeros((4, 4))
        twist[:3, :3] = [[0, -wz, wy], [wz, 0, -wx], [-wy, wx, 0]]
        twist[:3, 3] = v
        pose = pose @ expm(twist * angle)
    home = np.eye(4)
    home[:3, 3] = HOME
    return pose @ home


def test_forward_kinematics_equal_the_vendors(kinematics: Kinematics) -> None:
    rng = np.random.default_rng(0)
    for joints in rng.uniform(JOINT_LOWER, JOINT_UPPER, (200, 6)):
        position, rotation = kinematics.forward(joints)
        expected = vendor_forward(joints)
        np.testing.assert_allclose(position, expected[:3, 3], atol=1e-9)
        np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-9)


def test_inverse_reaches_the_pose_it_was_asked_for(kinematics: Kinematics) -> None:
    rng = np.random.default_rng(0)
    start = np.array([0.0, -0.5, 0.6, 0.0, 1.4, 0.0])
    for position in rng.uniform([0.2, -0.15, 0.03], [0.36, 0.15, 0.2], (20, 3)):
        joints = kinematics.inverse(position, GRIPPER_DOWN, start, iterations=100)
        assert joints is not None
        reached, rotation = kinematics.forward(joints)
        np.testing.assert_allclose(reached, position, atol=2e-3)
        np.testing.assert_allclose(rotation, GRIPPER_DOWN, atol=2e-2)


def test_inverse_returns_none_out_of_reach(kinematics: Kinematics) -> None:
    assert kinematics.inverse(np.array([2.0, 0.0, 0.2]), GRIPPER_DOWN, np.zeros(6)) is None


def test_pointing_down_is_zero_and_euler_angles_round_trip() -> None:
    np.testing.assert_allclose(euler_from_rotation(GRIPPER_DOWN), 0.0, atol=1e-12)
    euler = np.array([0.2, -0.3, 1.1])
    np.testing.assert_allclose(euler_from_rotation(rotation_from_euler(euler)), euler, atol=1e-9)
