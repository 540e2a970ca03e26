"""Nothing unsafe passes."""

import mujoco
import numpy as np
import pytest

from robots.conventions import FINGER_OPEN_M, JOINT_UPPER, rotation_from_euler
from robots.errors import InvalidAction, UnreachablePose
from robots.kinematics import ARM_XML
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
    np.testing.assert_array_equal(position[:2], [0.45, -0.25])
    np.testing.assert_array_equal(euler, [0.5, -0.5, 1.57])
    position, _ = clamp_pose(np.array([0.3, 0.0, -9.0]), np.zeros(3), LIMITS)
    np.testing.assert_array_equal(position, [0.3, 0.0, 0.022])


@pytest.mark.parametrize("roll", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("pitch", [-0.5, 0.0, 0.5])
def test_allowed_targets_keep_the_open_fingers_above_the_table(roll: float, pitch: float) -> None:
    position, euler = clamp_pose(np.array([0.3, 0.0, -9.0]), np.array([roll, pitch, 0.4]), LIMITS)
    lowest = lowest_part_of_the_gripper(position, rotation_from_euler(euler))
    assert -1e-9 <= lowest < 0.01


def test_an_impossible_box_is_refused() -> None:
    with pytest.raises(UnreachablePose, match="box_low must be below box_high"):
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


def lowest_part_of_the_gripper(position: np.ndarray, rotation: np.ndarray) -> float:
    """Height [m] of the lowest corner of the gripper's boxes in the compiled model, with open fingers."""
    model = mujoco.MjModel.from_xml_path(str(ARM_XML))
    data = mujoco.MjData(model)
    data.qpos[6:8] = FINGER_OPEN_M, -FINGER_OPEN_M
    mujoco.mj_forward(model, data)
    site = model.site("ee").id
    to_ee = data.site_xmat[site].reshape(3, 3)
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    lowest = np.inf
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        if "finger" in body or body == "gripper_link":
            corners = model.geom_aabb[geom][:3] + signs * model.geom_aabb[geom][3:]
            world = data.geom_xpos[geom] + corners @ data.geom_xmat[geom].reshape(3, 3).T
            local = (world - data.site_xpos[site]) @ to_ee
            lowest = min(lowest, float((position + local @ rotation.T)[:, 2].min()))
    return lowest
