"""The link to an XS driver and a camera over ROS 2: carries messages, and decides nothing.

What is sent when, and what stops the arm, is decided in `robots.xs.arm`. Runs on Python 3.10 too.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import rclpy
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from robots.errors import ArmUnavailable
from robots.ros import dds
from robots.ros.claim import Claim
from robots.ros.node import DriverClient
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

IMAGE_DEPTH = 30
"""Images that may wait, a second of them, while this process gets no time; only the newest is looked at."""
COMMAND_TOPICS = ("joint_group", "joint_single", "joint_trajectory")
OWN_TOPICS = ("joint_group", "joint_single")
"""Command topics that we publish on ourselves."""


class NodeExtension(Protocol):
    """Something that lives on the link's node, such as the clock of a simulation."""

    def attach(self, node: Node) -> None:
        """The node has been made; nothing else is on it yet."""
        ...

    def detach(self) -> None:
        """The node is about to go."""
        ...


@dataclass(frozen=True)
class RosConfig:
    """Where driver and camera are."""

    robot_name: str = ROBOT_NAME
    """Namespace of the driver."""
    camera_topic: str = CAMERA_TOPIC
    """Raw images, or compressed ones if it ends in `/compressed`."""
    node_name: str = "roboreward"
    """Name of our own node."""


class RosLink:
    """An `XsLink` over ROS 2. Making one joins no network; `open` does.

    Args:
        config: Where driver and camera are.
        extension: Lives on the node.
        answer_s: How long to wait for the answer of a service [s].
    """

    def __init__(
        self,
        config: RosConfig,
        *,
        extension: NodeExtension | None = None,
        answer_s: float = 5.0,
    ) -> None:
        self._config, self._extension, self._answer_s = config, extension, answer_s
        self._claim = Claim(config.robot_name)
        self._callbacks: tuple[Callable[..., None], ...] = ()
        self._node: Node | None = None
        self._client: DriverClient | None = None
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
            ArmUnavailable: There is none, or another process of this computer drives it.
        """
        if self._closed:
            raise ArmUnavailable("The connection is closed. Make a new arm.")
        if self._client is not None:
            self._await_driver(self._client, timeout_s)
            return
        self._claim.take()
        dds.large_images()
        if not rclpy.ok():
            # Its own handlers would cut the connection at Ctrl-C, before the arm has gone to sleep.
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
            self._inited = True
        node = self._make_node()
        try:
            self._client = DriverClient(node, self._config.robot_name, timeout_s=timeout_s)
        except ArmUnavailable as error:
            found = self._robots(node)
            self._leave(node)
            self._claim.release()
            raise ArmUnavailable(f"{error} Robots that are there: {found or 'none'}.") from error
        self._client.timeout_s = self._answer_s
        self._node = node

    def peers(self) -> Peers:
        """Who else is on the network now."""
        node = self._opened_node()
        prefix = f"/{self._config.robot_name}"
        drivers = node.get_publishers_info_by_topic(f"{prefix}/joint_states")
        counts = {t: node.count_publishers(f"{prefix}/commands/{t}") for t in COMMAND_TOPICS}
        others = max(count - (topic in OWN_TOPICS) for topic, count in counts.items())
        simulated = bool(drivers) and all(
            self._is_simulation(node, d.node_name, d.node_namespace) for d in drivers
        )
        cameras = node.count_publishers(self._config.camera_topic)
        return Peers(len(drivers), max(0, others), simulated=simulated, cameras=cameras)

    def send_arm(self, joints: np.ndarray) -> None:
        """Publish a set-point `(6,)` [rad]."""
        self._opened().write_group(ARM_GROUP, joints.tolist())

    def send_gripper(self, angle: float) -> None:
        """Publish a set-point of the gripper's servo [rad]."""
        self._opened().write_single(GRIPPER, angle)

    def facts(self, kind: str, name: str) -> RobotFacts:
        """Ask the driver about a group or a motor."""
        info = self._opened().robot_info(kind, name)
        return RobotFacts(
            info.mode,
            info.profile_type,
            tuple(info.joint_names),
            np.array(info.joint_lower_limits),
            np.array(info.joint_upper_limits),
        )

    def registers(self, kind: str, name: str, register: str) -> list[int]:
        """Read a register; shorter than asked for where a motor does not answer."""
        return self._opened().registers(kind, name, register)

    def set_register(self, kind: str, name: str, register: str, value: int) -> None:
        """Write a register."""
        self._opened().set_register(kind, name, register, value)

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Change an operating mode."""
        self._opened().set_mode(kind, name, mode)

    def torque(self, kind: str, name: str, *, enable: bool) -> None:
        """Torque on or off."""
        self._opened().torque(kind, name, enable=enable)

    def reboot(self, name: str) -> None:
        """Restart one motor, and put its torque on."""
        self._opened().reboot("single", name, enable=True)

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
        raise ArmUnavailable(f"{name} did not answer within {self._answer_s:g} s.")

    def close(self) -> None:
        """Leave the network."""
        if self._closed:
            return
        self._closed = True
        if self._client is not None and self._node is not None:
            self._client.close()
            self._leave(self._node)
        self._claim.release()
        if self._inited:
            rclpy.try_shutdown()

    def _leave(self, node: Node) -> None:
        if self._extension is not None:
            self._extension.detach()
        node.destroy_node()

    def _make_node(self) -> Node:
        on_tick = self._callbacks[2]
        node = Node(self._config.node_name)
        if self._extension is not None:
            self._extension.attach(node)  # before the timer below, which takes the node's clock
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

    def _await_driver(self, client: DriverClient, timeout_s: float) -> None:
        """Wait until the driver that was there before, or its successor, sends joint states and is the only one listed.

        One that died is listed for a while, and a request that the network takes to it is lost.
        """
        topic = f"/{self._config.robot_name}/joint_states"
        began = time.monotonic()
        while client.received_s <= began:
            if time.monotonic() - began > timeout_s:
                raise ArmUnavailable(
                    f"The driver of /{self._config.robot_name} has not come back within "
                    f"{timeout_s:g} s. Start it again; the arm holds if it has power."
                )
            time.sleep(TICK_S)
        received = time.monotonic()
        while (
            self._opened_node().count_publishers(topic) > 1
            and time.monotonic() - received < GHOST_S
        ):
            time.sleep(TICK_S)

    def _opened(self) -> DriverClient:
        if self._client is None:
            raise ArmUnavailable("There is no connection yet. Call reset() first.")
        return self._client

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


def _seconds(message: Any) -> float:
    stamp = message.header.stamp
    return stamp.sec + stamp.nanosec * 1e-9
