"""The connection to an XS driver and a camera, as `XsArm` needs it; over ROS 2 in `robots.ros.link`, in memory in tests."""

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
    """What the driver reports about a group of motors.

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
        others: How many others can send commands to the arm, to a group, a single joint, or as a trajectory.
        simulated: Whether the driver offers the services of a simulation.
        cameras: How many publish images on our topic.
    """

    drivers: int
    others: int
    simulated: bool
    cameras: int = 1


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

    def send_gripper(self, angle: float) -> None:
        """Send a set-point for the gripper's servo [rad]; does not wait."""
        ...

    def facts(self, kind: str, name: str) -> RobotFacts:
        """What the driver reports about a "group" or a "single" motor."""
        ...

    def registers(self, kind: str, name: str, register: str) -> list[int]:
        """Read a register of a "group" or a "single" motor.

        The vendor's driver stops at the first motor that does not answer: the list may be short, or empty.
        """
        ...

    def set_register(self, kind: str, name: str, register: str, value: int) -> None:
        """Write a register; the driver does not report whether that worked."""
        ...

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Change an operating mode; the motors lose their torque for a moment."""
        ...

    def torque(self, kind: str, name: str, *, enable: bool) -> None:
        """Torque on, holding where the joint is, or off."""
        ...

    def reboot(self, name: str) -> None:
        """Restart one motor, and put its torque on."""
        ...

    def close(self) -> None:
        """Leave; the arm holds its last set-point. May be called twice."""
        ...


TICK_S = 0.02
"""Period of the ticks of the watch [s]."""
DISCOVERY_S = 2.0
"""How long the network may take to list a client that started at the same time."""
GHOST_S = 30.0
"""How long the network may list a process that was killed: Fast DDS forgets it after 20 s."""
INTRODUCTION_S = 5.0
"""How long the network may take to list a simulation's services."""


def check_peers(peers: Peers, *, watched: bool) -> None:
    """Refuse to drive an arm that somebody else drives, or that nobody watches.

    Raises:
        ArmUnavailable: Two drivers, another client, or two cameras on one topic.
        MotionRefused: The arm is real and nobody watches it.
    """
    if peers.drivers != 1:
        raise ArmUnavailable(
            f"{peers.drivers} drivers publish joint states where one is needed. "
            "Stop the others, or give each robot a ROS_DOMAIN_ID of its own."
        )
    check_only_client(peers)
    if not (watched or peers.simulated):
        raise MotionRefused(
            "This is a real arm, and nobody has confirmed to stand beside it with a hand at its power "
            "switch. Pass --i-am-watching (in Python: watched=True) if that is so."
        )


def check_only_client(peers: Peers) -> None:
    """Raise `ArmUnavailable` if somebody else commands the arm or publishes on the camera's topic."""
    if peers.drivers > 1:
        raise ArmUnavailable(f"{peers.drivers} drivers publish joint states. Stop the others.")
    if peers.others > 0:
        raise ArmUnavailable(
            f"{peers.others} other client(s) can command the arm. Stop them: two set-points in turn "
            "shake the arm."
        )
    if peers.cameras > 1:
        raise ArmUnavailable(
            f"{peers.cameras} cameras publish on one topic, and their images would mix. Stop the "
            "others, or give each a topic of its own."
        )


def await_peers(link: XsLink, timer: Timer, *, watched: bool, unshared_s: float = 0.0) -> None:
    """Make sure that the arm is ours and may move; the network lists some things late.

    Args:
        link: To the driver.
        timer: The clock.
        watched: Somebody stands beside the arm with a hand at its power switch.
        unshared_s: For how long no other client may be listed before the arm counts as ours [s].

    Raises:
        ArmUnavailable: Somebody else, for longer than a crashed one is still listed.
        MotionRefused: The arm is real and nobody watches it.
    """
    began = since = timer.monotonic()
    while True:
        try:
            check_peers(link.peers(), watched=watched)
            if timer.monotonic() - since >= unshared_s:
                return
        except (ArmUnavailable, MotionRefused) as error:
            patience = INTRODUCTION_S if isinstance(error, MotionRefused) else GHOST_S
            if timer.monotonic() - began > patience:
                raise
            since = timer.monotonic()
        timer.sleep(0.1)
