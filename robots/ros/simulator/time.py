"""Exact simulated time for one client: its clock is `/clock`, and the simulation waits for it.

Only for a driver with `--clock simulated`. Nothing that drives a real arm imports this module.
"""

import threading
import time
import uuid

from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from robots.conventions import CONTROL_HZ
from robots.errors import ArmFault
from robots.ros.link import RosConfig, RosLink
from robots.ros.ros_arm import RosArm
from robots.ros.simulator.client_progress import HEARTBEAT_S, REPORT_EVERY_S
from robots.safety import SafetyLimits
from robots.xs.clock import ControlClock
from robots.xs.interface import PROGRESS_TOPIC, QUEUE_DEPTH

POLL_S = 0.002
SLOW_S = 60.0
"""What a machine of any speed gets to answer, or to move simulated time on, before the driver counts as gone."""
LEAVE_S = 2
"""What the network gets to carry the last report."""


def simulated_clock_limits() -> SafetyLimits:
    """Limits by a simulated clock: it waits for a process that gets little time, and no arm is at risk."""
    return SafetyLimits(joints_max_age_s=0.3, image_max_age_s=1.0)


class SimulatedTime:
    """A `Timer` that goes by `/clock`, and reports this client's progress to the simulation.

    Between two control periods the simulated time stands still (`pause`, until the next `wait` or `resume`), so
    that what the caller does there takes no simulated time.
    """

    def __init__(self) -> None:
        self._client = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._node: Node | None = None
        self._reported_ns, self._reported_at = 0, time.monotonic()
        self._paused_ns: int | None = None

    def attach(self, node: Node) -> None:
        """Let a node go by `/clock`; call before it makes timers."""
        node.set_parameters([Parameter("use_sim_time", value=True)])
        self._publisher = node.create_publisher(Header, PROGRESS_TOPIC, QUEUE_DEPTH)
        quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Clock, "/clock", self._on_clock, quality)
        self._node = node

    def detach(self) -> None:
        """Leave; the simulation waits no more for this client. Call while the node still exists."""
        if self._node is not None and self._node.context.ok():
            self._publisher.publish(Header(frame_id=self._client))
            self._publisher.wait_for_all_acked(Duration(seconds=LEAVE_S))
        self._node = None

    def now(self) -> float:
        """Simulated time [s]; 0 before `attach`."""
        return self._now_ns() * 1e-9

    def date(self) -> float:
        """Simulated time [s]: messages are stamped by it."""
        return self.now()

    def monotonic(self) -> float:
        """The computer's monotonic time [s]: the network does not go by the simulated one."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Sleep by the computer's clock."""
        time.sleep(duration_s)

    def wait(self, event: threading.Event, until: float) -> bool:
        """Wait until a simulated time.

        Raises:
            ArmFault: Simulated time stands still.
        """
        self.resume()
        was, since = self.now(), time.monotonic()
        while (now := self.now()) < until and not event.wait(POLL_S):
            if now != was:
                was, since = now, time.monotonic()
            elif time.monotonic() - since > SLOW_S:
                raise ArmFault(
                    f"/clock has shown the same time for {SLOW_S:g} s. "
                    "See whether the simulated driver still runs."
                )
        return event.is_set()

    def pause(self) -> None:
        """Let the simulation stand still at the present time."""
        self._set_paused(self._now_ns())

    def resume(self) -> None:
        """End of `pause`."""
        self._set_paused(None)

    def _now_ns(self) -> int:
        return 0 if self._node is None else self._node.get_clock().now().nanoseconds

    def _set_paused(self, at_ns: int | None) -> None:
        with self._lock:
            self._paused_ns = at_ns
        self._report()

    def _on_clock(self, _: Clock) -> None:
        self._report()

    def _report(self) -> None:
        """Report the progress if enough has passed since the last report."""
        with self._lock:
            if self._node is None or not self._node.context.ok():
                return
            seen_ns, real = self._now_ns(), time.monotonic()
            if self._paused_ns is not None:
                seen_ns = min(seen_ns, self._paused_ns)
            moved = abs(seen_ns - self._reported_ns) >= REPORT_EVERY_S * 1e9
            if moved or real - self._reported_at >= HEARTBEAT_S:
                self._reported_ns, self._reported_at = seen_ns, real
                stamp = Time(sec=seen_ns // 10**9, nanosec=seen_ns % 10**9)
                self._publisher.publish(Header(frame_id=self._client, stamp=stamp))


def simulated_time_arm(
    config: RosConfig | None = None,
    *,
    image_size: tuple[int, int] = (192, 256),
    limits: SafetyLimits | None = None,
    ready_s: float = SLOW_S,
) -> RosArm:
    """An arm whose control periods last exactly 0.2 s of simulated time, however slow the machine is.

    Args:
        config: Where driver and camera are.
        image_size: Height and width that images are scaled to [px].
        limits: The limits to keep.
        ready_s: How long to wait for driver and camera [s].
    """
    timer = SimulatedTime()
    link = RosLink(config or RosConfig(), extension=timer, answer_s=SLOW_S)
    clock = ControlClock(1.0 / CONTROL_HZ, timer, after_period=timer.pause, after_stop=timer.resume)
    return RosArm(
        link=link,
        image_size=image_size,
        limits=limits or simulated_clock_limits(),
        ready_s=ready_s,
        timer=timer,
        clock=clock,
    )
