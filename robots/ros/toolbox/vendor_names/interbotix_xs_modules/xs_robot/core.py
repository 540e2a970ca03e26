"""What the vendor has under this name, from our toolbox."""

from robots.ros.toolbox.core import InterbotixRobotXSCore

__all__ = ["InterbotixRobotXSCore"]
