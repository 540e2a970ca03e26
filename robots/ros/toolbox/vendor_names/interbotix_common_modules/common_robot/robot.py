"""What the vendor has under this name, from our toolbox."""

from robots.ros.toolbox.core import InterbotixRobotNode
from robots.ros.toolbox.robot import (
    create_interbotix_global_node,
    get_interbotix_global_node,
    interbotix_is_up,
    robot_shutdown,
    robot_startup,
)

__all__ = [
    "InterbotixRobotNode",
    "create_interbotix_global_node",
    "get_interbotix_global_node",
    "interbotix_is_up",
    "robot_shutdown",
    "robot_startup",
]
