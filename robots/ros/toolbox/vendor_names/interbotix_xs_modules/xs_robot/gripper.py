"""What the vendor has under this name, from our toolbox."""

from robots.ros.toolbox.gripper import InterbotixGripperXSInterface

__all__ = ["InterbotixGripperXSInterface"]
