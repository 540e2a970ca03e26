"""The WidowX over ROS 2: an XS driver and a camera's topic behind the `Arm` protocol.

The only module of `robots` that imports `rclpy`, apart from the rest of `robots.ros`. It carries messages; what is sent
when, and what stops the arm, is decided in `robots.xs.arm`. Runs on Python 3.10 too.
"""

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from robots.errors import ArmFault, ArmUnavailable
from robots.ros import dds
from robots.ros.node import InterbotixRobotXSCore
from robots.safety import SafetyLimits, simulated_clock_limits
from robots.xs.arm import READY_S, XsArm
from robots.xs.clock import SystemTimer
from robots.xs.feeds import JointMessage
from robots.xs.images import RawImage
from robots.xs.interface import (
    ARM_GROUP,
    CAMERA_TOPIC,
    GRIPPER,
    QUEUE_DEPTH,
    RESET_SERVICE,
    ROBOT_NAME,
)
from robots.xs.link import GHOST_S, TICK_S, Peers, RobotFacts

ROBOT_MODEL = "wx250s"
IMAGE_DEPTH = 30
"""Images that may wait, a second of them, while this process gets no time; only the newest is looked at."""
POLL_S = 0.002
SLOW_S = 60.0
"""What a machine of any speed gets to answer, or to move simulated time on, before the driver counts as gone."""


@dataclass(frozen=True)
class RosConfig:
    """Where driver and camera are."""

    robot_name: str = ROBOT_NAME
    """Namespace of the driver."""
    camera_topic: str = CAMERA_TOPIC
    """Raw images, or compressed ones if it ends in `/compressed`."""
    node_name: str = "roboreward"
    """Of our own node."""
    answer_s: float = 5.0
    """How long to wait for the answer of a service [s]."""
    simulated_clock: bool = False
    """Go by `/clock`, with a simulated driver that has `--clock simulated`, and wait for it for `SLOW_S`:
    right however slow the machine is."""


class RosLink:
    """An `XsLink` over ROS 2. Making one joins no network; `open` does."""

    def __init__(self, config: RosConfig) -> None:
        self._config = config
        self._answer_s = SLOW_S if config.simulated_clock else config.answer_s
        self._callbacks: tuple[Callable[..., None], ...] = ()
        self._node: Node | None = None
        self._xs: InterbotixRobotXSCore | None = None
        self._inited = self._closed = False
        self._services: dict[str, Any] = {}
        self._image_number: int | None = None
        self.images_lost = 0
        """Images that the network has swallowed, by the gaps in their numbers."""

    def listen(
        self,
        on_joints: Callable[[JointMessage], None],
        on_image: Callable[[RawImage], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Call back on every message and tick, once the link is open."""
        self._callbacks = (on_joints, on_image, on_tick)

    def open(self, timeout_s: float) -> None:
        """Join the network and wait for the driver.

        Raises:
            ArmUnavailable: There is none; says which robots there are.
        """
        if self._closed:
            raise ArmUnavailable("Expected an open connection, got a closed one. Make a new arm.")
        if self._xs is not None:
            self._await_driver(self._xs, timeout_s)
            return
        dds.large_images()
        if not rclpy.ok():
            # Its own handlers would cut the connection at Ctrl-C, before the arm has gone to sleep.
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            self._inited = True
        node = self._make_node()
        try:
            self._xs = InterbotixRobotXSCore(
                ROBOT_MODEL, self._config.robot_name, node=node, timeout_s=timeout_s
            )
        except ArmUnavailable as error:
            found = self._robots(node)
            node.destroy_node()
            raise ArmUnavailable(f"{error} Robots that are there: {found or 'none'}.") from error
        self._xs.timeout_s = self._answer_s
        self._node = node

    def now(self) -> float:
        """Time by the clock of our node [s]; 0 before `open`."""
        return 0.0 if self._node is None else self._node.get_clock().now().nanoseconds * 1e-9

    def hold_clock(self, at_s: float | None) -> None:
        """Ask a simulation to stand still at a simulated time [s]; None to let it go on."""
        if self._xs is not None and self._xs.seen is not None:
            self._xs.seen.hold(at_s)

    def peers(self) -> Peers:
        """Who else is on the network now."""
        node = self._opened_node()
        prefix = f"/{self._config.robot_name}"
        drivers = node.get_publishers_info_by_topic(f"{prefix}/joint_states")
        commands = (f"{prefix}/commands/{topic}" for topic in ("joint_group", "joint_trajectory"))
        others = sum(node.count_publishers(topic) for topic in commands) - 1  # ours
        simulated = bool(drivers) and all(
            self._is_simulation(node, d.node_name, d.node_namespace) for d in drivers
        )
        return Peers(len(drivers), max(0, others), simulated)

    def send_arm(self, joints: np.ndarray) -> None:
        """Publish a set-point `(6,)` [rad]."""
        self._opened().robot_write_commands(ARM_GROUP, joints.tolist())

    def send_gripper(self, pwm: float) -> None:
        """Publish PWM for the gripper."""
        self._opened().robot_write_joint_command(GRIPPER, pwm)

    def facts(self, kind: str, name: str) -> RobotFacts:
        """Ask the driver about a group or a motor."""
        info = self._opened().robot_get_robot_info(kind, name)
        return RobotFacts(
            info.mode,
            info.profile_type,
            tuple(info.joint_names),
            np.array(info.joint_lower_limits),
            np.array(info.joint_upper_limits),
        )

    def registers(self, register: str) -> list[int]:
        """Read a register of each joint of the arm."""
        answer = self._opened().robot_get_motor_registers("group", ARM_GROUP, register)
        return list(answer.values)

    def set_register(self, register: str, value: int) -> None:
        """Write a register of every joint of the arm."""
        self._opened().robot_set_motor_registers("group", ARM_GROUP, register, value)

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Change an operating mode."""
        self._opened().robot_set_operating_modes(kind, name, mode)

    def torque(self, *, enable: bool) -> None:
        """Torque of the arm on or off."""
        self._opened().robot_torque_enable("group", ARM_GROUP, enable)

    def reboot_failed(self) -> None:
        """Restart the arm's motors that are in error."""
        self._opened().robot_reboot_motors("group", ARM_GROUP, enable=True, smart_reboot=True)

    def call(self, service: Any, name: str, request: Any) -> Any:
        """Call any other service and wait for its answer.

        Raises:
            ArmUnavailable: Nobody answers.
        """
        if name not in self._services:
            self._services[name] = self._opened_node().create_client(service, name)
        client, answered = self._services[name], threading.Event()
        if client.wait_for_service(timeout_sec=self._answer_s):
            future = client.call_async(request)
            future.add_done_callback(lambda _: answered.set())
            if answered.wait(self._answer_s):
                return future.result()
            client.remove_pending_request(future)
        raise ArmUnavailable(f"Expected an answer of {name} within {self._answer_s:g} s, got none.")

    def close(self) -> None:
        """Leave the network."""
        if self._closed:
            return
        self._closed = True
        if self._xs is not None and self._node is not None:
            self._xs.close()
            self._node.destroy_node()
        if self._inited:
            rclpy.try_shutdown()

    def _make_node(self) -> Node:
        on_tick = self._callbacks[2]
        clock = Parameter("use_sim_time", value=self._config.simulated_clock)
        node = Node(self._config.node_name, parameter_overrides=[clock])
        node.create_subscription(
            JointState, f"/{self._config.robot_name}/joint_states", self._on_joints, QUEUE_DEPTH
        )
        # Best effort matches cameras of either kind.
        quality = QoSProfile(depth=IMAGE_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        topic = self._config.camera_topic
        if topic.endswith("/compressed"):
            node.create_subscription(CompressedImage, topic, self._on_compressed, quality)
        else:
            node.create_subscription(Image, topic, self._on_image, quality)
        node.create_timer(TICK_S, on_tick)
        return node

    def _on_joints(self, message: JointState) -> None:
        arrays = (np.array(a) for a in (message.position, message.velocity, message.effort))
        self._callbacks[0](JointMessage(tuple(message.name), *arrays, _seconds(message)))

    def _on_image(self, message: Image, info: dict[str, Any]) -> None:
        self._count(info)
        self._callbacks[1](
            RawImage(
                memoryview(message.data),
                _seconds(message),
                message.encoding,
                message.height,
                message.width,
                message.step,
            )
        )

    def _on_compressed(self, message: CompressedImage, info: dict[str, Any]) -> None:
        self._count(info)
        self._callbacks[1](RawImage(memoryview(message.data), _seconds(message), compressed=True))

    def _count(self, info: dict[str, Any]) -> None:
        number, before = info["publication_sequence_number"], self._image_number
        self._image_number = number
        if number is not None and before is not None and number > before:  # else a new camera
            self.images_lost += number - before - 1

    def _await_driver(self, xs: InterbotixRobotXSCore, timeout_s: float) -> None:
        """Wait until the driver that was there before, or its successor, is heard and is the only one listed.

        One that died is listed for a while, and a request that the network takes to it is lost.
        """
        topic = f"/{self._config.robot_name}/joint_states"
        began = time.monotonic()
        while xs.heard_s <= began:
            if time.monotonic() - began > timeout_s:
                raise ArmUnavailable(
                    f"Expected the driver of /{self._config.robot_name} to come back within "
                    f"{timeout_s:g} s, got nothing. Start it again; the arm holds if it has power."
                )
            time.sleep(TICK_S)
        heard = time.monotonic()
        while (
            self._opened_node().count_publishers(topic) > 1 and time.monotonic() - heard < GHOST_S
        ):
            time.sleep(TICK_S)

    def _opened(self) -> InterbotixRobotXSCore:
        if self._xs is None:
            raise ArmUnavailable("Expected an open connection, got none. Call reset() first.")
        return self._xs

    def _opened_node(self) -> Node:
        self._opened()
        assert self._node is not None
        return self._node

    def _is_simulation(self, node: Node, name: str, namespace: str) -> bool:
        """Whether the node that publishes joint states is also the one that offers the simulation's services."""
        if not namespace.startswith("/"):
            return False  # its publisher has been found before its name
        try:
            services = node.get_service_names_and_types_by_node(name, namespace)
        except NodeNameNonExistentError:
            return False
        return any(service == RESET_SERVICE for service, _ in services)

    def _robots(self, node: Node) -> str:
        end = "/joint_states"
        names = sorted(t for t, _ in node.get_topic_names_and_types() if t.endswith(end))
        return ", ".join(t.removesuffix(end) for t in names if node.count_publishers(t))


class SimulatedTimer:
    """A `Timer` that goes by `/clock`."""

    def __init__(self, link: RosLink) -> None:
        self._link = link

    def now(self) -> float:
        """Simulated time [s]."""
        return self._link.now()

    def date(self) -> float:
        """Simulated time [s]: messages are stamped by it."""
        return self._link.now()

    def wait(self, event: threading.Event, until: float) -> bool:
        """Wait until a simulated time.

        Raises:
            ArmFault: Simulated time stands still.
        """
        self.go_on()
        was, since = self.now(), time.monotonic()
        while (now := self.now()) < until and not event.wait(POLL_S):
            if now != was:
                was, since = now, time.monotonic()
            elif time.monotonic() - since > SLOW_S:
                raise ArmFault(
                    f"Expected /clock to go on, got the same time for {SLOW_S:g} s. "
                    "See whether the simulated driver still runs."
                )
        return event.is_set()

    def stand_still(self) -> None:
        """The simulation waits for us."""
        self._link.hold_clock(self.now())

    def go_on(self) -> None:
        """It does no more."""
        self._link.hold_clock(None)

    def real(self) -> float:
        """Monotonic time [s]: the network does not go by the simulated one."""
        return time.monotonic()

    def pause(self, duration_s: float) -> None:
        """Sleep."""
        time.sleep(duration_s)


class RosArm(XsArm):
    """The `Arm` over ROS 2; only joins a connection to what `XsArm` does with it.

    Args:
        config: Where driver and camera are.
        image_size: Height and width that images are scaled to [px].
        limits: The limits to keep.
        watched: Somebody stands beside the arm; without that only a simulated driver moves.
        ready_s: How long to wait for driver and camera [s].
    """

    def __init__(
        self,
        config: RosConfig | None = None,
        *,
        image_size: tuple[int, int] = (192, 256),
        limits: SafetyLimits | None = None,
        watched: bool = False,
        ready_s: float | None = None,
    ) -> None:
        config = config or RosConfig()
        if ready_s is None:
            ready_s = SLOW_S if config.simulated_clock else READY_S
        if limits is None and config.simulated_clock:
            limits = simulated_clock_limits()
        self.link = RosLink(config)
        super().__init__(
            self.link,
            image_size=image_size,
            limits=limits,
            watched=watched,
            ready_s=ready_s,
            timer=SimulatedTimer(self.link) if config.simulated_clock else SystemTimer(),
        )
        # A program that ends without closing, by an error for example, would leave an arm under torque, and
        # a thread in ROS that aborts the interpreter's end.
        atexit.register(self.close)

    def close(self) -> None:
        """Go to sleep if the arm was moved, and leave."""
        atexit.unregister(self.close)
        super().close()


def _seconds(message: Any) -> float:
    stamp = message.header.stamp
    return stamp.sec + stamp.nanosec * 1e-9
