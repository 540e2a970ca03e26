"""The built messages are what our text says, and a second build does nothing."""

import subprocess
import sys

import pytest

from robots.ros import build
from robots.ros.definitions import MESSAGES, PACKAGES, definitions
from tests.ros_driver import ROOT, need_ros

need_ros()
pytestmark = pytest.mark.ros


def built(package: str) -> dict[str, dict[str, str]]:
    """Fields and types of each part that Python sees, by `msg/Name` or `srv/Name.Request`."""
    found = {}
    for name in definitions(MESSAGES / package):
        kind, _, short = name.partition("/")
        module = __import__(f"{package}.{kind}", fromlist=[short])
        thing = getattr(module, short)
        parts = (
            {"": thing}
            if kind == "msg"
            else {".Request": thing.Request, ".Response": thing.Response}
        )
        for suffix, part in parts.items():
            found[name + suffix] = dict(part.get_fields_and_field_types())
    return found


def spelled(kind: str) -> str:
    """A type as the generated Python spells it."""
    bare = kind.removesuffix("[]")
    spelling = {"float32": "float", "float64": "double", "bool": "boolean"}.get(bare, bare)
    return f"sequence<{spelling}>" if kind.endswith("[]") else spelling


@pytest.mark.parametrize("package", PACKAGES)
def test_python_sees_the_fields_of_the_text_in_order(package: str) -> None:
    for name, parts in definitions(MESSAGES / package).items():
        suffixes = [""] if name.startswith("msg") else [".Request", ".Response"]
        for suffix, fields in zip(suffixes, parts, strict=True):
            wanted = [(field.name, spelled(field.type)) for field in fields]
            assert list(built(package)[name + suffix].items()) == wanted


def test_a_message_survives_the_wire() -> None:
    from interbotix_xs_msgs.msg import JointGroupCommand
    from rclpy.serialization import deserialize_message, serialize_message

    sent = JointGroupCommand(name="arm", cmd=[0.5, -1.25])
    got = deserialize_message(serialize_message(sent), JointGroupCommand)
    assert (got.name, list(got.cmd)) == ("arm", [0.5, -1.25])


def test_every_package_is_found_as_it_is() -> None:
    assert all(build.up_to_date(package) for package in PACKAGES)


def test_a_second_build_does_nothing() -> None:
    command = [sys.executable, "-m", "robots.ros.build"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("already in") == len(PACKAGES)
    assert "built" not in result.stdout
