"""The toolbox's API moves the simulated arm over ROS, and never waits for ever."""

import inspect
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.ros_driver import PATIENCE_S, ROOT, DriverProcess, need_ros, running_driver, until

need_ros()
pytestmark = [pytest.mark.ros, pytest.mark.slow]

import rclpy  # noqa: E402
from rclpy.node import Node  # noqa: E402

from robots.errors import ArmUnavailable, MotionRefused  # noqa: E402
from robots.ros.simulator.time import SimulatedTime  # noqa: E402
from robots.ros.toolbox.core import InterbotixRobotXSCore  # noqa: E402
from robots.ros.toolbox.gripper import pwm_from_pressure  # noqa: E402
from robots.ros.toolbox.robot import (  # noqa: E402
    InterbotixManipulatorXS,
    robot_shutdown,
    robot_startup,
)
from robots.xs.interface import HOME_JOINTS, SLEEP_JOINTS  # noqa: E402

QUICK = {"moving_time": 1.0, "accel_time": 0.3}
ARRIVED_RAD = 0.08
"""A servo lags behind its profile."""


@pytest.fixture(scope="module")
def driver() -> Iterator[DriverProcess]:
    with running_driver("--camera-hz", "0") as driver:
        yield driver


@pytest.fixture(scope="module")
def bot(driver: DriverProcess) -> Iterator[InterbotixManipulatorXS]:
    rclpy.init()
    node, clock = Node("toolbox"), SimulatedTime()
    clock.attach(node)
    bot = InterbotixManipulatorXS("wx250s", node=node, timeout_s=PATIENCE_S, **QUICK)
    yield bot
    bot.shutdown()
    clock.detach()
    node.destroy_node()
    rclpy.try_shutdown()


def settled(bot: InterbotixManipulatorXS) -> np.ndarray:
    """Joints after the lag of the servos `(6,)` [rad]."""
    bot.core.sleep(0.5)
    return np.array(bot.arm.get_joint_positions())


def test_the_constructor_moves_nothing(bot: InterbotixManipulatorXS) -> None:
    assert np.abs(settled(bot) - SLEEP_JOINTS).max() < 0.06
    registers = bot.core.robot_get_motor_registers("group", "arm", "Profile_Velocity")
    assert list(registers) == [2000] * 6  # it has not written one either


def test_it_goes_home_and_to_sleep(bot: InterbotixManipulatorXS) -> None:
    robot_startup()
    assert bot.arm.go_to_home_pose()
    assert np.abs(settled(bot) - HOME_JOINTS).max() < ARRIVED_RAD
    assert bot.arm.get_ee_pose()[:3, 3] == pytest.approx([0.458, 0.0, 0.361], abs=0.02)
    assert bot.arm.go_to_sleep_pose()
    assert np.abs(settled(bot) - SLEEP_JOINTS).max() < ARRIVED_RAD


def test_the_profile_is_written_with_the_first_move(bot: InterbotixManipulatorXS) -> None:
    assert bot.arm.set_joint_positions(bot.arm.get_joint_commands(), blocking=False)
    registers = bot.core.robot_get_motor_registers("group", "arm", "Profile_Velocity")
    assert list(registers) == [1000] * 6


def test_a_pose_in_components_is_reached(bot: InterbotixManipulatorXS) -> None:
    bot.arm.go_to_home_pose(moving_time=1.5)
    joints, found = bot.arm.set_ee_pose_components(x=0.3, y=0.1, z=0.2, pitch=1.2)
    assert found
    assert np.abs(settled(bot) - joints).max() < ARRIVED_RAD
    assert bot.arm.get_ee_pose_command()[:3, 3] == pytest.approx([0.3, 0.1, 0.2], abs=0.004)


def test_without_execute_nothing_moves(bot: InterbotixManipulatorXS) -> None:
    before = bot.arm.get_joint_commands()
    joints, found = bot.arm.set_ee_pose_components(x=0.25, z=0.25, pitch=1.0, execute=False)
    assert found
    assert bot.arm.get_joint_commands() == before
    assert joints != before


@pytest.mark.parametrize("pose", [{"x": 2.0, "z": 0.2}, {"x": 0.0, "y": 0.0, "z": -0.5}])
def test_a_pose_out_of_reach_is_refused(
    bot: InterbotixManipulatorXS, pose: dict[str, float]
) -> None:
    before = bot.arm.get_joint_commands()
    joints, found = bot.arm.set_ee_pose_components(**pose)
    assert not found
    assert joints == before == bot.arm.get_joint_commands()


def test_joints_out_of_their_limits_and_moves_too_fast_are_refused(
    bot: InterbotixManipulatorXS,
) -> None:
    before = bot.arm.get_joint_commands()
    assert not bot.arm.set_single_joint_position("shoulder", 2.5)
    assert not bot.arm.set_joint_positions([0.0] * 5)
    assert not bot.arm.set_joint_positions([float("nan")] * 6)
    assert not bot.arm.set_single_joint_position("waist", before[0] + 1.0, moving_time=0.2)
    assert bot.arm.get_joint_commands() == before


def test_a_straight_line_is_straight(bot: InterbotixManipulatorXS) -> None:
    bot.arm.set_ee_pose_components(x=0.28, z=0.22, pitch=1.2, moving_time=1.5)
    before = bot.arm.get_ee_pose_command()
    assert bot.arm.set_ee_cartesian_trajectory(x=0.06, z=-0.04)
    after = bot.arm.get_ee_pose_command()
    assert after[:3, 3] - before[:3, 3] == pytest.approx([0.06, 0.0, -0.04], abs=0.004)
    assert after[:3, :3] == pytest.approx(before[:3, :3], abs=0.02)
    assert not bot.arm.set_ee_cartesian_trajectory(x=0.6)
    assert bot.arm.get_ee_pose_command() == pytest.approx(after)


def test_the_gripper_closes_and_opens(bot: InterbotixManipulatorXS) -> None:
    bot.gripper.set_pressure(1.0)
    bot.gripper.grasp(delay=1.5)
    closed = bot.gripper.get_finger_position()
    bot.gripper.release(delay=1.5)
    assert closed < 0.018
    assert bot.gripper.get_finger_position() > 0.034


def test_at_its_stop_the_gripper_pushes_no_more(bot: InterbotixManipulatorXS) -> None:
    bot.gripper.set_pressure(1.0)
    bot.gripper.release(delay=1.5)
    until(lambda: not bot.gripper.gripper_moving, "rest of the gripper")


@pytest.mark.parametrize("move", [{"z": -0.2}, {"x": -0.2}, {"z": 0.2}, {"x": 0.2}])
def test_lines_of_twenty_centimetres_are_driven(
    bot: InterbotixManipulatorXS, move: dict[str, float]
) -> None:
    """As in the vendor's demos, which go from one to the next in this order from the home pose."""
    if move == {"z": -0.2}:
        bot.arm.go_to_home_pose(moving_time=2.0)
    before = bot.arm.get_ee_pose_command()[:3, 3]
    assert bot.arm.set_ee_cartesian_trajectory(**move, moving_time=2.0)
    after = bot.arm.get_ee_pose_command()[:3, 3]
    expected = [move.get(axis, 0.0) for axis in "xyz"]
    assert after - before == pytest.approx(expected, abs=0.005)


def test_a_trajectory_is_played(bot: InterbotixManipulatorXS) -> None:
    bot.arm.go_to_home_pose(moving_time=2.0)
    start = settled(bot)
    there = start + np.array([0.3, 0, 0, 0, 0, 0])
    # Across a whole second, where the driver's own player stops for seconds.
    points = [
        {0.0: start.tolist()},
        {0.9: start.tolist()},
        {1.1: start.tolist()},
        {1.3: there.tolist()},
    ]
    bot.core.robot_write_trajectory("group", "arm", "position", points)
    elsewhere = [{0.0: start.tolist()}, {0.1: (2 * start - there).tolist()}]
    bot.core.robot_write_trajectory("group", "arm", "position", elsewhere)  # refused: one is played
    bot.core.sleep(2.3)
    assert settled(bot)[0] - start[0] == pytest.approx(0.3, abs=0.05)
    bot.arm.capture_joint_positions()
    assert len(bot.arm.get_joint_velocities()) == len(bot.arm.get_joint_efforts()) == 6


BEGIN = """
from interbotix_common_modules.common_robot.robot import (
    create_interbotix_global_node, robot_shutdown, robot_startup
)
from interbotix_xs_modules.xs_robot.arm import InterbotixManipulatorXS
bot = InterbotixManipulatorXS(
    robot_model='wx250s', group_name='arm', gripper_name='gripper', moving_time=2.0,
    node=NODE,
)
robot_startup()
print('moved', bot.arm.go_to_home_pose(), flush=True)
bot.get_node().loginfo('at home')
"""


@pytest.mark.parametrize("end", ["robot_shutdown()", ""])
@pytest.mark.parametrize("own_node", [False, True])
def test_a_script_with_the_vendors_module_names_runs_and_ends_without_a_crash(
    driver: DriverProcess, tmp_path: Path, end: str, *, own_node: bool
) -> None:
    script = tmp_path / "script.py"
    node = "create_interbotix_global_node()" if own_node else "None"
    script.write_text(BEGIN.replace("NODE", node) + end)
    done = subprocess.run(
        [sys.executable, "-m", "robots.ros.toolbox.run", str(script)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert "moved True" in done.stdout
    assert done.returncode == 0, done.stderr


def test_a_mode_that_is_not_position_is_refused(bot: InterbotixManipulatorXS) -> None:
    bot.core.robot_set_operating_modes("group", "arm", "velocity", "velocity")
    other = bot.arm.__class__(bot.core, "wx250s", moving_time=1.0)
    with pytest.raises(MotionRefused, match="position mode"):
        other.go_to_sleep_pose(moving_time=3.0)
    bot.core.robot_set_operating_modes("group", "arm", "position", "time", 1000, 300)
    bot.arm.capture_joint_positions()


@pytest.mark.parametrize(("pressure", "pwm"), [(0.0, 150), (0.5, 250), (1.0, 350), (7.0, 350)])
def test_pressure_maps_to_the_vendors_pwm(pressure: float, pwm: float) -> None:
    assert pwm_from_pressure(pressure) == pwm


@pytest.mark.parametrize(
    ("method", "argument", "default"),
    [
        ("robot_set_motor_pid_gains", "kp_vel", 100),  # 0 would switch the velocity loop off
        ("robot_set_motor_pid_gains", "ki_vel", 1920),
        # By time, 131 would be a move within 131 ms.
        ("robot_set_operating_modes", "profile_type", "velocity"),
    ],
)
def test_what_is_not_given_is_the_vendors(method: str, argument: str, default: object) -> None:
    signature = inspect.signature(getattr(InterbotixRobotXSCore, method))
    assert signature.parameters[argument].default == default


def test_another_arm_is_refused() -> None:
    with pytest.raises(ArmUnavailable, match="'vx300s' is not supported"):
        InterbotixManipulatorXS("vx300s")


def test_a_driver_of_another_arm_is_refused(driver: DriverProcess) -> None:
    with pytest.raises(ArmUnavailable, match="is not a wx250:"):
        InterbotixManipulatorXS("wx250", robot_name="wx250s", timeout_s=PATIENCE_S)


def test_one_node_serves_one_robot(bot: InterbotixManipulatorXS) -> None:
    with pytest.raises(ArmUnavailable, match="Leave `node` out"):
        InterbotixManipulatorXS("wx250s", node=bot.get_node())


def test_without_a_driver_the_constructor_gives_up() -> None:
    began = time.monotonic()
    with pytest.raises(ArmUnavailable, match="joint_states"):
        InterbotixManipulatorXS("wx250s", robot_name="nobody", timeout_s=0.5)
    assert time.monotonic() - began < PATIENCE_S


def test_when_the_driver_dies_calls_say_so(
    driver: DriverProcess, bot: InterbotixManipulatorXS
) -> None:
    driver.process.kill()  # the last test that needs it
    driver.wait()
    bot.core.client.timeout_s = 1.0
    with pytest.raises(ArmUnavailable, match="driver"):
        bot.core.robot_torque_enable("group", "arm", enable=True)
    until(lambda: bot.core.client.newest is None, "silence")
    with pytest.raises(ArmUnavailable, match="joint states"):
        bot.arm.get_ee_pose()
    with pytest.raises(ArmUnavailable, match="/clock"):
        bot.core.sleep(10.0)
    bot.shutdown()
    bot.shutdown()


def test_the_toolbox_shutdown_ends_ros() -> None:
    rclpy.try_shutdown()
    rclpy.init()
    robot_shutdown()
    assert not rclpy.ok()
