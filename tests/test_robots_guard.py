"""The guard in front of every arm: nothing unsafe goes down, nothing stale comes up."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robots.arm import ArmReading
from robots.conventions import JOINT_UPPER
from robots.errors import ArmFault, CameraError, MotionRefused
from robots.guard import Guard
from robots.safety import SafetyLimits, check_reading, check_torque_off_is_safe, near
from robots.xs.interface import SLEEP_JOINTS
from tests.fakes_robots import FakeArm

LIMITS = SafetyLimits()
START = np.array([0.0, -0.5, 0.6, 0.0, 1.4, 0.0])


def guarded() -> tuple[Guard, FakeArm]:
    arm = FakeArm()
    guard = Guard(arm, LIMITS)
    guard.reset(START, 1.0)
    return guard, arm


def test_a_good_target_passes_unchanged() -> None:
    guard, arm = guarded()
    target = START + 0.1
    guard.move(target, 0.25)
    assert arm.read().joints is not target
    np.testing.assert_array_equal(arm.read().joints, target)
    assert arm.read().gripper == 0.25


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (np.full(6, np.nan), "finite"),
        (np.zeros(5), "6 finite"),
        (JOINT_UPPER - 0.01, "inside their limits"),
        (START + np.array([0.6, 0, 0, 0, 0, 0]), "at most 0.565 rad, got 0.600"),
    ],
)
def test_an_unsafe_target_is_refused_and_nothing_moves(target: np.ndarray, message: str) -> None:
    guard, arm = guarded()
    with pytest.raises(MotionRefused, match=message):
        guard.move(target, 1.0)
    assert arm.moves == 0


def test_steps_are_measured_from_the_last_target() -> None:
    guard, arm = guarded()
    for i in range(1, 4):
        guard.move(START + 0.5 * i * np.array([1, 0, 0, 0, 0, 0]), 1.0)
    assert arm.moves == 3


def test_a_start_past_the_limits_is_refused() -> None:
    guard, arm = guarded()
    with pytest.raises(MotionRefused, match="inside their limits"):
        guard.reset(JOINT_UPPER.copy(), 1.0)
    assert arm.resets == 1


def test_nothing_moves_before_a_reset() -> None:
    arm = FakeArm()
    with pytest.raises(ArmFault, match=r"Call reset\(\) before move\(\)"):
        Guard(arm, LIMITS).move(START, 1.0)
    assert arm.moves == 0


@pytest.mark.parametrize(
    ("hurt", "message"),
    [
        ({"joints_age_s": 0.11}, "joint state must be at most 0.1 s old, got 0.11 s"),
        ({"image_age_s": 0.6}, "image must be at most 0.5 s old, got 0.60 s"),
        ({"joints_age_s": float("nan")}, "joint state"),
        ({"joints": np.array([0, 0, np.nan, 0, 0, 0])}, "positions must be finite"),
        ({"joints": np.array([0, 0, 2.5, 0, 0, 0])}, "inside their limits"),
        (
            {"effort_ma": np.array([0, 1800.0, 0, 0, 0, 0])},
            "shoulder may draw at most 1700 mA, got 1800",
        ),
        (
            {"effort_ma": np.array([0, 0, 0, 0, 0, -1300.0])},
            "wrist_rotate may draw at most 1190 mA",
        ),
        ({"effort_ma": np.full(6, np.nan)}, "Efforts must be finite"),
    ],
)
def test_a_bad_reading_stops_the_arm_until_the_next_reset(
    hurt: dict[str, Any], message: str
) -> None:
    guard, arm = guarded()
    arm.reading = replace(arm.reading, **hurt)
    with pytest.raises(ArmFault, match=message):
        guard.move(START + 0.1, 1.0)
    assert (arm.moves, arm.holds) == (0, 1)
    arm.reading = ArmReading(START, 1.0)
    with pytest.raises(ArmFault, match=r"Call reset\(\) before move\(\)"):
        guard.move(START, 1.0)
    guard.reset(START, 1.0)
    guard.move(START, 1.0)
    assert arm.moves == 1


def test_a_reading_within_the_limits_passes() -> None:
    reading = ArmReading(START, 1.0, 0.1, 0.5, LIMITS.effort_limit_ma)
    assert check_reading(reading, LIMITS) is reading


def test_an_image_of_another_size_is_refused() -> None:
    guard, arm = guarded()
    arm.image_size = (10, 10)
    arm.frame = np.zeros((10, 12, 3), np.uint8)
    with pytest.raises(CameraError, match=r"\(10, 10, 3\), got uint8 \(10, 12, 3\)"):
        guard.camera()


def test_torque_goes_off_in_the_sleep_pose_only() -> None:
    check_torque_off_is_safe(SLEEP_JOINTS + 0.1, SLEEP_JOINTS)
    with pytest.raises(MotionRefused, match="would fall"):
        check_torque_off_is_safe(START, SLEEP_JOINTS)
    with pytest.raises(MotionRefused, match="would fall"):
        check_torque_off_is_safe(np.full(6, np.nan), SLEEP_JOINTS)


def test_near_is_about_every_joint() -> None:
    assert near(START + 0.04, START, 0.05)
    assert not near(START + np.array([0, 0, 0, 0, 0, 0.06]), START, 0.05)
