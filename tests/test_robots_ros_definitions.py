"""Our message definitions are the vendor's, field by field; the text is read without ROS."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from robots.ros.definitions import (
    MESSAGES,
    PACKAGES,
    Field,
    InvalidDefinition,
    definitions,
    differences,
    parse_definition,
    parse_fields,
)

WHO = (("string", "cmd_type"), ("string", "name"))
VENDOR = {
    "msg/JointGroupCommand": ((("string", "name"), ("float32[]", "cmd")),),
    "msg/JointSingleCommand": ((("string", "name"), ("float32", "cmd")),),
    "msg/JointTemps": ((("string[]", "names"), ("int32[]", "temps")),),
    "msg/JointTrajectoryCommand": ((*WHO, ("trajectory_msgs/JointTrajectory", "traj")),),
    "srv/MotorGains": (
        (
            *WHO,
            *(
                ("int32", name)
                for name in ("kp_pos", "ki_pos", "kd_pos", "k1", "k2", "kp_vel", "ki_vel")
            ),
        ),
        (),
    ),
    "srv/OperatingModes": (
        (
            *WHO,
            ("string", "mode"),
            ("string", "profile_type"),
            ("int32", "profile_velocity"),
            ("int32", "profile_acceleration"),
        ),
        (),
    ),
    "srv/Reboot": ((*WHO, ("bool", "enable"), ("bool", "smart_reboot")), ()),
    "srv/RegisterValues": (
        (*WHO, ("string", "reg"), ("int32", "value")),
        (("int32[]", "values"),),
    ),
    "srv/RobotInfo": (
        WHO,
        (
            ("string", "mode"),
            ("string", "profile_type"),
            ("string[]", "joint_names"),
            ("int16[]", "joint_ids"),
            ("float32[]", "joint_lower_limits"),
            ("float32[]", "joint_upper_limits"),
            ("float32[]", "joint_velocity_limits"),
            ("float32[]", "joint_sleep_positions"),
            ("int16[]", "joint_state_indices"),
            ("int16", "num_joints"),
            ("string[]", "name"),
        ),
    ),
    "srv/TorqueEnable": ((*WHO, ("bool", "enable")), ()),
}
"""Types and names in the vendor's order; another order is another type on the wire."""


def test_the_definitions_are_the_vendors() -> None:
    found = {
        name: tuple(tuple((field.type, field.name) for field in part) for part in parts)
        for name, parts in definitions(MESSAGES / "interbotix_xs_msgs").items()
    }
    assert found == VENDOR


def test_a_comment_is_no_field() -> None:
    assert parse_definition("# one\nfloat32 cmd  # [rad]\n\n") == ((Field("float32", "cmd"),),)


def test_a_service_has_two_parts() -> None:
    request, response = parse_definition("bool enable\n---\n")
    assert (len(request), len(response)) == (1, 0)


@pytest.mark.parametrize("text", ["float32", "float32 a b", "float32 1a", "a b\n---\n---\n"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidDefinition):
        parse_definition(text)


def package(root: Path, text: str) -> Path:
    """A package with one message."""
    (root / "msg").mkdir(parents=True)
    (root / "msg" / "Joint.msg").write_text(text)
    return root


def test_the_same_fields_with_other_comments_are_the_same(tmp_path: Path) -> None:
    ours = package(tmp_path / "ours", "string name  # ours\nfloat32 cmd")
    theirs = package(tmp_path / "theirs", "string name\nfloat32 cmd # theirs")
    assert differences(ours, theirs) == []


@pytest.mark.parametrize("text", ["float32 cmd\nstring name", "string name\nfloat64 cmd"])
def test_another_order_or_type_is_a_difference(tmp_path: Path, text: str) -> None:
    ours = package(tmp_path / "ours", "string name\nfloat32 cmd")
    theirs = package(tmp_path / "theirs", text)
    assert differences(ours, theirs) == ["msg/Joint has other fields"]


def test_a_message_that_is_not_there_is_a_difference(tmp_path: Path) -> None:
    ours = package(tmp_path / "ours", "string name")
    assert differences(ours, tmp_path / "theirs") == ["msg/Joint is missing"]


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_named_as_its_folder(name: str) -> None:
    manifest = ElementTree.parse(MESSAGES / name / "package.xml").getroot()
    assert manifest.findtext("name") == name
    assert manifest.findtext("member_of_group") == "rosidl_interface_packages"
    assert f"project({name})" in (MESSAGES / name / "CMakeLists.txt").read_text()


def test_constants_are_no_fields() -> None:
    text = "int8 EE_X_INC = 1\nint8 EE_X_DEC=2\nint8 ee_x_cmd\nstring<=10 name\n"
    assert parse_fields(text) == (Field("int8", "ee_x_cmd"), Field("string<=10", "name"))
