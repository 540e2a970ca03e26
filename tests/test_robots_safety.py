"""Nothing unsafe passes."""

import numpy as np
import pytest

from robots.conventions import JOINT_UPPER
from robots.errors import InvalidAction, UnreachablePose
from robots.safety import SafetyLimits, check_action, check_pose, clamp_pose, safe_joints

LIMITS = SafetyLimits()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite_are_refused(bad: float) -> None:
    action = np.zeros(7)
    action[3] = bad
    with pytest.raises(InvalidAction, match="finite"):
        check_action(action)


def test_actions_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidAction, match=r"\(7,\).*\(6,\)"):
        check_action(np.zeros(6))


def test_actions_are_clipped_to_the_bounds() -> None:
    np.testing.assert_array_equal(check_action(np.full(7, 3.0)), np.ones(7))


def test_poses_outside_the_box_are_named() -> None:
    with pytest.raises(UnreachablePose, match="between"):
        check_pose(np.array([0.9, 0.0, 0.1]), LIMITS)
    with pytest.raises(UnreachablePose):
        check_pose(np.array([np.nan, 0.0, 0.1]), LIMITS)
    check_pose(np.array([0.25, 0.0, 0.1]), LIMITS)


def test_targets_are_pulled_into_the_box() -> None:
    position, euler = clamp_pose(np.array([9.0, -9.0, -9.0]), np.array([2.0, -2.0, 3.0]), LIMITS)
    np.testing.assert_array_equal(position, [0.45, -0.25, 0.022])
    np.testing.assert_array_equal(euler, [0.5, -0.5, 1.57])


def test_an_impossible_box_is_refused() -> None:
    with pytest.raises(UnreachablePose, match="box_low < box_high"):
        SafetyLimits(box_low=np.ones(3), box_high=np.zeros(3))


def test_no_solution_and_near_limits_hold() -> None:
    now = np.zeros(6)
    assert safe_joints(None, now, LIMITS) is None
    assert safe_joints(np.full(6, np.nan), now, LIMITS) is None
    assert safe_joints(JOINT_UPPER - 0.01, now, LIMITS) is None


def test_joint_steps_keep_the_velocity_limit() -> None:
    target = np.array([1.5, 0.0, 0.0, 0.0, 0.0, -1.5])
    step = safe_joints(target, np.zeros(6), LIMITS)
    assert step is not None
    largest = 0.9 * np.pi / 5.0
    np.testing.assert_allclose(step, [largest, 0, 0, 0, 0, -largest])
