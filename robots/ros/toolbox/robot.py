"""The API of the vendor's Python toolbox, over our own kinematics: `InterbotixManipulatorXS`.

Code written for the toolbox runs on it, against the simulated driver or the real one. What differs, on purpose:

- the constructor moves nothing and writes nothing. The vendor's sets operating modes, which drops the arm; here
  the profile is written with the first move, and the gripper is put into PWM mode by its first use;
- no call waits for ever: without a driver there is an `ArmUnavailable` after `timeout_s`;
- trajectories are streamed from here: the driver's own player stops at whole seconds. `set_ee_cartesian_trajectory` tries
  the whole way before it begins;
- one node serves one robot;
- no `modern_robotics`.
"""

from typing import Any

import rclpy
from rclpy.logging import LoggingSeverity
from rclpy.node import Node

from robots.errors import ArmUnavailable
from robots.ros.node import TIMEOUT_S
from robots.ros.toolbox.arm import InterbotixArmXSInterface
from robots.ros.toolbox.core import OPEN, InterbotixRobotNode, InterbotixRobotXSCore
from robots.ros.toolbox.gripper import PWM_HIGH, PWM_LOW, InterbotixGripperXSInterface

GLOBAL_NODES: list[InterbotixRobotNode] = []
"""Made by `create_interbotix_global_node`."""


class InterbotixManipulatorXS:
    """An arm with a gripper: `.arm`, `.gripper` and `.core`.

    Args:
        robot_model: "wx250s" or "wx250".
        group_name: Group of the arm's joints.
        gripper_name: Joint of the gripper; None for an arm without one.
        robot_name: Namespace of the driver; the model's name if None.
        moving_time: Length of a move [s].
        accel_time: Length of its ramps [s].
        gripper_pressure: 0..1.
        gripper_pressure_lower_limit: PWM at pressure 0.
        gripper_pressure_upper_limit: PWM at pressure 1.
        topic_joint_states: Below the namespace.
        logging_level: Level of the node; INFO if None.
        node_name: Name of the node that talks to the driver.
        node: An existing one to use instead.
        iterative_update_fk: Taken and not needed: forward kinematics are computed when they are asked for.
        args: Taken and not needed, as in the vendor's.
        timeout_s: How long to wait for the driver [s].

    Raises:
        ArmUnavailable: No driver answers.
    """

    def __init__(
        self,
        robot_model: str,
        group_name: str = "arm",
        gripper_name: str | None = "gripper",
        robot_name: str | None = None,
        moving_time: float = 2.0,
        accel_time: float = 0.3,
        gripper_pressure: float = 0.5,
        gripper_pressure_lower_limit: float = float(PWM_LOW),
        gripper_pressure_upper_limit: float = float(PWM_HIGH),
        topic_joint_states: str = "joint_states",
        logging_level: LoggingSeverity | None = None,
        node_name: str = "robot_manipulation",
        node: Node | None = None,
        iterative_update_fk: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
        args: Any = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.core = InterbotixRobotXSCore(
            robot_model,
            robot_name,
            topic_joint_states=topic_joint_states,
            logging_level=logging_level,
            node_name=node_name,
            node=node,
            timeout_s=timeout_s,
        )
        try:
            self.arm = InterbotixArmXSInterface(
                self.core, robot_model, group_name, moving_time, accel_time
            )
        except ArmUnavailable:
            self.core.close()
            raise
        if gripper_name is not None:
            self.gripper = InterbotixGripperXSInterface(
                self.core,
                gripper_name,
                gripper_pressure,
                gripper_pressure_lower_limit,
                gripper_pressure_upper_limit,
            )

    def get_node(self) -> Node:
        """The node that talks to the driver."""
        return self.core.get_node()

    def __enter__(self) -> "InterbotixManipulatorXS":
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        """Leave the driver; the arm holds its last target."""
        self.core.close()


def create_interbotix_global_node(
    node_name: str = "interbotix_robot_manipulation", namespace: str | None = None
) -> InterbotixRobotNode:
    """A node to pass to a robot as `node`; `robot_shutdown` destroys it."""
    if not rclpy.ok():
        rclpy.init()
    node = InterbotixRobotNode(node_name, namespace=namespace)
    GLOBAL_NODES.append(node)
    return node


def get_interbotix_global_node() -> InterbotixRobotNode | None:
    """The node that `create_interbotix_global_node` has made last; None before."""
    return GLOBAL_NODES[-1] if GLOBAL_NODES else None


def interbotix_is_up() -> bool:
    """Whether a robot listens to its driver."""
    return bool(OPEN)


def robot_startup(
    node: Node | None = None,
    node_name: str = "interbotix_robot_manipulation",
    namespace: str | None = None,
) -> None:
    """Does nothing: the constructor has begun to listen. Here so that the toolbox's scripts run."""


def robot_shutdown(node: Node | None = None) -> None:
    """Leave every driver and end ROS in this process, as the toolbox's function does; arms hold their last target."""
    for core in list(OPEN):
        core.close()
    while GLOBAL_NODES:
        GLOBAL_NODES.pop().destroy_node()
    rclpy.try_shutdown()
