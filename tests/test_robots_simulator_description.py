"""`robot_description`: the URDF says what the model says."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from robots.conventions import ARM_JOINTS, FINGER_CLOSED_M, FINGER_OPEN_M, JOINT_LOWER, JOINT_UPPER
from robots.kinematics import Kinematics
from robots.ros.simulator.description import robot_description
from robots.xs.models import MODELS


def numbers(text: str | None) -> np.ndarray:
    return np.array([float(value) for value in (text or "").split()])


def forward(urdf: ET.Element, joints: dict[str, float], end: str) -> np.ndarray:
    """Position `(3,)` [m] of a link, from the text alone."""
    by_child = {joint.find("child").get("link"): joint for joint in urdf.iter("joint")}
    chain = []
    while end in by_child:
        chain.append(by_child[end])
        end = by_child[end].find("parent").get("link")
    pose = np.eye(4)
    for joint in reversed(chain):
        step = np.eye(4)
        step[:3, 3] = numbers(joint.find("origin").get("xyz"))
        if joint.get("type") == "revolute":
            axis = numbers(joint.find("axis").get("xyz"))
            step[:3, :3] = Rotation.from_rotvec(axis * joints[joint.get("name")]).as_matrix()
        pose = pose @ step
    return pose[:3, 3]


def test_its_forward_kinematics_are_ours() -> None:
    urdf = ET.fromstring(robot_description(MODELS["wx250s"], "wx250s"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        joints = rng.uniform(JOINT_LOWER, JOINT_UPPER)
        position = forward(
            urdf, dict(zip(ARM_JOINTS, joints, strict=True)), "wx250s/ee_gripper_link"
        )
        assert position == pytest.approx(Kinematics().forward(joints)[0], abs=1e-5)


def test_its_limits_are_the_conventions() -> None:
    urdf = ET.fromstring(robot_description(MODELS["wx250s"], "left"))
    limits = {joint.get("name"): joint.find("limit") for joint in urdf.iter("joint")}
    for i, name in enumerate(ARM_JOINTS):
        assert float(limits[name].get("lower")) == pytest.approx(JOINT_LOWER[i], abs=1e-4)
        assert float(limits[name].get("upper")) == pytest.approx(JOINT_UPPER[i], abs=1e-4)
        assert float(limits[name].get("velocity")) == pytest.approx(np.pi, abs=1e-4)
    finger = limits["left_finger"]
    assert [float(finger.get(end)) for end in ("lower", "upper")] == [
        FINGER_CLOSED_M,
        FINGER_OPEN_M,
    ]
    assert all(link.get("name").startswith("left/") for link in urdf.iter("link"))


def test_a_joint_that_the_arm_has_not_got_is_fixed() -> None:
    urdf = ET.fromstring(robot_description(MODELS["wx250"], "wx250"))
    kinds = {joint.get("name"): joint.get("type") for joint in urdf.iter("joint")}
    assert kinds["forearm_roll"] == "fixed"
    assert kinds["wrist_angle"] == "revolute"
