"""The connection to an XS driver and a camera, as `XsArm` needs it; real in `robots.ros.ros_arm`, in memory in tests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robots.errors import ArmUnavailable, MotionRefused
from robots.xs.clock import Timer
from robots.xs.feeds import JointMessage
from robots.xs.images import RawImage


@dataclass(frozen=True, eq=False)
class RobotFacts:
    """What the driver says about a group of motors.

    Attributes:
        mode: Operating mode.
        profile: Profile type, "time" or "velocity".
        joints: Names in the order of commands.
        lower: Lower limit of each [rad].
        upper: Upper limit of each [rad].
    """

    mode: str
    profile: str
    joints: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Peers:
    """Who else is on the network.

    Attributes:
        drivers: How many publish the arm's joint states.
        others: How many others can send commands to the arm.
        simulated: Whether the driver says that it is a simulation.
    """

    drivers: int
    others: int
    simulated: bool


class XsLink(Protocol):
    """A connection. Making one moves nothing, and nothing is sent unasked.

    Calls that wait for an answer raise `ArmUnavailable` if none comes.
    """

    def listen(
        self,
        on_joints: Callable[[JointMessage], None],
        on_image: Callable[[RawImage], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Call back on every message, and on a tick of `TICK_S`, from one thread."""
        ...

    def open(self, timeout_s: float) -> None:
        """Wait until the driver is there; returns at once if it is."""
        ...

    def peers(self) -> Peers:
        """Who else is on the network now."""
        ...

    def send_arm(self, joints: np.ndarray) -> None:
        """Send a set-point `(6,)` [rad]; does not wait."""
        ...

    def send_gripper(self, pwm: float) -> None:
        """Send PWM to the gripper, plus opens; does not wait."""
        ...

    def facts(self, kind: str, name: str) -> RobotFacts:
        """What the driver says about a "group" or a "single" motor."""
        ...

    def registers(self, register: str) -> list[int]:
        """A register of each joint of the arm."""
        ...

    def set_register(self, register: str, value: int) -> None:
        """Write a register of every joint of the arm."""
        ...

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Change an operating mode; the motors lose their torque for a moment."""
        ...

    def torque(self, *, enable: bool) -> None:
        """Torque of the arm on, holding where it is, or off."""
        ...

    def reboot_failed(self) -> None:
        """Restart the arm's motors that are in error, and put their torque on."""
        ...

    def close(self) -> None:
        """Leave; the arm holds its last set-point. May be called twice."""
        ...


TICK_S = 0.02
"""Period of the ticks [s]: of the gripper's controller and of the watch."""
GHOST_S = 30.0
"""How long the network may list a process that was killed: Fast DDS forgets it after 20 s."""
INTRODUCTION_S = 5.0
"""How long the network may take to tell that a driver is a simulation."""


def check_peers(peers: Peers, *, watched: bool) -> None:
    """Refuse to drive an arm that somebody else drives, or that nobody watches.

    Raises:
        ArmUnavailable: Two drivers, or another client.
        MotionRefused: The arm is real and nobody said that they watch it.
    """
    if peers.drivers != 1:
        raise ArmUnavailable(
            f"Expected one driver that publishes joint states, got {peers.drivers}. "
            "Stop the others, or give each robot a ROS_DOMAIN_ID of its own."
        )
    if peers.others:
        raise ArmUnavailable(
            f"Expected nobody else to command the arm, got {peers.others} other client(s). Stop them: "
            "two set-points in turn shake the arm."
        )
    if not (watched or peers.simulated):
        raise MotionRefused(
            "Expected somebody beside the arm with a hand at its power switch, got no word of it. "
            "Pass --i-am-watching (in Python: watched=True) if that is so."
        )


def await_peers(link: XsLink, timer: Timer, *, watched: bool) -> None:
    """Make sure that the arm is ours and may move; the network knows some things late.

    Raises:
        ArmUnavailable: Two drivers, or another client, for longer than a crashed one is still listed.
        MotionRefused: The arm is real and nobody said that they watch it.
    """
    began = timer.real()
    while True:
        try:
            return check_peers(link.peers(), watched=watched)
        except (ArmUnavailable, MotionRefused) as error:
            patience = INTRODUCTION_S if isinstance(error, MotionRefused) else GHOST_S
            if timer.real() - began > patience:
                raise
        timer.pause(0.1)
