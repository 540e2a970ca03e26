"""`robot_description` for the simulated driver: our own model of the arm as URDF, without shapes.

Links, joints and limits only: what a client asks a description for to compute with. Names of links are the vendor's,
below the robot's namespace.
"""

import xml.etree.ElementTree as ET

import mujoco
import numpy as np

from robots.conventions import JOINT_VELOCITY
from robots.kinematics import ARM_XML
from robots.xs.interface import FINGERS
from robots.xs.models import ArmModel

EFFORT_NM = {
    "waist": 10,
    "shoulder": 20,
    "elbow": 15,
    "forearm_roll": 2,
    "wrist_angle": 5,
    "wrist_rotate": 1,
}  # vendor
FINGER_N, FINGER_M_S = 5.0, 1.0  # vendor
EE_LINK = "ee_gripper_link"


def robot_description(model: ArmModel, name: str) -> str:
    """URDF of an arm.

    Args:
        model: Which one; joints that it has not got are fixed.
        name: Namespace, before the name of each link.
    """
    arm = mujoco.MjModel.from_xml_path(str(ARM_XML))
    robot = ET.Element("robot", name=name)
    for body in range(1, arm.nbody):
        _link(robot, f"{name}/{arm.body(body).name}", arm, body)
    for body in range(2, arm.nbody):
        parent, child = arm.body(arm.body_parentid[body]).name, arm.body(body).name
        index = arm.body_jntadr[body]
        joint = arm.joint(index)
        kind = "prismatic" if joint.name in FINGERS else "revolute"
        if joint.name not in model.state_joints:
            kind = "fixed"
        element = _joint(
            robot, joint.name, kind, f"{name}/{parent}", f"{name}/{child}", arm.body_pos[body]
        )
        if kind == "fixed":
            continue
        ET.SubElement(element, "axis", xyz=_text(arm.jnt_axis[index]))
        lower, upper = arm.jnt_range[index]
        finger = joint.name in FINGERS
        ET.SubElement(
            element,
            "limit",
            lower=f"{lower:g}",
            upper=f"{upper:g}",
            effort=f"{FINGER_N if finger else EFFORT_NM[joint.name]:g}",
            velocity=f"{FINGER_M_S if finger else JOINT_VELOCITY:.6g}",
        )
        if joint.name == FINGERS[1]:
            ET.SubElement(element, "mimic", joint=FINGERS[0], multiplier="-1")
    site = arm.site("ee").id
    ET.SubElement(robot, "link", name=f"{name}/{EE_LINK}")
    parent = arm.body(arm.site_bodyid[site]).name
    _joint(
        robot, "ee_gripper", "fixed", f"{name}/{parent}", f"{name}/{EE_LINK}", arm.site_pos[site]
    )
    ET.indent(robot)
    return ET.tostring(robot, encoding="unicode")


def _link(robot: ET.Element, name: str, arm: mujoco.MjModel, body: int) -> None:
    inertial = ET.SubElement(ET.SubElement(robot, "link", name=name), "inertial")
    ET.SubElement(inertial, "origin", xyz=_text(arm.body_ipos[body]))
    ET.SubElement(inertial, "mass", value=f"{arm.body_mass[body]:g}")
    moments = dict(zip(("ixx", "iyy", "izz"), map(str, arm.body_inertia[body]), strict=True))
    ET.SubElement(inertial, "inertia", {**dict.fromkeys(("ixy", "ixz", "iyz"), "0"), **moments})


def _joint(
    robot: ET.Element, name: str, kind: str, parent: str, child: str, position: np.ndarray
) -> ET.Element:
    element = ET.SubElement(robot, "joint", name=name, type=kind)
    ET.SubElement(element, "parent", link=parent)
    ET.SubElement(element, "child", link=child)
    ET.SubElement(element, "origin", xyz=_text(position))
    return element


def _text(vector: np.ndarray) -> str:
    return " ".join(f"{value:g}" for value in vector)
