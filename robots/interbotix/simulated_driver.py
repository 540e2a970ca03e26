"""A simulated WidowX 250S behind the topics and services of the Interbotix XS driver.

    python -m robots.interbotix.simulated_driver --scene toy

Under `/wx250s` it speaks what the vendor's `xs_sdk` speaks, so that a client cannot tell the difference; images
come on `/camera/camera/color/image_raw`. Only a simulation has `/simulation/reset`, `/simulation/truth` (for
evaluation; no learner may ask) and `/simulation/fault`. Physics, images and calls run in threads of their own:
slow rendering costs images, never joint states. On a machine that is too slow for real time, and in tests,
`--clock simulated` lets clients with `use_sim_time` wait for the simulation.
"""

import argparse
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand, JointTrajectoryCommand
from interbotix_xs_msgs.srv import (
    MotorGains,
    OperatingModes,
    Reboot,
    RegisterValues,
    RobotInfo,
    TorqueEnable,
)
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from roboreward_sim_msgs.srv import GetTruth, ResetScene, SetFault
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from roboreward_gym.errors import RoboRewardError
from robots.interbotix import dds
from robots.interbotix.faults import Fault, FaultSchedule, parse_fault
from robots.interbotix.film import CameraThread
from robots.interbotix.interface import (
    ARM_GROUP,
    CAMERA_TOPIC,
    FAULT_SERVICE,
    MOTOR_IDS,
    QUEUE_DEPTH,
    RESET_SERVICE,
    ROBOT_NAME,
    SLEEP_JOINTS,
    STATE_JOINTS,
    STATES_HZ,
    TRUTH_SERVICE,
)
from robots.interbotix.pace import Pace
from robots.interbotix.simulated_robot import SCENES, SimulatedRobot
from robots.layout import (
    ARM_JOINTS,
    FINGER_CLOSED_M,
    FINGER_OPEN_M,
    JOINT_LOWER,
    JOINT_UPPER,
    JOINT_VELOCITY,
)

MODE_CHANGE_S = 0.15
"""How long the joints are without torque while a mode is written to the servos."""

REBOOT_S = 0.5


def time_message(nanoseconds: int) -> Time:
    """A stamp."""
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


class SimulatedDriver(Node):
    """Topics and services; owns the threads of the physics and of the camera.

    Args:
        robot: What moves.
        camera_hz: Images a second; 0 for none.
        camera_topic: Where images go; JPEG below `<topic>/compressed`.
        name: Namespace of the driver, the vendor's `robot_name`.
        simulated_clock: Publish `/clock` and stamp by it, for clients with `use_sim_time`.
        speed: Simulated seconds in a second.
    """

    def __init__(
        self,
        robot: SimulatedRobot,
        *,
        camera_hz: float = 15.0,
        camera_topic: str = CAMERA_TOPIC,
        name: str = ROBOT_NAME,
        simulated_clock: bool = False,
        speed: float = 1.0,
    ) -> None:
        super().__init__("xs_sdk", namespace=name)
        self.robot = robot
        self.faults = FaultSchedule()
        self.lock = threading.Lock()  # of the simulation's state
        self.drawing = threading.Lock()  # of its looks; taken before `lock` where both are needed
        self._failed: Fault | None = None
        self._stop = threading.Event()
        self._late: deque[tuple[float, JointState]] = deque()
        self._states = self.create_publisher(JointState, "joint_states", QUEUE_DEPTH)
        for message, topic, callback in (
            (JointGroupCommand, "joint_group", self._on_group),
            (JointSingleCommand, "joint_single", self._on_single),
            (JointTrajectoryCommand, "joint_trajectory", self._on_trajectory),
        ):
            self.create_subscription(message, f"commands/{topic}", callback, QUEUE_DEPTH)
        for service, topic, answer in (
            (OperatingModes, "set_operating_modes", self._set_operating_modes),
            (TorqueEnable, "torque_enable", self._torque_enable),
            (RobotInfo, "get_robot_info", self._get_robot_info),
            (RegisterValues, "set_motor_registers", self._set_motor_registers),
            (RegisterValues, "get_motor_registers", self._get_motor_registers),
            (MotorGains, "set_motor_pid_gains", self._set_motor_pid_gains),
            (Reboot, "reboot_motors", self._reboot_motors),
        ):
            self.create_service(service, topic, self._logged(answer))
        self.create_service(ResetScene, RESET_SERVICE, self._reported(self._reset))
        self.create_service(GetTruth, TRUTH_SERVICE, self._reported(self._truth))
        self.create_service(SetFault, FAULT_SERVICE, self._reported(self._fault))
        self._camera = (
            CameraThread(self, camera_topic, camera_hz, self._stop) if camera_hz > 0 else None
        )
        self._epoch_ns = self.get_clock().now().nanoseconds
        self._clock = self.create_publisher(Clock, "/clock", 1) if simulated_clock else None
        self._pace = Pace(
            self._tick, 1.0 / STATES_HZ, speed=speed, stop=self._stop, on_lag=self._lagging
        )

    def start(self) -> None:
        """Begin to move time, joint states and images."""
        self._pace.start()
        if self._camera is not None:
            self._camera.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        self._pace.join(timeout=5.0)
        if self._camera is not None:
            self._camera.join(timeout=5.0)

    def stamp(self) -> Time:
        """The time for a header, wrong while the clock is at fault."""
        nanoseconds = self._now_ns()
        fault = self.faults.active("clock_jump", self.robot.time)
        if fault is not None:
            nanoseconds = max(0, nanoseconds + round(fault.offset_s * 1e9))
        return time_message(nanoseconds)

    def _now_ns(self) -> int:
        if self._clock is None:
            return self.get_clock().now().nanoseconds
        return self._epoch_ns + round(self.robot.time * 1e9)

    def _tick(self) -> None:
        with self.lock:
            self._begin_faults()
            self.robot.advance(1.0 / STATES_HZ)
            message = self._state_message()
            now_ns = self._now_ns()
        if not self.context.ok():
            return
        if self._clock is not None:
            self._clock.publish(Clock(clock=time_message(now_ns)))
        self._publish_states(message)
        if self._camera is not None:
            self._camera.tell(self.robot.time)

    def _begin_faults(self) -> None:
        now = self.robot.time
        if self.faults.active("driver_death", now):
            os._exit(1)  # no destructor, no goodbye to the network: as a crash
        failed = self.faults.active("servo_error", now)
        if failed is not None and failed is not self._failed:
            self.robot.fail(failed.joint, failed.bits)
        self._failed = failed

    def _wait(self, duration_s: float) -> None:
        """Let simulated time pass."""
        end = self.robot.time + duration_s
        while self.robot.time < end and not self._stop.wait(0.005):
            pass

    def _lagging(self) -> None:
        self.get_logger().warning(
            "The machine is too slow: simulated time stands still now and then.",
            throttle_duration_sec=30.0,
        )

    def _state_message(self) -> JointState:
        reading, now = self.robot.read(), self.robot.time
        names, position = list(STATE_JOINTS), reading.position
        fault = self.faults.active("nan_joints", now)
        if fault is not None:
            position[names.index(fault.joint)] = float("nan")
        order = list(range(len(names)))
        if self.faults.active("wrong_joint_order", now):
            order.reverse()
        message = JointState()
        message.header.stamp = self.stamp()
        message.name = [names[i] for i in order]
        message.position = [float(position[i]) for i in order]
        message.velocity = [float(reading.velocity[i]) for i in order]
        message.effort = [float(reading.effort[i]) for i in order]
        return message

    def _publish_states(self, message: JointState) -> None:
        now = self.robot.time
        fault = self.faults.active("late_joint_states", now)
        self._late.append((now + (fault.delay_s if fault else 0.0), message))
        while self._late and self._late[0][0] <= now:
            _, ready = self._late.popleft()
            if not self.faults.loses("joint_states", now):
                self._states.publish(ready)

    def _on_group(self, message: JointGroupCommand) -> None:
        self._command("group", message.name, list(message.cmd))

    def _on_single(self, message: JointSingleCommand) -> None:
        self._command("single", message.name, [message.cmd])

    def _command(self, kind: str, name: str, values: list[float]) -> None:
        if self.faults.loses("commands", self.robot.time):
            return
        try:
            with self.lock:
                self.robot.command(self.robot.motors(kind, name), values)
        except RoboRewardError as error:
            self.get_logger().error(f"Command dropped. {error}")

    def _on_trajectory(self, message: JointTrajectoryCommand) -> None:
        if self.faults.loses("commands", self.robot.time):
            return
        path = [
            (p.time_from_start.sec + p.time_from_start.nanosec * 1e-9, list(p.positions))
            for p in message.traj.points
        ]
        try:
            with self.lock:
                self.robot.follow(self.robot.motors(message.cmd_type, message.name), path)
        except RoboRewardError as error:
            self.get_logger().error(f"Trajectory dropped. {error}")

    def _set_operating_modes(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            self.robot.set_mode(
                joints,
                request.mode,
                request.profile_type,
                request.profile_velocity,
                request.profile_acceleration,
            )
            self.robot.set_torque(joints, enable=False)
        self._wait(MODE_CHANGE_S)  # the arm falls a little, as the real one does
        with self.lock:
            self.robot.set_torque(joints, enable=True)
        return response

    def _torque_enable(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            self.robot.set_torque(joints, enable=request.enable)
        return response

    def _reboot_motors(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            self.robot.reboot(joints, enable=False, only_failed=request.smart_reboot)
        self._wait(REBOOT_S)
        with self.lock:
            self.robot.set_torque(joints, enable=request.enable)
        return response

    def _set_motor_registers(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            self.robot.set_register(joints, request.reg, request.value)
        return response

    def _get_motor_registers(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            response.values = self.robot.registers(joints, request.reg)
        return response

    def _set_motor_pid_gains(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            self.robot.set_gains(joints, request.kp_pos, request.ki_pos, request.kd_pos)
        return response

    def _get_robot_info(self, request: Any, response: Any) -> Any:
        with self.lock:
            joints = self.robot.motors(request.cmd_type, request.name)
            settings = self.robot.servos[joints[0]].settings
        arm = [ARM_JOINTS.index(j) if j in ARM_JOINTS else None for j in joints]
        response.mode, response.profile_type = settings.mode, settings.profile
        response.joint_names = list(joints)
        response.joint_ids = [MOTOR_IDS[j] for j in joints]
        # The gripper's limits are those of the left finger, in [m] and [m/s].
        response.joint_lower_limits = [
            float(FINGER_CLOSED_M if i is None else JOINT_LOWER[i]) for i in arm
        ]
        response.joint_upper_limits = [
            float(FINGER_OPEN_M if i is None else JOINT_UPPER[i]) for i in arm
        ]
        response.joint_velocity_limits = [1.0 if i is None else float(JOINT_VELOCITY) for i in arm]
        response.joint_sleep_positions = [0.0 if i is None else float(SLEEP_JOINTS[i]) for i in arm]
        response.joint_state_indices = [STATE_JOINTS.index(j) for j in joints]
        response.num_joints = len(joints)
        response.name = [ARM_GROUP] if request.cmd_type == "group" else [request.name]
        return response

    def _reset(self, request: Any, response: Any) -> None:
        with self.drawing, self.lock:
            response.task = self.robot.reset(request.seed, request.task, request.look or "any")

    def _truth(self, request: Any, response: Any) -> None:
        with self.lock:
            truth = self.robot.truth(request.task)
        response.task, response.level, response.askable = truth.task, truth.level, truth.askable
        response.caption, response.time_s, response.seed = truth.caption, truth.time_s, truth.seed

    def _fault(self, request: Any, response: Any) -> None:
        fault = parse_fault(request.fault)
        with self.lock:
            if fault is None:
                self.faults.clear()
            else:
                self.faults.add(fault, self.robot.time)

    def _logged(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The vendor's services have no field for a failure: they log it and answer with nothing."""

        def service(request: Any, response: Any) -> Any:
            try:
                return answer(request, response)
            except RoboRewardError as error:
                self.get_logger().error(str(error))
                return response

        return service

    def _reported(self, answer: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        def service(request: Any, response: Any) -> Any:
            try:
                answer(request, response)
                response.success = True
            except RoboRewardError as error:
                response.success, response.message = False, str(error)
            return response

        return service


def main(arguments: list[str] | None = None) -> int:
    """Run until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="A simulated WidowX 250S behind the Interbotix XS interface."
    )
    parser.add_argument("--scene", choices=SCENES, default="toy")
    parser.add_argument("--camera-hz", type=float, default=15.0, help="0 for no images")
    parser.add_argument("--camera-topic", default=CAMERA_TOPIC)
    parser.add_argument("--name", default=ROBOT_NAME, help="namespace, the vendor's robot_name")
    parser.add_argument("--seed", type=int, help="shuffle the scene and put the arm at its start")
    parser.add_argument(
        "--clock",
        choices=("wall", "simulated"),
        default="wall",
        help="simulated: publish /clock and stamp by it, for clients with use_sim_time",
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="simulated seconds in a second, with that clock"
    )
    options = parser.parse_args(arguments)
    if options.speed <= 0.0 or (options.speed != 1.0 and options.clock == "wall"):
        parser.error("expected a --speed above 0, and 1 unless there is --clock simulated")
    dds.large_images()
    robot = SimulatedRobot(options.scene)
    if options.seed is not None:
        robot.reset(options.seed)
    rclpy.init()
    driver = SimulatedDriver(
        robot,
        camera_hz=options.camera_hz,
        camera_topic=options.camera_topic,
        name=options.name,
        simulated_clock=options.clock == "simulated",
        speed=options.speed,
    )
    driver.start()
    driver.get_logger().info(f"Simulated {options.name} is up: {options.scene}.")
    try:
        rclpy.spin(driver)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        driver.stop()
        driver.destroy_node()
        rclpy.try_shutdown()
        robot.arm.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
