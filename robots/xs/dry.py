"""A dry run: the whole loop with the real driver and camera, and nothing is sent to the arm."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from robots.conventions import ARM_JOINTS, JOINT_VELOCITY
from robots.xs.feeds import JointMessage
from robots.xs.gripper_linkage import angle_from_finger, finger_from_angle
from robots.xs.images import RawImage
from robots.xs.interface import GRIPPER, MOTORS
from robots.xs.link import Peers, RobotFacts, XsLink

log = logging.getLogger(__name__)

FINGER_M_S = 0.05
"""Speed of a finger that seems to move."""
LONGEST_STEP_S = 0.1
"""Most time between two joint states that counts as motion."""


class DryLink:
    """An `XsLink` through which nothing goes to the arm, while its joint states look as if it followed.

    Images, the other clients on the network and what the driver reports are the real ones; what would be written is
    remembered, and read back.

    Args:
        link: The real connection.
    """

    def __init__(self, link: XsLink) -> None:
        self._link = link
        self._arm: np.ndarray | None = None
        self._goal: np.ndarray | None = None
        self._finger_m = self._finger_goal_m = 0.0
        self._stamp_s = 0.0
        self._announced = False
        self._modes: dict[str, str] = {}
        self._written: dict[tuple[str, str], int] = {}

    def listen(
        self,
        on_joints: Callable[[JointMessage], None],
        on_image: Callable[[RawImage], None],
        on_tick: Callable[[], None],
    ) -> None:
        """Call back, with joint states as if the arm followed."""
        self._link.listen(lambda message: on_joints(self._moved(message)), on_image, on_tick)

    def open(self, timeout_s: float) -> None:
        """Wait until the driver is there."""
        self._link.open(timeout_s)
        if not self._announced:
            log.warning("This is a dry run: nothing is sent to the arm.")
        self._announced = True

    def peers(self) -> Peers:
        """Who else is on the network now."""
        return self._link.peers()

    def send_arm(self, joints: np.ndarray) -> None:
        """Remember a set-point `(6,)` [rad]."""
        self._goal = joints.copy()

    def send_gripper(self, angle: float) -> None:
        """Remember a set-point for the gripper's servo [rad]."""
        self._finger_goal_m = finger_from_angle(angle)

    def facts(self, kind: str, name: str) -> RobotFacts:
        """What the driver reports, in the mode that would have been set."""
        facts = self._link.facts(kind, name)
        if name not in self._modes:
            return facts
        return replace(facts, mode=self._modes[name], profile="time")

    def registers(self, kind: str, name: str, register: str) -> list[int]:
        """What would have been written, else what the driver reads."""
        if (name, register) in self._written:
            return [self._written[name, register]]
        return self._link.registers(kind, name, register)

    def set_register(self, kind: str, name: str, register: str, value: int) -> None:
        """Remember a value."""
        for servo in _servos(kind, name):
            self._written[servo, register] = value

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        """Remember a mode."""
        self._modes[name] = mode

    def torque(self, kind: str, name: str, *, enable: bool) -> None:
        """Remember the torque."""
        self.set_register(kind, name, "Torque_Enable", int(enable))

    def reboot(self, name: str) -> None:
        """Remember that a motor would be without error."""
        self._written[name, "Hardware_Error_Status"] = 0
        self._written[name, "Torque_Enable"] = 1

    def close(self) -> None:
        """Leave."""
        self._link.close()

    def _moved(self, message: JointMessage) -> JointMessage:
        """The message as if the arm had followed; one that is malformed, or of an arm that was not sent, as it is."""
        arm, names = len(ARM_JOINTS), message.names
        if names[:arm] != ARM_JOINTS or not {GRIPPER, "left_finger"} <= set(names):
            return message
        gripper, finger = names.index(GRIPPER), names.index("left_finger")
        if self._goal is None or self._arm is None:
            self._arm, self._finger_m = message.positions[:arm].copy(), message.positions[finger]
            self._finger_goal_m = float(self._finger_m)
            self._stamp_s = message.stamp_s
            return message
        passed = float(np.clip(message.stamp_s - self._stamp_s, 0.0, LONGEST_STEP_S))
        self._stamp_s = message.stamp_s
        step = np.clip(self._goal - self._arm, -JOINT_VELOCITY * passed, JOINT_VELOCITY * passed)
        self._arm = self._arm + step
        reach = FINGER_M_S * passed
        self._finger_m += float(np.clip(self._finger_goal_m - self._finger_m, -reach, reach))
        positions, velocities = message.positions.copy(), message.velocities.copy()
        positions[:arm], velocities[:arm] = self._arm, step / max(passed, 1e-6)
        positions[gripper] = angle_from_finger(float(self._finger_m))
        positions[finger] = self._finger_m
        return replace(message, positions=positions, velocities=velocities)


def _servos(kind: str, name: str) -> tuple[str, ...]:
    if kind == "single":
        return (name,)
    return ARM_JOINTS if name == "arm" else MOTORS
