"""The connection to an XS driver: its services, its command topics and its newest joint states."""

import contextlib
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import (
    MotorGains,
    OperatingModes,
    Reboot,
    RegisterValues,
    RobotInfo,
    TorqueEnable,
)
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from robots.errors import ArmUnavailable
from robots.ros.simulator.followers import ALIVE_EVERY_S, SAID_EVERY_S
from robots.xs.interface import QUEUE_DEPTH, SEEN_TOPIC

TIMEOUT_S = 10.0
SPIN_S = 0.1
GOODBYE_S = 2
"""What the network gets to carry our last word."""
STALE_S = 0.5
"""Joint states come at 100 Hz; older ones are not the present."""


class InterbotixRobotXSCore:
    """Talks to one driver from a thread of its own; moves nothing by itself.

    Args:
        robot_model: "wx250s".
        robot_name: Namespace of the driver; the model's name if None.
        topic_joint_states: Below the namespace.
        node_name: Of a new node.
        node: An existing one to use instead; it must not be spun by anybody else.
        use_sim_time: Go by `/clock`, with a driver that has `--clock simulated`; for a new node.
        timeout_s: How long to wait for the driver, and for each answer [s].

    Raises:
        ArmUnavailable: No driver answers.
    """

    def __init__(
        self,
        robot_model: str,
        robot_name: str | None = None,
        *,
        topic_joint_states: str = "joint_states",
        node_name: str = "robot_manipulation",
        node: Node | None = None,
        use_sim_time: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.robot_model, self.robot_name = robot_model, robot_name or robot_model
        self.timeout_s = timeout_s
        self._inited = not rclpy.ok()
        if self._inited:
            rclpy.init()
        self._owns_node = node is None
        clock = [Parameter("use_sim_time", value=use_sim_time)]
        self._node = node or Node(node_name, parameter_overrides=clock)
        self._arrived = threading.Condition()
        self._states: tuple[float, Any, JointState] | None = None  # when, by both clocks
        prefix = f"/{self.robot_name}"
        self._node.create_subscription(
            JointState, f"{prefix}/{topic_joint_states}", self._on_states, QUEUE_DEPTH
        )
        self._group = self._node.create_publisher(
            JointGroupCommand, f"{prefix}/commands/joint_group", QUEUE_DEPTH
        )
        self._single = self._node.create_publisher(
            JointSingleCommand, f"{prefix}/commands/joint_single", QUEUE_DEPTH
        )
        self._clients = {
            name: self._node.create_client(service, f"{prefix}/{name}")
            for name, service in (
                ("set_operating_modes", OperatingModes),
                ("torque_enable", TorqueEnable),
                ("get_robot_info", RobotInfo),
                ("set_motor_registers", RegisterValues),
                ("get_motor_registers", RegisterValues),
                ("set_motor_pid_gains", MotorGains),
                ("reboot_motors", Reboot),
            )
        }
        self.seen = SeenReport(self._node) if self._has_simulated_clock() else None
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="xs_core", daemon=True)
        self._closed = False
        self._thread.start()
        try:
            self._wait_for_driver()
        except ArmUnavailable:
            self.close()
            raise

    @property
    def joint_states(self) -> JointState:
        """The newest joint states.

        Raises:
            ArmUnavailable: None for half a second.
        """
        states = self.newest
        if states is None:
            raise ArmUnavailable(
                f"Expected joint states of /{self.robot_name} within {STALE_S} s, got none. "
                "See whether the driver still runs; the arm holds its last target."
            )
        return states

    @property
    def newest(self) -> JointState | None:
        """The newest joint states, or None if they do not come any more."""
        states = self._states
        if states is None:
            return None
        # The node's clock is simulated with `use_sim_time`, and stands still when the simulation does. It must
        # not stand still for ever, though.
        by_clock = (self._node.get_clock().now() - states[1]).nanoseconds * 1e-9
        if by_clock > STALE_S or time.monotonic() - states[0] > self.timeout_s:
            return None
        return states[2]

    @property
    def heard_s(self) -> float:
        """When joint states came last, by our monotonic clock [s]; minus infinity before the first."""
        return float("-inf") if self._states is None else self._states[0]

    def get_node(self) -> Node:
        """The node that talks to the driver."""
        return self._node

    def robot_get_joint_states(self) -> JointState:
        """The newest joint states; see `joint_states`."""
        return self.joint_states

    def robot_get_single_joint_state(self, name: str) -> dict[str, float]:
        """Position, velocity and effort of one joint."""
        states = self.joint_states
        index = list(states.name).index(name)
        return {
            "position": states.position[index],
            "velocity": states.velocity[index],
            "effort": states.effort[index],
        }

    def robot_get_robot_info(self, cmd_type: str, name: str) -> Any:
        """Facts about a "group" or a "single" joint; a `RobotInfo.Response`."""
        return self._call("get_robot_info", RobotInfo.Request(cmd_type=cmd_type, name=name))

    def robot_set_operating_modes(
        self,
        cmd_type: str,
        name: str,
        mode: str,
        profile_type: str = "time",
        profile_velocity: int = 0,
        profile_acceleration: int = 0,
    ) -> None:
        """Change the mode; the joints are without torque meanwhile, so that an arm that is not at rest falls."""
        request = OperatingModes.Request(
            cmd_type=cmd_type,
            name=name,
            mode=mode,
            profile_type=profile_type,
            profile_velocity=profile_velocity,
            profile_acceleration=profile_acceleration,
        )
        self._call("set_operating_modes", request)

    def robot_torque_enable(self, cmd_type: str, name: str, enable: bool) -> None:  # noqa: FBT001 - the vendor's signature
        """Torque on or off; without it the arm falls."""
        self._call(
            "torque_enable", TorqueEnable.Request(cmd_type=cmd_type, name=name, enable=enable)
        )

    def robot_reboot_motors(
        self,
        cmd_type: str,
        name: str,
        enable: bool,  # noqa: FBT001 - the vendor's signature
        smart_reboot: bool = False,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> None:
        """Restart motors, with `smart_reboot` only those in error; `enable` puts the torque on afterwards."""
        request = Reboot.Request(
            cmd_type=cmd_type, name=name, enable=enable, smart_reboot=smart_reboot
        )
        self._call("reboot_motors", request)

    def robot_set_motor_registers(self, cmd_type: str, name: str, reg: str, value: int) -> None:
        """Write a register of the motors."""
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=reg, value=value)
        self._call("set_motor_registers", request)

    def robot_get_motor_registers(self, cmd_type: str, name: str, reg: str) -> Any:
        """Read a register of the motors; a `RegisterValues.Response` with `values`."""
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=reg)
        return self._call("get_motor_registers", request)

    def robot_set_motor_pid_gains(
        self, cmd_type: str, name: str, kp_pos: int, ki_pos: int = 0, kd_pos: int = 0
    ) -> None:
        """Set the position gains."""
        request = MotorGains.Request(
            cmd_type=cmd_type, name=name, kp_pos=kp_pos, ki_pos=ki_pos, kd_pos=kd_pos
        )
        self._call("set_motor_pid_gains", request)

    def robot_write_commands(self, group_name: str, commands: Sequence[float]) -> None:
        """Command every joint of a group, in the unit of its mode."""
        self._group.publish(JointGroupCommand(name=group_name, cmd=[float(c) for c in commands]))

    def robot_write_joint_command(self, joint_name: str, command: float) -> None:
        """Command one joint, in the unit of its mode."""
        self._single.publish(JointSingleCommand(name=joint_name, cmd=float(command)))

    def sleep(self, duration_s: float) -> None:
        """Wait by the node's clock.

        Raises:
            ArmUnavailable: The clock is a simulated one that has stopped.
        """
        clock = self._node.get_clock()
        end = clock.now() + Duration(nanoseconds=round(duration_s * 1e9))
        deadline = time.monotonic() + duration_s + self.timeout_s
        while (left := (end - clock.now()).nanoseconds * 1e-9) > 0.0:
            if time.monotonic() > deadline and self.newest is None:
                raise ArmUnavailable(
                    f"Expected /clock to go on, but there was nothing for {self.timeout_s:g} s. "
                    "See whether the simulated driver still runs."
                )
            time.sleep(min(left, 0.01))

    def close(self) -> None:
        """Leave the driver; the arm holds its last target. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._thread.join(timeout=5.0)  # before the executor goes, which the thread still uses
        if self.seen is not None:
            self.seen.say_goodbye()
        self._executor.shutdown(timeout_sec=2.0)
        if self._owns_node:
            self._node.destroy_node()
        if self._inited:
            rclpy.try_shutdown()

    def _spin(self) -> None:
        with contextlib.suppress(
            ExternalShutdownException
        ):  # the next call says that nothing comes
            while not self._closed:
                self._executor.spin_once(timeout_sec=SPIN_S)
                if self.seen is not None:
                    self.seen.say()

    def _on_states(self, message: JointState) -> None:
        with self._arrived:
            self._states = (time.monotonic(), self._node.get_clock().now(), message)
            self._arrived.notify_all()

    def _wait_for_driver(self) -> None:
        """Until joint states come and every service and command topic has its other side."""
        deadline = time.monotonic() + self.timeout_s
        with self._arrived:
            missing = (
                [] if self._arrived.wait_for(self._has_states, self.timeout_s) else ["joint_states"]
            )
        for name, client in self._clients.items():
            if not client.wait_for_service(timeout_sec=max(0.0, deadline - time.monotonic())):
                missing.append(name)
        while not missing and not (
            self._group.get_subscription_count() and self._single.get_subscription_count()
        ):
            if time.monotonic() > deadline:
                missing.append("commands")
            time.sleep(0.01)
        if missing:
            raise ArmUnavailable(
                f"Expected an XS driver at /{self.robot_name} within {self.timeout_s:g} s, but these did not "
                f"answer: {', '.join(missing)}. Start one (`make robot-sim` for the simulated one), and see that "
                "ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE are the same on both sides."
            )

    def _has_simulated_clock(self) -> bool:
        return bool(self._node.get_parameter("use_sim_time").value)

    def _has_states(self) -> bool:
        return self._states is not None

    def _call(self, name: str, request: Any) -> Any:
        answered = threading.Event()
        future = self._clients[name].call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(self.timeout_s):
            self._clients[name].remove_pending_request(future)
            raise ArmUnavailable(
                f"Expected an answer of /{self.robot_name}/{name} within {self.timeout_s:g} s, got none. "
                "See whether the driver still runs; the arm holds its last target."
            )
        return future.result()


class SeenReport:
    """Tells the simulated driver how far we have come, so that its time does not run away from us.

    Args:
        node: Goes by `/clock`.
    """

    def __init__(self, node: Node) -> None:
        self._node, self._name = node, uuid.uuid4().hex
        self._publisher = node.create_publisher(Header, SEEN_TOPIC, QUEUE_DEPTH)
        self._lock = threading.Lock()
        self._said_ns, self._said_at = 0, time.monotonic()
        self._held_ns: int | None = None

    def say(self) -> None:
        """Say it if enough has passed since the last time."""
        with self._lock:
            if not self._node.context.ok():
                return
            seen_ns, real = self._node.get_clock().now().nanoseconds, time.monotonic()
            if self._held_ns is not None:
                seen_ns = min(seen_ns, self._held_ns)
            moved = abs(seen_ns - self._said_ns) >= SAID_EVERY_S * 1e9
            if moved or real - self._said_at >= ALIVE_EVERY_S:
                self._said_ns, self._said_at = seen_ns, real
                stamp = Time(sec=seen_ns // 10**9, nanosec=seen_ns % 10**9)
                self._publisher.publish(Header(frame_id=self._name, stamp=stamp))

    def hold(self, at_s: float | None) -> None:
        """Claim to have seen no more than simulated time `at_s`; None to end that."""
        with self._lock:
            self._held_ns = None if at_s is None else round(at_s * 1e9)
        self.say()

    def say_goodbye(self) -> None:
        """Nobody has to wait for us any more."""
        if self._node.context.ok():
            self._publisher.publish(Header(frame_id=self._name))
            self._publisher.wait_for_all_acked(Duration(seconds=GOODBYE_S))
