"""A simulated WidowX 250S behind the topics and services of the Interbotix XS driver.

    python -m robots.ros.simulator.driver --scene toy

Under `/wx250s` it has the topics and services of the vendor's `xs_sdk`; images
come on `/camera/camera/color/image_raw`. Only a simulation has `/simulation/reset`, `/simulation/truth` (for
evaluation; no learner may ask) and `/simulation/fault`. Physics, images and calls run in threads of their own:
slow rendering costs images, never joint states. On a machine that is too slow for real time, and in tests,
`--clock simulated` lets clients with `use_sim_time` wait for the simulation, and the simulation for them.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand, JointTrajectoryCommand
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from roboreward_sim_msgs.srv import GetTruth, ResetScene, SetFault
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from roboreward_gym.errors import RoboRewardError
from robots.catalogue import SCENES
from robots.ros import dds
from robots.ros.simulator.camera_thread import CameraThread
from robots.ros.simulator.client_progress import ClientProgress
from robots.ros.simulator.description import robot_description
from robots.ros.simulator.faults import Fault, FaultSchedule, parse_fault
from robots.ros.simulator.pace import Pace
from robots.ros.simulator.robot import SimulatedRobot
from robots.ros.simulator.services import XsServices
from robots.xs.interface import (
    CAMERA_TOPIC,
    FAULT_SERVICE,
    PROGRESS_TOPIC,
    QUEUE_DEPTH,
    RESET_SERVICE,
    ROBOT_NAME,
    STATES_HZ,
    TRUTH_SERVICE,
)
from robots.xs.models import MODELS

TRAJECTORY_FIELDS = {"velocity": "velocities", "pwm": "effort", "current": "effort"}
"""What of a trajectory's points is sent in a mode; positions in all others."""


def time_message(nanoseconds: int) -> Time:
    """A stamp."""
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


class SimulatedDriver(Node):
    """Topics and services; owns the threads of the physics and of the camera.

    Args:
        robot: What moves.
        camera_hz: Images a second; 0 for none.
        camera_topic: Where images go; JPEG below `<topic>/compressed`.
        name: Namespace of the driver, the vendor's `robot_name`; the model's if empty.
        simulated_clock: Publish `/clock` and stamp by it, for clients with `use_sim_time`; and wait for them.
        speed: Simulated seconds in a second, at most.
    """

    def __init__(
        self,
        robot: SimulatedRobot,
        *,
        camera_hz: float = 15.0,
        camera_topic: str = CAMERA_TOPIC,
        name: str = "",
        simulated_clock: bool = False,
        speed: float = 1.0,
    ) -> None:
        super().__init__("xs_sdk", namespace=name or robot.model_name)
        self.robot = robot
        self.faults = FaultSchedule()
        self.lock = threading.Lock()  # of the simulation's state
        self.drawing = threading.Lock()  # of its looks; taken before `lock` where both are needed
        self._failed: Fault | None = None
        self.stopped = threading.Event()
        self._late: deque[tuple[float, JointState]] = deque()
        self._published: JointState | None = None
        self._states = self.create_publisher(JointState, "joint_states", QUEUE_DEPTH)
        self._describe()
        for message, topic, callback in (
            (JointGroupCommand, "joint_group", self._on_group),
            (JointSingleCommand, "joint_single", self._on_single),
            (JointTrajectoryCommand, "joint_trajectory", self._on_trajectory),
        ):
            self.create_subscription(message, f"commands/{topic}", callback, QUEUE_DEPTH)
        XsServices(self)
        self.create_service(ResetScene, RESET_SERVICE, self._reported(self._reset))
        self.create_service(GetTruth, TRUTH_SERVICE, self._reported(self._truth))
        self.create_service(SetFault, FAULT_SERVICE, self._reported(self._fault))
        self._camera = (
            CameraThread(self, camera_topic, camera_hz, self.stopped) if camera_hz > 0 else None
        )
        self._epoch_ns = self.get_clock().now().nanoseconds
        self._clock_topic = self.create_publisher(Clock, "/clock", 1) if simulated_clock else None
        self._progress = ClientProgress()
        if simulated_clock:
            self.create_subscription(Header, PROGRESS_TOPIC, self._on_progress, QUEUE_DEPTH)
        self._planned: tuple[float, Callable[[], None], threading.Event] | None = None
        self._pace = Pace(
            self._tick,
            1.0 / STATES_HZ,
            speed=speed,
            stop=self.stopped,
            on_lag=self._lagging,
            may_go_on=self._may_go_on,
            on_wait=self._publish_again,
        )

    def run(self) -> None:
        """Serve until `stopped` is set."""
        executor = SingleThreadedExecutor()
        executor.add_node(self)
        threads = [self._pace] if self._camera is None else [self._pace, self._camera]
        for thread in threads:
            thread.start()
        while not self.stopped.is_set():
            executor.spin_once(timeout_sec=0.2)
        for thread in threads:
            thread.join()
        executor.shutdown()
        self.destroy_node()
        self.robot.arm.close()

    def stamp(self) -> Time:
        """The time for a header, wrong while the clock is at fault."""
        nanoseconds = self._now_ns()
        fault = self.faults.active("clock_jump", self.robot.time)
        if fault is not None:
            nanoseconds = max(0, nanoseconds + round(fault.offset_s * 1e9))
        return time_message(nanoseconds)

    def _describe(self) -> None:
        """The description of the arm as a parameter and a topic that stays, as the vendor's launch file has both."""
        text = robot_description(self.robot.model, self.get_namespace().strip("/"))
        self.declare_parameter("robot_description", text)
        stays = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._description = self.create_publisher(String, "robot_description", stays)
        self._description.publish(String(data=text))

    def _now_ns(self) -> int:
        if self._clock_topic is None:
            return self.get_clock().now().nanoseconds
        return self._epoch_ns + round(self.robot.time * 1e9)

    def _tick(self) -> None:
        with self.lock:
            self._begin_faults()
            self._do_planned()
            self.robot.advance(1.0 / STATES_HZ)
            message = self._state_message()
        self._publish_time()
        self._publish_states(message)
        if self._camera is not None:
            self._camera.draw_at(self.robot.time)

    def _publish_time(self) -> None:
        if self._clock_topic is not None:
            self._clock_topic.publish(Clock(clock=time_message(self._now_ns())))

    def _publish_again(self) -> None:
        """A client may have missed the present messages, or have come only now."""
        self._publish_time()
        if self._published is not None:
            self._states.publish(self._published)

    def _may_go_on(self) -> bool:
        if self._clock_topic is None or self._planned is not None:
            return True  # while a service waits, no report can be taken
        if self._camera is not None and self._camera.is_behind(self.robot.time):
            return False
        until_s = self._now_ns() * 1e-9 + 1.0 / STATES_HZ
        return self._progress.may_advance(until_s, time.monotonic())

    def _on_progress(self, message: Header) -> None:
        seen_s = message.stamp.sec + message.stamp.nanosec * 1e-9
        self._progress.report(message.frame_id, seen_s, time.monotonic())

    def _begin_faults(self) -> None:
        now = self.robot.time
        if self.faults.active("driver_death", now):
            os._exit(1)  # no destructor, no message to the network: as a crash
        failed = self.faults.active("servo_error", now)
        if failed is not None and failed is not self._failed:
            self.robot.fail(failed.joint, failed.bits)
        self._failed = failed

    def silent_servo(self) -> str | None:
        """The servo that does not answer when it is read; None if all do."""
        fault = self.faults.active("short_registers", self.robot.time)
        return None if fault is None else fault.joint

    def after(self, duration_s: float, action: Callable[[], None]) -> None:
        """Do something in a service when exactly so much simulated time has passed, and wait for it."""
        done = threading.Event()
        with self.lock:
            self._planned = (self.robot.time + duration_s, action, done)
        while not done.wait(0.05) and not self.stopped.is_set():
            pass

    def _do_planned(self) -> None:
        if self._planned is not None and self.robot.time >= self._planned[0] - 1e-9:
            self._planned[1]()
            self._planned[2].set()
            self._planned = None

    def _lagging(self) -> None:
        self.get_logger().warning(
            "The machine is too slow: simulated time stands still now and then.",
            throttle_duration_sec=30.0,
        )

    def _state_message(self) -> JointState:
        reading, now = self.robot.read(), self.robot.time
        names, position = list(self.robot.model.state_joints), reading.position
        fault = self.faults.active("nan_joints", now)
        if fault is not None:
            position[names.index(fault.joint)] = float("nan")
        if self.faults.active("bus_error", now):
            position[:] = -np.pi
            reading.effort[:] = 0.0
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
                self._published = ready

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
        try:
            with self.lock:
                joints = self.robot.motors(message.cmd_type, message.name)
                field = TRAJECTORY_FIELDS.get(self.robot.mode(joints), "positions")
                path = [
                    (
                        p.time_from_start.sec * 10**9 + p.time_from_start.nanosec,
                        [*getattr(p, field)],
                    )
                    for p in message.traj.points
                ]
                self.robot.follow(joints, path)
        except RoboRewardError as error:
            self.get_logger().error(f"Trajectory dropped. {error}")

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
    parser.add_argument("--scene", choices=SCENES, default=SCENES[0])
    parser.add_argument("--camera-hz", type=float, default=15.0, help="0 for no images")
    parser.add_argument("--camera-topic", default=CAMERA_TOPIC)
    parser.add_argument("--model", choices=tuple(MODELS), default=ROBOT_NAME)
    parser.add_argument(
        "--name", default="", help="namespace, the vendor's robot_name; the model's by default"
    )
    parser.add_argument("--seed", type=int, help="shuffle the scene and put the arm at its start")
    parser.add_argument(
        "--clock",
        choices=("wall", "simulated"),
        default="wall",
        help="simulated: publish /clock and stamp by it, for clients with use_sim_time, and wait for them",
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        help="simulated seconds in a second at most, with that clock",
    )
    options = parser.parse_args(arguments)
    if options.speed <= 0.0 or (options.speed != 1.0 and options.clock == "wall"):
        parser.error("expected a --speed above 0, and 1 unless there is --clock simulated")
    dds.large_images()
    robot = SimulatedRobot(options.scene, model=options.model)
    if options.seed is not None:
        robot.reset(options.seed)
    # Our own handlers: those of rclpy end the context under the threads that still publish.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    driver = SimulatedDriver(
        robot,
        camera_hz=options.camera_hz,
        camera_topic=options.camera_topic,
        name=options.name,
        simulated_clock=options.clock == "simulated",
        speed=options.speed,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: driver.stopped.set())
    driver.get_logger().info(
        f"Simulated {options.model} is up at {driver.get_namespace()}: {options.scene}."
    )
    driver.run()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
