"""The servos before motion: the right arm, modes, errors, torque, profile and current.

Every answer of the driver is checked for what it may lack: a servo that cannot be read counts neither as well nor
as holding, and what is written is read back.
"""

import logging
from collections.abc import Callable, Iterable

import numpy as np

from robots import safety
from robots.conventions import ARM_JOINTS, CONTROL_HZ, JOINT_LOWER, JOINT_UPPER
from robots.errors import ArmUnavailable
from robots.xs.clock import Timer
from robots.xs.interface import (
    ARM_GROUP,
    ARM_MODE,
    CURRENT_UNIT_MA,
    GRIPPER,
    GRIPPER_CURRENT_MA,
    GRIPPER_MODE,
    OVERLOAD,
    SERVOS,
    SLEEP_JOINTS,
)
from robots.xs.link import RobotFacts, XsLink

log = logging.getLogger(__name__)

MOVING_S, ACCELERATION_S = 1.25 / CONTROL_HZ, 0.5 / CONTROL_HZ
"""How long the servos take for a set-point, and for the ramps of it: as in BridgeData's robot."""
PROFILE = {
    "Profile_Velocity": round(MOVING_S * 1000),
    "Profile_Acceleration": round(ACCELERATION_S * 1000),
}
"""Registers of the arm's servos [ms]."""
GRIPPER_CURRENT = {"Goal_Current": round(GRIPPER_CURRENT_MA / CURRENT_UNIT_MA)}
MAX_LIMIT_DIFFERENCE_RAD = 0.1
"""A driver whose limits differ by more from ours drives another arm."""
TRIES, RETRY_S = 3, 0.1
"""How often a servo is asked, and the time between [s]: a read on the bus fails now and then."""


def prepare_servos(link: XsLink, read_arm: Callable[[], np.ndarray], timer: Timer) -> None:
    """Make the servos ready for set-points at the control rate; nothing moves.

    What takes the torque away from a joint of the arm that has it is done in the sleep pose only.

    Args:
        link: To the driver.
        read_arm: Gives the measured joints `(6,)` [rad].
        timer: The clock.

    Raises:
        ArmUnavailable: Another arm, servos that do not answer, or servos that need a person.
        MotionRefused: A mode would have to change where the arm would fall.
    """
    check_arm_facts(link.facts("group", ARM_GROUP))
    set_modes(link, read_arm)
    restart_overloaded(link, read_arm, timer)
    enable_torque(link, timer)
    write_registers(link, timer, "group", ARM_GROUP, ARM_JOINTS, PROFILE)
    write_registers(link, timer, "single", GRIPPER, (GRIPPER,), GRIPPER_CURRENT)


def check_arm_facts(facts: RobotFacts) -> None:
    """Raise `ArmUnavailable` unless the driver drives the arm that our kinematics are of."""
    if facts.joints != ARM_JOINTS:
        raise ArmUnavailable(
            f"The driver has the joints {', '.join(facts.joints) or 'none'}, a wx250s has "
            f"{', '.join(ARM_JOINTS)}, in this order. Launch it with robot_model:=wx250s."
        )
    for name, limits, ours in (
        ("lower", facts.lower, JOINT_LOWER),
        ("upper", facts.upper, JOINT_UPPER),
    ):
        if limits.shape != ours.shape or not np.isfinite(limits).all():
            raise ArmUnavailable(
                f"The driver must report {len(ours)} finite {name} joint limits, got {limits}. "
                "Restart it, and look at its log."
            )
        if (np.abs(limits - ours) > MAX_LIMIT_DIFFERENCE_RAD).any():
            raise ArmUnavailable(
                f"The driver reports the {name} joint limits {limits}, those of a wx250s are {ours}. "
                "Launch the driver with robot_model:=wx250s."
            )


def set_modes(link: XsLink, read_arm: Callable[[], np.ndarray]) -> None:
    """Change operating modes that are not ours.

    Raises:
        ArmUnavailable: A mode did not change.
        MotionRefused: The arm would fall.
    """

    def wrong() -> list[tuple[str, str, str]]:
        arm, gripper = link.facts("group", ARM_GROUP), link.facts("single", GRIPPER)
        found = []
        if (arm.mode, arm.profile) != (ARM_MODE, "time"):
            found.append(("group", ARM_GROUP, ARM_MODE))
        if gripper.mode != GRIPPER_MODE:
            found.append(("single", GRIPPER, GRIPPER_MODE))
        return found

    to_change = wrong()
    for kind, name, mode in to_change:
        if name == ARM_GROUP:  # the gripper's torque does not bear the arm
            safety.check_torque_off_is_safe(read_arm(), SLEEP_JOINTS)
        link.set_mode(kind, name, mode)
    if to_change and (left := wrong()):
        raise ArmUnavailable(
            f"The driver did not change the operating mode of {', '.join(name for _, name, _ in left)}. "
            "Look at its log, and restart it."
        )


def read_servos(link: XsLink, timer: Timer, names: Iterable[str], register: str) -> dict[str, int]:
    """Read a register of each servo, each asked on its own.

    The vendor's driver cuts the list of a group short at the first servo that does not answer.

    Raises:
        ArmUnavailable: A servo does not answer.
    """
    return {name: _read_servo(link, timer, name, register) for name in names}


def _read_servo(link: XsLink, timer: Timer, name: str, register: str) -> int:
    for attempt in range(TRIES):
        if attempt:
            timer.sleep(RETRY_S)
        answer = link.registers("single", name, register)
        if len(answer) == 1:
            return answer[0]
    raise ArmUnavailable(
        f"The servo {name} did not answer {TRIES} times when {register} was read. Support the arm, "
        "switch the power off, and look at the cables."
    )


def write_registers(
    link: XsLink,
    timer: Timer,
    kind: str,
    name: str,
    servos: Iterable[str],
    values: dict[str, int],
) -> None:
    """Write registers of a group or a motor, and read them back.

    Raises:
        ArmUnavailable: A servo holds another value afterwards.
    """
    for register, value in values.items():
        wrong: dict[str, int] = {}
        for _ in range(TRIES):
            link.set_register(kind, name, register, value)
            found = read_servos(link, timer, servos, register)
            wrong = {servo: other for servo, other in found.items() if other != value}
            if not wrong:
                break
        else:
            raise ArmUnavailable(
                f"{register} should be {value} and is {wrong} after it was written {TRIES} times. "
                "Restart the driver, and look at its log."
            )


def enable_torque(link: XsLink, timer: Timer) -> None:
    """Put the torque on where it is off; a servo that has it is left alone.

    Raises:
        ArmUnavailable: A servo stays without torque.
    """

    def without() -> list[str]:
        torque = read_servos(link, timer, SERVOS, "Torque_Enable")
        return [name for name, on in torque.items() if not on]

    off = without()
    for name in off:
        link.torque("single", name, enable=True)
    if off and (still := without()):
        raise ArmUnavailable(
            f"The torque of {', '.join(still)} cannot be switched on. Support the arm, switch the power "
            "off and on, and restart the driver."
        )


def restart_overloaded(link: XsLink, read_arm: Callable[[], np.ndarray], timer: Timer) -> None:
    """Restart servos that an overload switched off. Anything else needs a person.

    Raises:
        ArmUnavailable: An error of another kind, or one that comes back.
        MotionRefused: The arm would fall.
    """
    status = read_servos(link, timer, SERVOS, "Hardware_Error_Status")
    failed = {name: bits for name, bits in status.items() if bits}
    if not failed:
        return
    if any(bits & ~OVERLOAD for bits in failed.values()):
        raise ArmUnavailable(
            f"Servos are in error: Hardware_Error_Status is {failed}. "
            "Support the arm, switch the power off, let it cool, and look at voltage and cables."
        )
    of_arm = [name for name in failed if name != GRIPPER]
    if any(read_servos(link, timer, of_arm, "Torque_Enable").values()):
        # Their restart takes a torque away that is still there.
        safety.check_torque_off_is_safe(read_arm(), SLEEP_JOINTS)
    log.warning("Overload in %s: restarting the servos.", ", ".join(failed))
    for name in failed:
        link.reboot(name)
    again = read_servos(link, timer, failed, "Hardware_Error_Status")
    if any(again.values()):
        raise ArmUnavailable(
            f"Servos are in error again after a restart: Hardware_Error_Status is {again}. "
            "Support the arm and switch the power off."
        )
