"""The WidowX over ROS 2: joins the link over ROS 2 to what `XsArm` does with it."""

import atexit
from typing import Any

from robots.ros.link import RosConfig, RosLink
from robots.xs.arm import XsArm


class RosArm(XsArm):
    """The `Arm` over ROS 2.

    Args:
        config: Where driver and camera are.
        link: The connection; made from `config` if None.
        settings: As of `XsArm`.
    """

    def __init__(
        self,
        config: RosConfig | None = None,
        *,
        link: RosLink | None = None,
        **settings: Any,
    ) -> None:
        self.link = link or RosLink(config or RosConfig())
        super().__init__(self.link, **settings)
        # A program that ends without closing, by an error for example, would leave an arm under torque, and
        # a thread in ROS that aborts the interpreter's end.
        atexit.register(self.close)

    def close(self) -> None:
        """Go to sleep if the arm was moved, and leave."""
        atexit.unregister(self.close)
        super().close()
