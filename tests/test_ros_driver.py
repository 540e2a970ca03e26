"""The simulated driver has the vendor's interface, and makes the faults it is asked for."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.ros_driver import PATIENCE_S, DriverProcess, Inbox, need_ros, running_driver, until

need_ros()
pytestmark = [pytest.mark.ros, pytest.mark.slow]

import rclpy  # noqa: E402
from interbotix_xs_msgs.msg import JointTrajectoryCommand  # noqa: E402
from interbotix_xs_msgs.srv import MotorGains  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from roboreward_sim_msgs.srv import GetTruth, ResetScene, SetFault  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from robots.conventions import ARM_JOINTS, JOINT_LOWER, JOINT_UPPER  # noqa: E402
from robots.ros.node import DriverClient  # noqa: E402
from robots.ros.simulator.time import SimulatedTime  # noqa: E402
from robots.xs.interface import (  # noqa: E402
    CAMERA_SIZE,
    CAMERA_TOPIC,
    FAULT_SERVICE,
    OVERLOAD,
    RESET_SERVICE,
    SLEEP_JOINTS,
    STATE_JOINTS,
    TRUTH_SERVICE,
)

BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)


class Client:
    """The toolbox's connection, and the services that only a simulation has."""

    def __init__(self, name: str) -> None:
        if not rclpy.ok():
            rclpy.init()
        node, self.time = Node("client"), SimulatedTime()
        self.time.attach(node)
        self.driver = DriverClient(node, name, timeout_s=PATIENCE_S)
        self.states = Inbox(node, JointState, f"/{name}/joint_states")
        self.images = Inbox(node, Image, CAMERA_TOPIC, BEST_EFFORT)
        self.jpegs = Inbox(node, CompressedImage, f"{CAMERA_TOPIC}/compressed", BEST_EFFORT)
        self.trajectory = node.create_publisher(
            JointTrajectoryCommand, f"/{name}/commands/joint_trajectory", 1
        )
        self._services = {
            service: node.create_client(service, topic)
            for service, topic in (
                (ResetScene, RESET_SERVICE),
                (GetTruth, TRUTH_SERVICE),
                (SetFault, FAULT_SERVICE),
            )
        }

    def close(self) -> None:
        """Leave the network."""
        self.driver.close()
        self.time.detach()
        self.driver.node.destroy_node()
        rclpy.try_shutdown()

    def call(self, service: Any, **request: Any) -> Any:
        """Call a service of the simulation."""
        client = self._services[service]
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        future = client.call_async(service.Request(**request))
        until(future.done, "answer")
        return future.result()

    def fault(self, **fault: Any) -> None:
        """Begin a fault; none ends all."""
        answer = self.call(SetFault, fault=json.dumps(fault))
        assert answer.success, answer.message

    def joints(self) -> np.ndarray:
        """Arm joints `(6,)` [rad] of a message made from now on, not of one that was on its way."""
        now = self.driver.node.get_clock().now().nanoseconds * 1e-9
        self.states.clear()
        until(
            lambda: any(seconds(m.header.stamp) > now + 0.02 for m in self.states.messages()),
            "new joint states",
        )
        return np.array(self.states.messages()[-1].position[:6])


@pytest.fixture(scope="module")
def driver() -> Iterator[DriverProcess]:
    with running_driver("--scene", "toy", "--camera-hz", "5", "--name", "arm1") as driver:
        yield driver


@pytest.fixture(scope="module")
def client(driver: DriverProcess) -> Iterator[Client]:
    client = Client("arm1")
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _start_anew(client: Client) -> None:
    """No fault, torque on, a fast profile, the arm at the start of seed 3."""
    client.fault()
    client.driver.reboot("group", "all", enable=True, smart_reboot=True)
    for register, value in (("Profile_Velocity", 300), ("Profile_Acceleration", 100)):
        client.driver.set_register("group", "arm", register, value)
    assert client.call(ResetScene, seed=3).success


def seconds(stamp: Any) -> float:
    """A stamp [s]."""
    return stamp.sec + stamp.nanosec * 1e-9


def test_joint_states_have_the_vendors_order_rate_and_units(client: Client) -> None:
    messages = client.states.next(20)
    assert list(messages[0].name) == list(STATE_JOINTS)
    stamps = np.array([seconds(m.header.stamp) for m in messages])
    assert np.median(np.diff(stamps)) == pytest.approx(0.01, abs=0.003)
    last = messages[-1]
    assert len(last.position) == len(last.velocity) == len(last.effort) == 9
    assert last.position[7] == -last.position[8]
    assert 100.0 < abs(last.effort[1]) < 1000.0  # [mA], the shoulder bears the arm


def test_robot_info_is_the_vendors(client: Client) -> None:
    info = client.driver.robot_info("group", "arm")
    assert (info.mode, info.profile_type, info.num_joints) == ("position", "time", 6)
    assert tuple(info.joint_names) == ARM_JOINTS
    assert list(info.joint_ids) == [1, 2, 4, 6, 7, 8]
    assert list(info.joint_state_indices) == list(range(6))
    assert list(info.joint_lower_limits) == pytest.approx(JOINT_LOWER, abs=1e-5)
    assert list(info.joint_upper_limits) == pytest.approx(JOINT_UPPER, abs=1e-5)
    assert list(info.joint_sleep_positions) == pytest.approx(SLEEP_JOINTS, abs=1e-5)
    gripper = client.driver.robot_info("single", "gripper")
    # In place of the gripper it names the left finger, as the vendor's driver does.
    assert (gripper.mode, gripper.profile_type) == ("pwm", "velocity")
    assert list(gripper.joint_names) == ["left_finger"]
    assert list(gripper.joint_state_indices) == [7]
    assert list(gripper.joint_sleep_positions) == pytest.approx([0.0195], abs=1e-4)
    everything = client.driver.robot_info("group", "all")
    assert list(everything.joint_names) == [*ARM_JOINTS, "left_finger"]
    assert list(everything.joint_state_indices) == [*range(6), 7]
    assert sorted(everything.name) == ["all", "arm"]


def test_a_group_command_moves_and_is_held(client: Client) -> None:
    goal = client.joints() + np.array([0.2, 0.1, 0.0, 0.0, 0.0, 0.0])
    client.driver.write_group("arm", list(goal))
    for _ in range(2):
        client.driver.sleep(1.0)
        assert client.joints() == pytest.approx(goal, abs=0.03)


def test_a_command_of_the_wrong_size_moves_nothing(client: Client) -> None:
    before = client.joints()
    client.driver.write_group("arm", [0.5] * 5)
    client.driver.write_group("nobody", [0.5] * 6)
    client.driver.sleep(0.5)
    assert client.joints() == pytest.approx(before, abs=0.02)


def test_gripper_pwm_closes_and_opens(client: Client) -> None:
    for pwm, limit in ((-350.0, 0.017), (350.0, 0.035)):
        client.driver.write_single("gripper", pwm)
        client.driver.sleep(1.5)
        finger = client.driver.joint_states.position[STATE_JOINTS.index("left_finger")]
        assert (finger - limit) * pwm > 0.0
    client.driver.write_single("gripper", 0.0)


def test_the_description_is_there_for_whoever_comes_later(client: Client) -> None:
    stays = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    inbox = Inbox(client.driver.node, String, "/arm1/robot_description", stays)
    text = until(inbox.messages, "description")[0].data
    assert "arm1/ee_gripper_link" in text
    assert text.count('type="revolute"') == 6


def test_a_trajectory_is_played(client: Client) -> None:
    start = client.joints()
    message = JointTrajectoryCommand(cmd_type="group", name="arm", traj=JointTrajectory())
    for time_s, turn in ((0.0, 0.0), (0.25, 0.1), (0.75, 0.25)):
        point = JointTrajectoryPoint(positions=[start[0] + turn, *start[1:]])
        point.time_from_start.nanosec = round(time_s * 1e9)
        message.traj.points.append(point)
    until(client.trajectory.get_subscription_count, "driver")
    client.trajectory.publish(message)
    client.driver.sleep(2.5)
    assert client.joints()[0] - start[0] == pytest.approx(0.25, abs=0.03)


def test_a_change_of_mode_drops_the_arm_a_little(client: Client) -> None:
    before = client.joints()
    client.driver.set_mode("group", "arm", "position", "time", 400, 100)
    dropped = client.joints()
    assert 0.001 < np.abs(dropped - before).max() < 0.3
    assert client.driver.registers("group", "arm", "Profile_Velocity") == [400] * 6


def test_torque_off_lets_the_arm_fall(client: Client) -> None:
    before = client.joints()
    client.driver.torque("group", "arm", enable=False)
    client.driver.sleep(0.6)
    assert np.abs(client.joints() - before).max() > 0.15
    client.driver.torque("group", "arm", enable=True)


def test_gains_can_be_set(client: Client) -> None:
    request = MotorGains.Request(cmd_type="single", name="waist", kp_pos=640, ki_pos=10, kd_pos=20)
    client.driver.call("set_motor_pid_gains", request)
    for register, value in (("P", 640), ("I", 10), ("D", 20)):
        answer = client.driver.registers("single", "waist", f"Position_{register}_Gain")
        assert answer == [value]
    request.kp_pos = 800
    client.driver.call("set_motor_pid_gains", request)


def test_what_the_vendor_does_not_know_gets_an_empty_answer(client: Client) -> None:
    assert not client.driver.registers("group", "arm", "Nonsense")
    assert not client.driver.robot_info("group", "legs").joint_names


def test_images_are_of_the_real_cameras_size_and_show_the_scene(client: Client) -> None:
    image = client.images.next()[-1]
    assert (image.height, image.width) == CAMERA_SIZE
    assert (image.encoding, image.step) == ("rgb8", 3 * CAMERA_SIZE[1])
    pixels = np.frombuffer(image.data, np.uint8)
    assert len(pixels) == 3 * math.prod(CAMERA_SIZE)
    assert pixels.std() > 20.0


def test_the_jpeg_is_the_same_picture(client: Client) -> None:
    import cv2

    jpeg = client.jpegs.next()[-1]
    image = client.images.next()[-1]
    assert "jpeg" in jpeg.format
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    raw = np.frombuffer(image.data, np.uint8).reshape(decoded.shape)
    assert np.abs(decoded.astype(float) - raw).mean() < 4.0


def test_a_seed_is_one_scene(client: Client) -> None:
    joints = []
    for seed in (5, 6, 5):
        assert (
            client.call(ResetScene, seed=seed, task="pick up the duck").task == "pick up the duck"
        )
        joints.append(client.joints())
    assert joints[0] == pytest.approx(joints[2], abs=1e-3)
    assert np.abs(joints[0] - joints[1]).max() > 1e-3


def test_the_truth_is_for_evaluation(client: Client) -> None:
    truth = client.call(GetTruth)
    assert truth.success
    assert (truth.task, truth.level, truth.seed) == ("put the duck on the towel", 1, 3)
    assert "duck" in truth.caption
    other = client.call(GetTruth, task="pick up the block")
    assert (other.task, other.askable) == ("pick up the block", True)


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        (ResetScene, {"task": "put the duck on the tower"}),
        (GetTruth, {"task": "open the door"}),
        (SetFault, {"fault": '{"kind": "rain"}'}),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(
    client: Client, service: Any, request_: dict[str, str]
) -> None:
    answer = client.call(service, **request_)
    assert not answer.success
    assert "Known" in answer.message


def test_a_servo_error_is_in_its_register_until_a_reboot(client: Client) -> None:
    before = client.joints()
    client.fault(kind="servo_error", joint="shoulder", bits=OVERLOAD)
    client.driver.sleep(0.5)
    status = client.driver.registers("group", "arm", "Hardware_Error_Status")
    assert status == [0, OVERLOAD, 0, 0, 0, 0]
    assert client.joints()[1] - before[1] > 0.05
    client.fault()
    client.driver.reboot("group", "arm", enable=True, smart_reboot=True)
    status = client.driver.registers("group", "arm", "Hardware_Error_Status")
    assert not any(status)
    # Only the servo in error was restarted: it alone has forgotten its profile.
    profile = client.driver.registers("group", "arm", "Profile_Velocity")
    assert profile == [300, 0, 300, 300, 300, 300]


def test_late_joint_states_carry_old_stamps(client: Client) -> None:
    client.fault(kind="late_joint_states", delay_s=0.4)
    client.driver.sleep(0.6)
    message = client.states.next(3)[-1]
    now = client.driver.node.get_clock().now().nanoseconds * 1e-9
    assert now - seconds(message.header.stamp) > 0.25


def test_joint_states_can_come_in_another_order(client: Client) -> None:
    client.fault(kind="wrong_joint_order")
    client.driver.sleep(0.1)
    message = client.states.next()[-1]
    assert list(message.name) == list(reversed(STATE_JOINTS))
    assert message.position[message.name.index("right_finger")] < 0.0


def test_one_joint_can_be_nan_for_a_while(client: Client) -> None:
    client.states.clear()
    client.fault(kind="nan_joints", joint="elbow", for_s=0.5)

    def elbows() -> list[float]:
        return [message.position[2] for message in client.states.messages()]

    until(lambda: any(map(math.isnan, elbows())) and not math.isnan(elbows()[-1]), "its end")
    wrong = [m for m in client.states.messages() if math.isnan(m.position[2])]
    assert all(map(math.isfinite, (*wrong[0].position[:2], *wrong[0].position[3:])))
    assert seconds(wrong[-1].header.stamp) - seconds(wrong[0].header.stamp) == pytest.approx(
        0.5, abs=0.03
    )


def test_stamps_jump_with_the_clock(client: Client) -> None:
    before = seconds(client.states.next()[-1].header.stamp)
    client.fault(kind="clock_jump", offset_s=1000.0)
    client.driver.sleep(0.1)
    assert seconds(client.states.next()[-1].header.stamp) - before > 900.0


def test_commands_can_be_lost(client: Client) -> None:
    before = client.joints()
    client.fault(kind="lost_messages", stream="commands", probability=1.0)
    client.driver.write_group("arm", list(before + 0.2))
    client.driver.sleep(0.6)
    assert client.joints() == pytest.approx(before, abs=0.02)


@pytest.mark.parametrize("repeat", [False, True])
def test_a_frozen_camera_is_silent_or_repeats_itself(client: Client, *, repeat: bool) -> None:
    client.images.next()
    client.fault(kind="frozen_camera", repeat=repeat)
    client.driver.sleep(1.0)  # what was being drawn has come
    client.images.clear()
    before = client.joints()
    client.driver.write_group("arm", list(before + np.array([0.3, 0, 0, 0, 0, 0])))
    client.driver.sleep(1.0)
    pictures = {bytes(image.data) for image in client.images.messages()}
    assert len(pictures) == int(repeat)


def test_a_driver_can_die(client: Client, driver: DriverProcess) -> None:
    client.fault(kind="driver_death", after_s=0.2)  # the last test that needs it
    assert driver.wait() == 1
    client.driver.timeout_s = 1.0
    until(lambda: client.driver.newest is None, "silence")
