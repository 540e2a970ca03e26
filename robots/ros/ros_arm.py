"""The WidowX over ROS 2: joins the link over ROS 2 to what `XsArm` does with it."""

import atexit

from robots.ros.link import RosConfig, RosLink
from robots.safety import SafetyLimits
from robots.xs.arm import READY_S, XsArm
from robots.xs.clock import ControlClock, SystemTimer, Timer
from robots.xs.images import View
from robots.xs.operator import Operator


class RosArm(XsArm):
    """The `Arm` over ROS 2.

    Args:
        config: Where driver and camera are.
        link: The connection; made from `config` if None.
        image_size: Height and width that images are scaled to [px].
        limits: The limits to keep.
        watched: Somebody stands beside the arm with a hand at its power switch; without that only a
            simulated driver moves.
        operator: Whom to ask after a stop, and whose keys stop the arm.
        ready_s: How long to wait for driver and camera [s].
        timer: The clock.
        clock: Of the control periods; made from `timer` if None.
        view: What the camera has to see.
    """

    def __init__(
        self,
        config: RosConfig | None = None,
        *,
        link: RosLink | None = None,
        image_size: tuple[int, int] = (192, 256),
        limits: SafetyLimits | None = None,
        watched: bool = False,
        operator: Operator | None = None,
        ready_s: float = READY_S,
        timer: Timer | None = None,
        clock: ControlClock | None = None,
        view: View | None = None,
    ) -> None:
        self.link = link or RosLink(config or RosConfig())
        super().__init__(
            self.link,
            image_size=image_size,
            limits=limits,
            watched=watched,
            operator=operator,
            ready_s=ready_s,
            timer=timer or SystemTimer(),
            clock=clock,
            view=view,
        )
        # A program that ends without closing, by an error for example, would leave an arm under torque, and
        # a thread in ROS that aborts the interpreter's end.
        atexit.register(self.close)

    def close(self) -> None:
        """Go to sleep if the arm was moved, and leave."""
        atexit.unregister(self.close)
        super().close()
