"""The connection of the toolbox's API: services, command topics and joint states under the vendor's names."""

import atexit
from collections.abc import Mapping, Sequence
from typing import Any

import rclpy
from interbotix_xs_msgs.srv import MotorGains
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robots.errors import ArmUnavailable
from robots.ros.node import TIMEOUT_S, DriverClient
from robots.ros.toolbox.trajectory import TrajectoryPlayer
from robots.xs.models import MODELS

OPEN: list["InterbotixRobotXSCore"] = []
"""Connections that `robot_shutdown` closes."""


class InterbotixRobotNode(Node):
    """A node with the vendor's names for logging."""

    def logdebug(self, message: str) -> None:
        """Log for developers."""
        self.get_logger().debug(message)

    def loginfo(self, message: str) -> None:
        """Log what happens."""
        self.get_logger().info(message)

    def logwarn(self, message: str) -> None:
        """Log a warning."""
        self.get_logger().warning(message)

    def logerror(self, message: str) -> None:
        """Log an error."""
        self.get_logger().error(message)

    def logfatal(self, message: str) -> None:
        """Log an error that ends the program."""
        self.get_logger().fatal(message)


class InterbotixRobotXSCore:
    """Talks to one driver; moves nothing by itself. The vendor's `.core`.

    Args:
        robot_model: "wx250s" or "wx250"; another model has another geometry and is refused.
        robot_name: Namespace of the driver; the model's name if None.
        topic_joint_states: Below the namespace.
        logging_level: Level of the node; INFO if None.
        node_name: Name of a new node.
        node: An existing one to use instead; it must not be spun by anybody else, another robot included.
        args: Taken and not needed, as in the vendor's.
        timeout_s: How long to wait for the driver, and for each answer [s].

    Raises:
        ArmUnavailable: No driver answers, or the model is another one.
    """

    def __init__(
        self,
        robot_model: str,
        robot_name: str | None = None,
        topic_joint_states: str = "joint_states",
        logging_level: LoggingSeverity | None = None,
        node_name: str = "interbotix_robot_manipulation",
        node: Node | None = None,
        args: Any = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        if robot_model not in MODELS:
            raise ArmUnavailable(
                f"{robot_model!r} is not supported: we know the geometry of {' and '.join(MODELS)}, and another arm "
                "would be moved somewhere else. Use the vendor's toolbox for it."
            )
        if node is not None and node.executor is not None:
            raise ArmUnavailable(
                "The node is spun by somebody else, or serves another robot. Leave `node` out: each robot then has its own."
            )
        self.robot_model, self.robot_name = robot_model, robot_name or robot_model
        self._inited = not rclpy.ok()
        if self._inited:
            rclpy.init()
        self._owned = None if node else InterbotixRobotNode(node_name)
        try:
            self.client = DriverClient(
                node or self._owned,
                self.robot_name,
                topic_joint_states=topic_joint_states,
                timeout_s=timeout_s,
            )
        except ArmUnavailable:
            self._leave()
            raise
        self._player = TrajectoryPlayer(self.get_node().get_clock(), self._send_point)
        if logging_level is not None:
            self.get_node().get_logger().set_level(logging_level)
        self._trajectory_of = ("", "")
        # A program that ends without closing would leave a thread in ROS that aborts the interpreter's end.
        OPEN.append(self)
        atexit.register(self.close)

    @property
    def joint_states(self) -> JointState:
        """The newest joint states.

        Raises:
            ArmUnavailable: None for half a second.
        """
        return self.client.joint_states

    def get_node(self) -> Node:
        """The node that talks to the driver."""
        return self.client.node

    def robot_get_joint_states(self) -> JointState:
        """The newest joint states; see `joint_states`."""
        return self.client.joint_states

    def robot_get_single_joint_state(self, name: str) -> dict[str, float]:
        """Position, velocity and effort of one joint."""
        states = self.client.joint_states
        index = list(states.name).index(name)
        return {
            "position": states.position[index],
            "velocity": states.velocity[index],
            "effort": states.effort[index],
        }

    def robot_get_robot_info(self, cmd_type: str, name: str) -> Any:
        """Facts about a "group" or a "single" joint; a `RobotInfo.Response`."""
        return self.client.robot_info(cmd_type, name)

    def robot_set_operating_modes(
        self,
        cmd_type: str,
        name: str,
        mode: str,
        profile_type: str = "velocity",
        profile_velocity: int = 0,
        profile_acceleration: int = 0,
    ) -> None:
        """Change the mode; the joints are without torque meanwhile, so that an arm that is not at rest falls."""
        self.client.set_mode(
            cmd_type, name, mode, profile_type, profile_velocity, profile_acceleration
        )

    def robot_torque_enable(self, cmd_type: str, name: str, enable: bool) -> None:  # noqa: FBT001 - the vendor's signature
        """Torque on or off; without it the arm falls."""
        self.client.torque(cmd_type, name, enable=enable)

    def robot_reboot_motors(
        self,
        cmd_type: str,
        name: str,
        enable: bool,  # noqa: FBT001 - the vendor's signature
        smart_reboot: bool = False,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> None:
        """Restart motors, with `smart_reboot` only those in error; `enable` puts their torque on afterwards."""
        self.client.reboot(cmd_type, name, enable=enable, smart_reboot=smart_reboot)

    def robot_set_motor_registers(self, cmd_type: str, name: str, reg: str, value: int) -> None:
        """Write a register of the motors."""
        self.client.set_register(cmd_type, name, reg, value)

    def robot_get_motor_registers(self, cmd_type: str, name: str, reg: str) -> list[int]:
        """Read a register of the motors; shorter than asked for where a motor does not answer."""
        return self.client.registers(cmd_type, name, reg)

    def robot_set_motor_pid_gains(
        self,
        cmd_type: str,
        name: str,
        kp_pos: int,
        ki_pos: int = 0,
        kd_pos: int = 0,
        k1: int = 0,
        k2: int = 0,
        kp_vel: int = 100,
        ki_vel: int = 1920,
    ) -> None:
        """Set the gains; those of the velocity loop are the servo's own by default, as in the vendor's."""
        request = MotorGains.Request(
            cmd_type=cmd_type,
            name=name,
            kp_pos=kp_pos,
            ki_pos=ki_pos,
            kd_pos=kd_pos,
            k1=k1,
            k2=k2,
            kp_vel=kp_vel,
            ki_vel=ki_vel,
        )
        self.client.call("set_motor_pid_gains", request)

    def robot_write_commands(self, group_name: str, commands: Sequence[float]) -> None:
        """Command every joint of a group, in the unit of its mode."""
        self.client.write_group(group_name, commands)

    def robot_write_joint_command(self, joint_name: str, command: float) -> None:
        """Command one joint, in the unit of its mode."""
        self.client.write_single(joint_name, command)

    def robot_write_trajectory(
        self,
        cmd_type: str,
        name: str,
        traj_type: str,
        raw_traj: Sequence[Mapping[float, Sequence[float]]],
    ) -> None:
        """Play points of "position" [rad] or "velocity" [rad/s], as the mode is, at times [s] from now; does not wait.

        Nothing moves, with a warning, while another one is played or with less than two points.
        """
        points = [(time_s, values) for point in raw_traj for time_s, values in point.items()]
        if self._player.is_playing or len(points) < 2:
            why = "another one is played" if self._player.is_playing else "it needs two points"
            self.get_node().get_logger().warning(f"The trajectory is not played: {why}.")
            return
        self._trajectory_of = (cmd_type, name)
        self._player.play(points)

    def _send_point(self, values: Sequence[float]) -> None:
        kind, name = self._trajectory_of
        if kind == "group":
            self.client.write_group(name, values)
        else:
            self.client.write_single(name, values[0])

    def sleep(self, duration_s: float) -> None:
        """Wait by the node's clock."""
        self.client.sleep(duration_s)

    def close(self) -> None:
        """Leave the driver; the arm holds its last target. May be called twice."""
        if self in OPEN:
            OPEN.remove(self)
            atexit.unregister(self.close)
        self._player.close()
        self.client.close()
        self._leave()

    def _leave(self) -> None:
        if self._owned is not None:
            self._owned.destroy_node()
            self._owned = None
        if self._inited:
            rclpy.try_shutdown()
