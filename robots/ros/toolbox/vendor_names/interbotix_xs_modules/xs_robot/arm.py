"""What the vendor has under this name, from our toolbox."""

from robots.ros.toolbox.arm import InterbotixArmXSInterface
from robots.ros.toolbox.robot import InterbotixManipulatorXS

__all__ = ["InterbotixArmXSInterface", "InterbotixManipulatorXS"]
