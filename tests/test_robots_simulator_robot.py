"""The simulated robot behaves like the real one where a client has to live with it."""

import numpy as np
import pytest

import robots  # noqa: F401 - registers the environments
from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.catalogue import TASKS, TaskEntry
from robots.conventions import ARM_JOINTS
from robots.environments.simulated import make
from robots.ros.simulator.robot import SimulatedRobot
from robots.xs.interface import OVERLOAD, SLEEP_JOINTS, STATE_JOINTS

ARM = ARM_JOINTS
GRIPPER = ("gripper",)
FAST = ("position", "time", 250, 100)
WAIST = np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
FINGER = STATE_JOINTS.index("left_finger")


@pytest.fixture
def robot() -> SimulatedRobot:
    robot = SimulatedRobot("toy")
    robot.reset(3)
    robot.set_mode(ARM, *FAST)
    return robot


def joints(robot: SimulatedRobot) -> np.ndarray:
    """Arm joints now `(6,)` [rad]."""
    return robot.read().position[:6]


def test_it_starts_in_the_sleep_pose_and_stays() -> None:
    robot = SimulatedRobot("toy")
    robot.advance(1.0)
    assert np.abs(joints(robot) - SLEEP_JOINTS).max() < 0.05


def test_it_reaches_its_goal_and_holds_it_without_commands(robot: SimulatedRobot) -> None:
    goal = joints(robot) + np.array([0.3, 0.1, -0.1, 0.2, -0.2, 0.3])
    robot.command(ARM, list(goal))
    for _ in range(2):
        robot.advance(2.0)
        assert np.abs(joints(robot) - goal).max() < 0.02


def test_the_profile_sets_the_length_of_a_move(robot: SimulatedRobot) -> None:
    start = joints(robot)
    robot.set_mode(ARM, "position", "time", 2000, 300)
    robot.command(ARM, list(start + 0.8 * WAIST))
    robot.advance(1.0)
    assert 0.2 < joints(robot)[0] - start[0] < 0.5
    robot.advance(2.0)
    assert joints(robot)[0] - start[0] == pytest.approx(0.8, abs=0.02)


def test_no_joint_moves_faster_than_the_servo(robot: SimulatedRobot) -> None:
    robot.set_mode(ARM, "position", "time", 100, 20)
    robot.command(ARM, [2.5, *joints(robot)[1:]])
    robot.advance(0.3)
    assert joints(robot)[0] < 0.3 * np.pi + 0.1


def test_a_goal_beyond_the_position_register_is_refused_joint_by_joint(
    robot: SimulatedRobot,
) -> None:
    before = joints(robot)
    robot.command(ARM, [before[0] + 0.2, 3.0, *before[2:]])
    robot.advance(1.0)
    assert joints(robot)[:2] == pytest.approx([before[0] + 0.2, before[1]], abs=0.02)


def test_nan_moves_nothing(robot: SimulatedRobot) -> None:
    before = joints(robot)
    robot.command(ARM, [float("nan")] * 6)
    robot.command(GRIPPER, [float("nan")])
    robot.advance(0.5)
    assert joints(robot) == pytest.approx(before, abs=0.01)


def test_a_command_of_the_wrong_size_is_dropped(robot: SimulatedRobot) -> None:
    with pytest.raises(InvalidSetting, match="6 commands"):
        robot.command(ARM, [0.0] * 5)


def test_without_torque_the_arm_falls(robot: SimulatedRobot) -> None:
    height = robot.arm.data.site("ee").xpos[2]
    robot.set_torque(ARM, enable=False)
    robot.advance(1.0)
    assert robot.arm.data.site("ee").xpos[2] < height - 0.1


def test_torque_on_holds_where_the_arm_is(robot: SimulatedRobot) -> None:
    robot.set_torque(ARM, enable=False)
    robot.advance(0.2)
    robot.set_torque(ARM, enable=True)
    before = joints(robot)
    robot.advance(1.0)
    assert joints(robot) == pytest.approx(before, abs=0.15)  # it was falling


def test_a_servo_in_error_falls_until_it_is_rebooted(robot: SimulatedRobot) -> None:
    robot.fail("shoulder", OVERLOAD)
    assert robot.registers(ARM, "Hardware_Error_Status") == [0, OVERLOAD, 0, 0, 0, 0]
    assert robot.registers(("shoulder",), "Torque_Enable") == [0]
    before = joints(robot)
    robot.set_torque(("shoulder",), enable=True)
    robot.advance(0.5)
    assert joints(robot)[1] > before[1] + 0.1
    robot.set_torque(robot.reboot(ARM, only_failed=True), enable=True)
    assert robot.registers(("shoulder",), "Hardware_Error_Status") == [0]
    assert robot.registers(("shoulder",), "Torque_Enable") == [1]


def test_a_reboot_forgets_the_profile_of_the_failed_servo_only(robot: SimulatedRobot) -> None:
    robot.fail("elbow", OVERLOAD)
    robot.set_torque(robot.reboot(ARM, only_failed=True), enable=True)
    assert robot.registers(ARM, "Profile_Velocity") == [250, 250, 0, 250, 250, 250]


@pytest.mark.parametrize(("pwm", "end"), [(250.0, 0.037), (-250.0, 0.015)])
def test_pwm_drives_the_gripper_to_its_stop(robot: SimulatedRobot, pwm: float, end: float) -> None:
    robot.command(GRIPPER, [-pwm])
    robot.advance(2.0)
    robot.command(GRIPPER, [pwm])
    robot.advance(0.3)
    assert abs(robot.read().position[FINGER] - end) > 0.005  # it takes a while
    robot.advance(1.5)
    assert robot.read().position[FINGER] == pytest.approx(end, abs=1.5e-3)


def test_without_pwm_the_fingers_stay(robot: SimulatedRobot) -> None:
    robot.command(GRIPPER, [-250.0])
    robot.advance(0.4)
    robot.command(GRIPPER, [0.0])
    robot.advance(0.2)
    before = robot.read().position[FINGER]
    robot.advance(0.5)
    assert robot.read().position[FINGER] == pytest.approx(before, abs=5e-4)


def test_linear_position_takes_the_whole_gap(robot: SimulatedRobot) -> None:
    robot.set_mode(GRIPPER, "linear_position", "time", 0, 0)
    robot.command(GRIPPER, [0.05])
    robot.advance(1.5)
    assert robot.read().position[FINGER] == pytest.approx(0.025, abs=1e-3)


def test_the_fingers_follow_from_the_gripper_and_have_no_speed(robot: SimulatedRobot) -> None:
    robot.command(GRIPPER, [-250.0])
    robot.advance(0.3)
    reading = robot.read()
    assert reading.position[7] == -reading.position[8]
    assert reading.velocity[6] < 0.0
    assert not reading.velocity[7:].any()
    assert not reading.effort[7:].any()


def test_pushing_against_a_stop_draws_current_and_holding_the_arm_does_too(
    robot: SimulatedRobot,
) -> None:
    robot.command(GRIPPER, [350.0])
    robot.advance(1.0)
    effort = robot.read().effort
    assert 400.0 < effort[6] < 1200.0
    assert 100.0 < abs(effort[1]) < 1000.0


def test_velocity_mode_moves_until_another_command(robot: SimulatedRobot) -> None:
    robot.set_mode(ARM, "velocity", "velocity", 0, 0)
    before = joints(robot)
    robot.command(ARM, [0.4, 0, 0, 0, 0, 0])
    robot.advance(1.0)
    assert joints(robot)[0] - before[0] == pytest.approx(0.4, abs=0.1)


def test_an_arm_in_pwm_mode_bears_its_own_weight_no_more(robot: SimulatedRobot) -> None:
    robot.set_mode(ARM, "pwm", "time", 0, 0)
    height = robot.arm.data.site("ee").xpos[2]
    robot.advance(1.0)
    assert robot.arm.data.site("ee").xpos[2] < height - 0.05


def ns(time_s: float) -> int:
    return round(time_s * 1e9)


def test_a_trajectory_is_played_and_a_second_one_refused(robot: SimulatedRobot) -> None:
    start = joints(robot)
    path = [(ns(t), list(start + t * 0.4 * WAIST)) for t in (0.0, 0.25, 0.5, 0.75)]
    robot.follow(ARM, path)
    with pytest.raises(InvalidSetting, match="running"):
        robot.follow(ARM, path)
    robot.advance(0.7)
    with pytest.raises(InvalidSetting, match="running"):
        robot.follow(ARM, path)
    robot.advance(1.0)
    assert joints(robot)[0] - start[0] == pytest.approx(0.3, abs=0.02)
    with pytest.raises(InvalidSetting, match="at least 2 points"):
        robot.follow(ARM, path[:1])


def test_each_point_is_sent_when_the_one_before_it_is_due(robot: SimulatedRobot) -> None:
    """The vendor's driver begins with the second point at once."""
    start = joints(robot)
    robot.set_mode(ARM, "position", "time", 100, 30)
    goals = [list(start + turn * WAIST) for turn in (0.0, 0.1, 0.2)]
    robot.follow(ARM, [(ns(t), goal) for t, goal in zip((0.0, 0.5, 0.9), goals, strict=True)])
    robot.advance(0.4)
    assert joints(robot)[0] - start[0] == pytest.approx(0.1, abs=0.02)
    robot.advance(0.4)
    assert joints(robot)[0] - start[0] == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("times_s", "wait_s"), [((0.0, 0.9, 1.1), 3.495), ((0.0, 2.0, 4.0), 0.0)])
def test_across_a_whole_second_it_waits_as_the_vendors_driver(
    robot: SimulatedRobot, times_s: tuple[float, ...], wait_s: float
) -> None:
    """It takes the nanoseconds within a second, without a sign: interbotix_ros_manipulators#176."""
    start = joints(robot)
    goals = [list(start + turn * WAIST) for turn in (0.0, 0.1, 0.2)]
    robot.follow(ARM, [(ns(t), goal) for t, goal in zip(times_s, goals, strict=True)])
    first_s = times_s[1] % 1.0
    robot.advance(first_s + 1.0)
    assert joints(robot)[0] - start[0] == pytest.approx(0.2, abs=0.02)
    waits = robot._path_ends - (robot.time - first_s - 1.0) - first_s
    assert waits == pytest.approx(wait_s, abs=0.01)


def test_the_driver_writes_a_profile_for_the_modes_that_have_one(robot: SimulatedRobot) -> None:
    robot.set_mode(GRIPPER, "pwm", "velocity", 77, 88)
    assert robot.registers(GRIPPER, "Profile_Velocity") == [0]
    robot.set_mode(GRIPPER, "velocity", "velocity", 77, 88)
    assert robot.registers(GRIPPER, "Profile_Velocity") == [0]
    assert robot.registers(GRIPPER, "Profile_Acceleration") == [88]


# --- another arm -----------------------------------------------------------------------------------


def test_a_wx250_has_no_roll_of_the_forearm() -> None:
    robot = SimulatedRobot("toy", model="wx250")
    assert robot.model.motors == (
        "waist",
        "shoulder",
        "elbow",
        "wrist_angle",
        "wrist_rotate",
        "gripper",
    )
    assert [robot.model.motor_id(motor) for motor in robot.model.motors] == [1, 2, 4, 6, 7, 8]
    assert len(robot.read().position) == 8
    robot.reset(3)
    assert robot.arm.data.joint("forearm_roll").qpos[0] == pytest.approx(0.0, abs=1e-6)
    robot.command(robot.motors("group", "arm"), [0.4, -0.4, 0.5, 0.9, 0.2])
    robot.advance(3.0)
    assert robot.read().position[:5] == pytest.approx([0.4, -0.4, 0.5, 0.9, 0.2], abs=0.05)
    assert robot.arm.data.joint("forearm_roll").qpos[0] == pytest.approx(0.0, abs=0.02)
    with pytest.raises(UnknownName, match="forearm_roll"):
        robot.motors("single", "forearm_roll")


def test_an_arm_of_other_lengths_is_not_simulated() -> None:
    with pytest.raises(UnknownName, match="wx250s"):
        SimulatedRobot("toy", model="vx300s")


@pytest.mark.parametrize("call", ["motors", "mode", "profile", "register", "scene", "task", "look"])
def test_a_name_that_is_not_known_is_refused(robot: SimulatedRobot, call: str) -> None:
    calls = {
        "motors": lambda: robot.motors("group", "arms"),
        "mode": lambda: robot.set_mode(ARM, "positions", "time", 0, 0),
        "profile": lambda: robot.set_mode(ARM, "position", "times", 0, 0),
        "register": lambda: robot.registers(ARM, "Profile_Velocit"),
        "scene": lambda: SimulatedRobot("toys"),
        "task": lambda: robot.reset(0, "put the duck on the tower"),
        "look": lambda: robot.reset(0, look="testing"),  # ty: ignore[invalid-argument-type]
    }
    with pytest.raises(UnknownName, match="Did you mean"):
        calls[call]()


def test_registers_that_are_written_can_be_read(robot: SimulatedRobot) -> None:
    robot.set_register(ARM, "Profile_Acceleration", 77)
    assert robot.registers(ARM, "Profile_Acceleration") == [77] * 6
    with pytest.raises(InvalidSetting, match="Hardware_Error_Status"):
        robot.set_register(ARM, "Hardware_Error_Status", 0)


def test_a_weaker_gain_bends_under_the_same_push(robot: SimulatedRobot) -> None:
    robot.set_gains(ARM, 80, 0, 0)
    assert robot.registers(ARM, "Position_P_Gain") == [80] * 6
    before = joints(robot)
    robot.command(ARM, [before[0] + 0.3, *before[1:]])
    robot.advance(0.3)
    weak = joints(robot)[0] - before[0]
    assert weak < 0.2


@pytest.mark.parametrize("entry", TASKS, ids=lambda entry: entry.name)
def test_a_reset_is_the_environments_reset(entry: TaskEntry) -> None:
    robot, env = SimulatedRobot(entry.scene), make(entry.name, image=False)
    env.reset(seed=11)
    robot.reset(11, env.task)
    assert np.array_equal(robot.arm.data.qpos, env.arm.data.qpos)
    assert np.array_equal(robot.arm.model.geom_rgba, env.arm.model.geom_rgba)
    assert np.array_equal(robot.arm.model.cam_pos, env.arm.model.cam_pos)


def test_the_truth_is_the_scenes(robot: SimulatedRobot) -> None:
    truth = robot.truth()
    assert (truth.task, truth.level, truth.seed) == ("put the duck on the towel", 1, 3)
    assert truth.askable
    assert "duck stayed on the table" in truth.caption
    robot.advance(0.4)
    assert robot.truth("pick up the block").time_s == pytest.approx(0.4)


def test_the_truth_follows_what_happens() -> None:
    robot = SimulatedRobot("drawer")
    robot.reset(5, "open the left drawer")
    robot.arm.data.joint("left_drawer").qpos[0] = 0.1
    robot.advance(0.2)
    assert robot.truth().level == 4  # open, but not yet for two looks
    robot.advance(0.2)
    assert robot.truth().level == 5


def test_time_that_fills_no_step_is_not_lost(robot: SimulatedRobot) -> None:
    before = robot.time
    for _ in range(100):
        robot.advance(0.01)  # two and a half physics steps
    assert robot.time - before == pytest.approx(1.0, abs=1e-6)
