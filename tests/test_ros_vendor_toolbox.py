"""The vendor's own Python toolbox moves our simulated driver: their code judges it, arm and gripper, and our part by its names.

Runs where `ROBOREWARD_VENDOR_TOOLBOX` names a checkout of github.com/Interbotix/interbotix_ros_toolboxes (branch `jazzy`) and
`modern_robotics` is installed. Nothing of it is kept here.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ros_driver import PATIENCE_S, ROOT, need_ros, running_driver

need_ros()
CHECKOUT = os.environ.get("ROBOREWARD_VENDOR_TOOLBOX", "")
pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.skipif(
        not CHECKOUT, reason="ROBOREWARD_VENDOR_TOOLBOX names no checkout of the toolbox"
    ),
]

MODULES = (
    "interbotix_xs_toolbox/interbotix_xs_modules",
    "interbotix_common_toolbox/interbotix_common_modules",
)
SCRIPT = """
import json, time
from interbotix_common_modules.common_robot.robot import robot_shutdown, robot_startup
from interbotix_xs_modules.xs_robot.arm import InterbotixManipulatorXS

bot = InterbotixManipulatorXS("MODEL", "arm", "gripper", moving_time=1.0, accel_time=0.3)
robot_startup()
seen = {}

def finger(reached):
    # Until the finger is there: on a machine that is too slow the simulation stands still now and then. Where it is [m].
    deadline = time.monotonic() + 60
    while not reached(now := bot.gripper.get_finger_position()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return now

def rest():
    # Until nothing moves any more, however slow the machine is; the joints.
    still, before = 0, None
    while still < 10:
        time.sleep(0.2)
        now = [*bot.arm.get_joint_positions(), bot.gripper.get_gripper_position()]
        moved = before is None or max(abs(a - b) for a, b in zip(now, before)) > 2e-3
        still, before = 0 if moved else still + 1, now
    return before[:-1]

bot.arm.go_to_home_pose(moving_time=2.0)
seen["home"] = rest()
_, seen["found"] = bot.arm.set_ee_pose_components(x=0.3, z=0.2)
rest()
seen["pose"] = bot.arm.get_ee_pose()[:3, 3].tolist()
bot.gripper.grasp(1.0)
seen["closed"] = finger(lambda at: at < 0.018)
bot.gripper.release(1.0)
seen["open"] = finger(lambda at: at > 0.034)
before = bot.arm.get_ee_pose()[:3, 3]
seen["line"] = bool(bot.arm.set_ee_cartesian_trajectory(z=-0.06, moving_time=0.9))
rest()
seen["moved"] = (bot.arm.get_ee_pose()[:3, 3] - before).tolist()
bot.arm.go_to_sleep_pose(moving_time=2.0)
seen["sleep"] = rest()
seen["registers"] = list(bot.core.robot_get_motor_registers("group", "arm", "Profile_Velocity"))
print("SEEN", json.dumps(seen), flush=True)
robot_shutdown()
"""


STAND_IN = """
import numpy as np
from scipy.spatial.transform import Rotation

def euler_matrix(roll, pitch, yaw, axes="sxyz"):
    matrix = np.identity(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
    return matrix

def euler_from_matrix(matrix, axes="sxyz"):
    return tuple(Rotation.from_matrix(np.asarray(matrix)[:3, :3]).as_euler("xyz"))

def quaternion_from_euler(roll, pitch, yaw, axes="sxyz"):
    return Rotation.from_euler("xyz", [roll, pitch, yaw]).as_quat()
"""
"""Of a package of ROS that has no wheel, and that the toolbox uses for Euler angles."""


@pytest.mark.skipif(
    importlib.util.find_spec("modern_robotics") is None,
    reason="the vendor's toolbox needs modern_robotics (pip install modern-robotics)",
)
@pytest.mark.parametrize("model", ["wx250s", "wx250"])
def test_the_vendors_toolbox_moves_arm_and_gripper(tmp_path: Path, model: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("MODEL", model))
    if importlib.util.find_spec("tf_transformations") is None:
        (tmp_path / "tf_transformations.py").write_text(STAND_IN)
    folders = [str(Path(CHECKOUT).expanduser() / module) for module in MODULES]
    path = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    # By the wall's clock: the vendor's code knows no other.
    with running_driver("--camera-hz", "0", "--model", model, simulated_clock=False):
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SEEN")]
    assert lines, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads(lines[0].removeprefix("SEEN"))
    joints = 6 if model == "wx250s" else 5
    sleep = [0.0, -1.8, 1.55, 0.0, 0.8, 0.0]
    if joints == 5:
        del sleep[3]
    assert seen["home"] == pytest.approx([0.0] * joints, abs=0.08)
    assert seen["found"]
    assert seen["pose"] == pytest.approx([0.3, 0.0, 0.2], abs=0.02)
    assert seen["closed"] < 0.018
    assert seen["open"] > 0.034
    assert seen["line"]
    assert seen["moved"] == pytest.approx([0.0, 0.0, -0.06], abs=0.015)
    assert seen["sleep"] == pytest.approx(sleep, abs=0.08)
    assert seen["registers"] == [2000] * joints


NAMES = {
    "interbotix_xs_toolbox/interbotix_xs_modules/interbotix_xs_modules/xs_robot/arm.py": "arm.py robot.py",
    "interbotix_xs_toolbox/interbotix_xs_modules/interbotix_xs_modules/xs_robot/gripper.py": "gripper.py",
    "interbotix_xs_toolbox/interbotix_xs_modules/interbotix_xs_modules/xs_robot/core.py": "core.py",
    "interbotix_common_toolbox/interbotix_common_modules/interbotix_common_modules/common_robot/robot.py": "core.py robot.py",
}
"""Files of theirs, and those of `robots/ros/toolbox` that have the same names."""
LEFT_OUT = {
    "InterbotixGripperXS": "a gripper without an arm",
    "InterbotixGripperXSInterface.gripper_state": "what their timer calls",
    "InterbotixRobotNode.wait_until_future_complete": "ours is spun by a thread of its own",
}


def public_names(path: Path) -> dict[str, list[tuple[str, object]]]:
    """Arguments of each public function and method of a file, and of each constructor, with their plain defaults."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, ast.FunctionDef):
                name = f"{prefix}{member.name}"
                if name.endswith("__init__") or not member.name.startswith("_"):
                    found[name] = arguments(member.args)
    return found


def arguments(signature: ast.arguments) -> list[tuple[str, object]]:
    """Names, and defaults that are a number, a string or None."""
    names = [argument.arg for argument in signature.args]
    defaults: list[ast.expr | None] = [None] * (len(names) - len(signature.defaults))
    return [
        (name, default.value if isinstance(default, ast.Constant) else "not plain")
        for name, default in zip(names, [*defaults, *signature.defaults], strict=True)
    ]


def differ(theirs: list[tuple[str, object]], ours: list[tuple[str, object]]) -> bool:
    """Whether names are others, or plain defaults of both."""
    if [name for name, _ in ours[: len(theirs)]] != [name for name, _ in theirs]:
        return True
    both = [
        (a, b) for (_, a), (_, b) in zip(theirs, ours, strict=False) if "not plain" not in (a, b)
    ]
    return any(a != b for a, b in both)


@pytest.mark.parametrize("theirs", NAMES)
def test_our_part_of_the_toolbox_has_the_vendors_names_and_arguments(theirs: str) -> None:
    toolbox = ROOT / "robots" / "ros" / "toolbox"
    ours: dict[str, list[tuple[str, object]]] = {}
    for name in NAMES[theirs].split():
        ours |= public_names(toolbox / name)
    wanted = public_names(Path(CHECKOUT).expanduser() / theirs)
    left_out = {
        name for name in wanted if name in LEFT_OUT or name.partition(".")[0] in LEFT_OUT
    } | {"InterbotixRobotNode.__init__"}
    compared = wanted.keys() - left_out
    assert compared
    different = {
        name: (wanted[name], ours.get(name))
        for name in compared
        if differ(wanted[name], ours.get(name, []))
    }
    assert different == {}
