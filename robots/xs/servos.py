"""The servos before motion: the right arm, modes, errors, torque and profile."""

import logging
from collections.abc import Callable

import numpy as np

from robots import safety
from robots.conventions import ARM_JOINTS, CONTROL_HZ, JOINT_LOWER, JOINT_UPPER
from robots.errors import ArmUnavailable
from robots.xs.interface import ARM_MODE, GRIPPER_MODE, OVERLOAD, SLEEP_JOINTS
from robots.xs.link import RobotFacts, XsLink

log = logging.getLogger(__name__)

MOVING_S, ACCELERATION_S = 1.25 / CONTROL_HZ, 0.5 / CONTROL_HZ
"""How long the servos take for a set-point, and for the ramps of it: as in BridgeData's robot."""
LIMITS_DIFFER_RAD = 0.1
"""A driver whose limits differ by more from ours drives another arm."""


def prepare_servos(link: XsLink, read_arm: Callable[[], np.ndarray]) -> None:
    """Make the servos ready for set-points at the control rate; nothing moves.

    What takes the torque away from a joint that has it is done in the sleep pose only.

    Args:
        link: To the driver.
        read_arm: Gives the measured joints `(6,)` [rad].

    Raises:
        ArmUnavailable: Another arm, or servos that need a person.
        MotionRefused: A mode would have to change where the arm would fall.
    """
    arm = link.facts("group", "arm")
    check_arm_facts(arm)
    for kind, name, mode in wrong_modes(arm, link.facts("single", "gripper")):
        safety.check_may_drop(read_arm(), SLEEP_JOINTS)
        link.set_mode(kind, name, mode)
    mend_servos(link, read_arm)
    if not all(link.registers("Torque_Enable")):
        link.torque(enable=True)
    link.set_register("Profile_Velocity", round(MOVING_S * 1000))
    link.set_register("Profile_Acceleration", round(ACCELERATION_S * 1000))


def check_arm_facts(facts: RobotFacts) -> None:
    """Raise `ArmUnavailable` unless the driver drives the arm that our kinematics are of."""
    if facts.joints != ARM_JOINTS:
        raise ArmUnavailable(
            f"Expected a driver of the joints {', '.join(ARM_JOINTS)}, in this order, got "
            f"{', '.join(facts.joints) or 'none'}. Launch it with robot_model:=wx250s."
        )
    for name, limits, ours in (
        ("lower", facts.lower, JOINT_LOWER),
        ("upper", facts.upper, JOINT_UPPER),
    ):
        if limits.shape != ours.shape or not np.isfinite(limits).all():
            raise ArmUnavailable(
                f"Expected {len(ours)} {name} joint limits from the driver, got {limits}. "
                "Restart it, and look at its log."
            )
        if (np.abs(limits - ours) > LIMITS_DIFFER_RAD).any():
            raise ArmUnavailable(
                f"Expected the {name} joint limits {ours} of a wx250s, got {limits}. "
                "Launch the driver with robot_model:=wx250s."
            )


def wrong_modes(arm: RobotFacts, gripper: RobotFacts) -> list[tuple[str, str, str]]:
    """Operating modes to change before motion, each as kind, name and mode."""
    wrong = []
    if (arm.mode, arm.profile) != (ARM_MODE, "time"):
        wrong.append(("group", "arm", ARM_MODE))
    if gripper.mode != GRIPPER_MODE:
        wrong.append(("single", "gripper", GRIPPER_MODE))
    return wrong


def mend_servos(link: XsLink, read_arm: Callable[[], np.ndarray]) -> None:
    """Restart servos that an overload switched off. Anything else needs a person.

    Raises:
        ArmUnavailable: An error of another kind, or one that comes back.
        MotionRefused: The arm would fall.
    """
    status = link.registers("Hardware_Error_Status")
    failed = [joint for joint, bits in zip(ARM_JOINTS, status, strict=True) if bits]
    if not failed:
        return
    on = link.registers("Torque_Enable")
    if any(bits and torque for bits, torque in zip(status, on, strict=True)):
        # Their restart takes a torque away that is still there.
        safety.check_may_drop(read_arm(), SLEEP_JOINTS)
    if any(bits & ~OVERLOAD for bits in status):
        raise ArmUnavailable(
            f"Expected servos without errors, got Hardware_Error_Status {status} of {ARM_JOINTS}. "
            "Support the arm, switch the power off, let it cool, and look at voltage and cables."
        )
    log.warning("Overload in %s: restarting the servos.", ", ".join(failed))
    link.reboot_failed()
    if any(link.registers("Hardware_Error_Status")):
        raise ArmUnavailable(
            f"Expected {', '.join(failed)} without an error after a restart, got another one. "
            "Support the arm and switch the power off."
        )
