"""The connection to an XS driver: its services, its command topics and its newest joint states."""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

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
from sensor_msgs.msg import JointState

from robots.errors import ArmUnavailable
from robots.xs.interface import QUEUE_DEPTH

TIMEOUT_S = 10.0
SPIN_S = 0.1
STALE_S = 0.5
"""Joint states come at 100 Hz; older ones are not the present."""


class DriverClient:
    """Talks to one driver from a thread of its own; moves nothing by itself.

    Args:
        node: Spun by this client from now on, and by nobody else; closing leaves it as it is.
        robot_name: Namespace of the driver.
        topic_joint_states: Below the namespace.
        timeout_s: How long to wait for the driver, and for each answer [s].

    Raises:
        ArmUnavailable: No driver answers.
    """

    def __init__(
        self,
        node: Node,
        robot_name: str,
        *,
        topic_joint_states: str = "joint_states",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.node, self.robot_name, self.timeout_s = node, robot_name, timeout_s
        self._arrived = threading.Condition()
        self._states: tuple[float, Any, JointState] | None = None  # when, by both clocks
        prefix = f"/{self.robot_name}"
        self.node.create_subscription(
            JointState, f"{prefix}/{topic_joint_states}", self._on_states, QUEUE_DEPTH
        )
        self._group = self.node.create_publisher(
            JointGroupCommand, f"{prefix}/commands/joint_group", QUEUE_DEPTH
        )
        self._single = self.node.create_publisher(
            JointSingleCommand, f"{prefix}/commands/joint_single", QUEUE_DEPTH
        )
        self._clients = {
            name: self.node.create_client(service, f"{prefix}/{name}")
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
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="driver_client", daemon=True)
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
                f"/{self.robot_name} has sent no joint states for {STALE_S} s. "
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
        by_clock = (self.node.get_clock().now() - states[1]).nanoseconds * 1e-9
        if by_clock > STALE_S or time.monotonic() - states[0] > self.timeout_s:
            return None
        return states[2]

    @property
    def received_s(self) -> float:
        """When joint states came last, by our monotonic clock [s]; minus infinity before the first."""
        return float("-inf") if self._states is None else self._states[0]

    def robot_info(self, cmd_type: str, name: str) -> Any:
        """Facts about a "group" or a "single" joint; a `RobotInfo.Response`."""
        return self.call("get_robot_info", RobotInfo.Request(cmd_type=cmd_type, name=name))

    def set_mode(
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
        self.call("set_operating_modes", request)

    def torque(self, cmd_type: str, name: str, *, enable: bool) -> None:
        """Torque on or off; without it the arm falls."""
        request = TorqueEnable.Request(cmd_type=cmd_type, name=name, enable=enable)
        self.call("torque_enable", request)

    def reboot(self, cmd_type: str, name: str, *, enable: bool, smart_reboot: bool = False) -> None:
        """Restart motors, with `smart_reboot` only those in error; `enable` puts the torque on afterwards.

        Without `enable` the motors that were restarted have no torque.
        """
        request = Reboot.Request(
            cmd_type=cmd_type, name=name, enable=enable, smart_reboot=smart_reboot
        )
        self.call("reboot_motors", request)

    def set_register(self, cmd_type: str, name: str, register: str, value: int) -> None:
        """Write a register of the motors."""
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=register, value=value)
        self.call("set_motor_registers", request)

    def registers(self, cmd_type: str, name: str, register: str) -> list[int]:
        """Read a register of the motors. The vendor's driver stops at the first motor that does not answer."""
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=register)
        return list(self.call("get_motor_registers", request).values)

    def write_group(self, group: str, commands: Sequence[float]) -> None:
        """Command every joint of a group, in the unit of its mode."""
        self._group.publish(JointGroupCommand(name=group, cmd=[float(c) for c in commands]))

    def write_single(self, joint: str, command: float) -> None:
        """Command one joint, in the unit of its mode."""
        self._single.publish(JointSingleCommand(name=joint, cmd=float(command)))

    def sleep(self, duration_s: float) -> None:
        """Wait by the node's clock.

        Raises:
            ArmUnavailable: The clock is a simulated one that has stopped.
        """
        clock = self.node.get_clock()
        end = clock.now() + Duration(nanoseconds=round(duration_s * 1e9))
        deadline = time.monotonic() + duration_s + self.timeout_s
        while (left := (end - clock.now()).nanoseconds * 1e-9) > 0.0:
            if time.monotonic() > deadline and self.newest is None:
                raise ArmUnavailable(
                    f"/clock has stood still for {self.timeout_s:g} s. "
                    "See whether the simulated driver still runs."
                )
            time.sleep(min(left, 0.01))

    def close(self) -> None:
        """Leave the driver; the arm holds its last target. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._thread.join(timeout=5.0)  # before the executor goes, which the thread still uses
        self._executor.shutdown(timeout_sec=2.0)

    def call(self, name: str, request: Any) -> Any:
        """Call a service of the driver and wait for its answer.

        Raises:
            ArmUnavailable: No answer.
        """
        answered = threading.Event()
        future = self._clients[name].call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(self.timeout_s):
            self._clients[name].remove_pending_request(future)
            raise ArmUnavailable(
                f"/{self.robot_name}/{name} did not answer within {self.timeout_s:g} s. "
                "See whether the driver still runs; the arm holds its last target."
            )
        return future.result()

    def _spin(self) -> None:
        with contextlib.suppress(
            ExternalShutdownException
        ):  # the next call says that nothing comes
            while not self._closed:
                self._executor.spin_once(timeout_sec=SPIN_S)

    def _on_states(self, message: JointState) -> None:
        with self._arrived:
            self._states = (time.monotonic(), self.node.get_clock().now(), message)
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
                f"No XS driver answers at /{self.robot_name} within {self.timeout_s:g} s; missing: "
                f"{', '.join(missing)}. Start one (`make robot-sim` for the simulated one), and see that "
                "ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE are the same on both sides."
            )

    def _has_states(self) -> bool:
        return self._states is not None
