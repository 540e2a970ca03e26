"""The safety layer: pure functions through which every target and every reading passes, simulated or real.

Limits are checked on poses (workspace box), joints (range with margin) and steps (velocity). A target that cannot
be made safe is not executed: the arm holds where it is. A reading that cannot be trusted ends the episode.
`robots.guard` puts the last two checks between the environment and every arm.
"""

from dataclasses import dataclass, field

import numpy as np

from robots.arm import ArmReading
from robots.conventions import (
    ACTION_DIM,
    ARM_JOINTS,
    CONTROL_HZ,
    JOINT_LOWER,
    JOINT_UPPER,
    JOINT_VELOCITY,
    rotation_from_euler,
)
from robots.errors import ArmFault, InvalidAction, MotionRefused, UnreachablePose

READING_SLACK_RAD = 0.2
"""How far past its limits a joint may be read: soft limits give way, encoders are offset."""
FINGER_POINTS = np.array(
    [
        [x, y * side, z * edge]
        for x, y, z in ((0.0205, 0.034, 0.012), (0.0125, 0.041, 0.011), (-0.0326, 0.06, 0.012))
        for side in (-1, 1)
        for edge in (-1, 1)
    ]
)
"""`(12, 3)` [m] corners of the open fingers and of the bar that they slide on, in the frame of the end effector."""
BOX_SLACK_M = 2e-3
"""How exactly inverse kinematics reaches a pose."""
STEP_SLACK_RAD = 1e-6
"""For rounding in the sum of many steps."""


def _box_low() -> np.ndarray:
    return np.array([0.10, -0.25, 0.022])


def _box_high() -> np.ndarray:
    return np.array([0.45, 0.25, 0.30])


def _effort_limit() -> np.ndarray:
    # BridgeData's robot stops at 1.7 times what its joints draw in normal work.
    return 1.7 * np.array([800.0, 1000.0, 600.0, 600.0, 600.0, 700.0])


@dataclass(frozen=True, eq=False)
class SafetyLimits:
    """What the arm may do.

    Attributes:
        box_low: `(3,)` lowest x, y, z [m] of the end effector; z stays above the table.
        box_high: `(3,)` highest x, y, z [m].
        tilt_rad: Largest roll and pitch away from gripper-down.
        yaw_rad: Largest yaw either way.
        table_m: Height [m] that no part of the open fingers may go below.
        joint_margin_rad: Distance kept from the joint limits.
        velocity_fraction: Fraction of the vendor's joint velocity limit.
        joints_max_age_s: Joint states older than this stop the arm.
        image_max_age_s: Images older than this end the episode.
        effort_limit_ma: `(6,)` [mA] that a servo may draw for longer than a moment.
    """

    box_low: np.ndarray = field(default_factory=_box_low)
    box_high: np.ndarray = field(default_factory=_box_high)
    tilt_rad: float = 0.5
    yaw_rad: float = 1.57
    table_m: float = 0.0
    joint_margin_rad: float = 0.03
    velocity_fraction: float = 0.9
    joints_max_age_s: float = 0.1
    image_max_age_s: float = 0.5
    effort_limit_ma: np.ndarray = field(default_factory=_effort_limit)

    @property
    def largest_step_rad(self) -> float:
        """Most that a joint target may change in one control period."""
        return self.velocity_fraction * JOINT_VELOCITY / CONTROL_HZ

    def __post_init__(self) -> None:
        if not (self.box_low < self.box_high).all():
            raise UnreachablePose(
                f"box_low must be below box_high, got {self.box_low} and {self.box_high}."
            )


def check_action(action: np.ndarray) -> np.ndarray:
    """Return the action `(7,)` clipped to [-1, 1].

    Raises:
        InvalidAction: No numbers, wrong shape, or NaN or infinity. Nothing has moved.
    """
    try:
        action = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidAction(f"An action is {ACTION_DIM} numbers, got {action!r}.") from error
    if action.shape != (ACTION_DIM,):
        raise InvalidAction(f"An action has the shape ({ACTION_DIM},), got {action.shape}.")
    if not np.isfinite(action).all():
        raise InvalidAction(
            f"Actions must be finite, got {action}. The arm holds; check the policy."
        )
    return np.clip(action, -1.0, 1.0)


def check_pose(position: np.ndarray, limits: SafetyLimits) -> None:
    """Raise `UnreachablePose` if a position `(3,)` [m] asked for by a person lies outside the box."""
    if (
        not np.isfinite(position).all()
        or (position < limits.box_low).any()
        or (position > limits.box_high).any()
    ):
        raise UnreachablePose(
            f"The position must be between {limits.box_low} and {limits.box_high} m, got {position}. "
            "Choose another pose, or widen SafetyLimits if the workspace allows it."
        )


def clamp_pose(
    position: np.ndarray, euler: np.ndarray, limits: SafetyLimits
) -> tuple[np.ndarray, np.ndarray]:
    """Pull a target position `(3,)` [m] and roll, pitch, yaw `(3,)` [rad] into the allowed set.

    The box bounds the end effector, a point between the fingers. A tilted gripper reaches lower, so it is raised
    until its open fingers are above the table.
    """
    bound = np.array([limits.tilt_rad, limits.tilt_rad, limits.yaw_rad])
    position, euler = (
        np.clip(position, limits.box_low, limits.box_high),
        np.clip(euler, -bound, bound),
    )
    deepest = lowest_finger(position, rotation_from_euler(euler))
    position[2] += max(0.0, limits.table_m - deepest)
    return position, euler


def is_allowed(position: np.ndarray, rotation: np.ndarray, limits: SafetyLimits) -> bool:
    """Whether a pose `(3,)` [m] and `(3, 3)` is in the box, and its open fingers above the table."""
    slack = BOX_SLACK_M
    inside = (position >= limits.box_low - slack) & (position <= limits.box_high + slack)
    return bool(inside.all()) and lowest_finger(position, rotation) >= limits.table_m - slack


def lowest_finger(position: np.ndarray, rotation: np.ndarray) -> float:
    """Height [m] of the lowest point of the open fingers, for a pose `(3,)` [m] and `(3, 3)` of the end effector."""
    return float(position[2] + (FINGER_POINTS @ rotation.T)[:, 2].min())


def safe_joints(
    joints: np.ndarray | None, current: np.ndarray, limits: SafetyLimits
) -> np.ndarray | None:
    """Joints `(6,)` [rad] that may be commanded for one control period, or None: hold.

    Args:
        joints: What inverse kinematics gave; None if it found nothing.
        current: `(6,)` [rad], the last commanded joints.
        limits: The limits to keep.
    """
    if joints is None or not np.isfinite(joints).all():
        return None
    if not within_limits(joints, limits):
        return None
    largest_step = limits.largest_step_rad
    return current + np.clip(joints - current, -largest_step, largest_step)


def within_limits(joints: np.ndarray, limits: SafetyLimits) -> bool:
    """Whether joints `(6,)` [rad] are inside their ranges, less the margin."""
    margin = limits.joint_margin_rad
    return bool((joints >= JOINT_LOWER + margin).all() and (joints <= JOINT_UPPER - margin).all())


def check_target(
    joints: np.ndarray, previous: np.ndarray | None, limits: SafetyLimits
) -> np.ndarray:
    """Return joints `(6,)` [rad] that an arm may be sent to in one control period.

    Args:
        joints: The target.
        previous: `(6,)` [rad], the last target; None for a slow move, where a step has no meaning.
        limits: The limits to keep.

    Raises:
        MotionRefused: Another shape, not finite, past a joint limit, or too far for one period.
    """
    if joints.shape != (len(ARM_JOINTS),) or not np.isfinite(joints).all():
        raise MotionRefused(
            f"A target is {len(ARM_JOINTS)} finite joint positions [rad], got {joints}."
        )
    if not within_limits(joints, limits):
        raise MotionRefused(
            f"Joints must stay {limits.joint_margin_rad} rad inside their limits, got {joints}. "
            "Pass targets through safe_joints() first."
        )
    if previous is not None:
        step = np.abs(joints - previous).max()
        if step > limits.largest_step_rad + STEP_SLACK_RAD:
            raise MotionRefused(
                f"A step must be at most {limits.largest_step_rad:.3f} rad, got {step:.3f}. "
                "Pass targets through safe_joints() first."
            )
    return joints


def check_reading(reading: ArmReading, limits: SafetyLimits) -> ArmReading:
    """Return a reading that can be trusted.

    Raises:
        ArmFault: It is stale, not finite, impossible, or of an arm that strains against something.
    """
    for name, age, oldest in (
        ("The joint state", reading.joints_age_s, limits.joints_max_age_s),
        ("The image", reading.image_age_s, limits.image_max_age_s),
    ):
        # Not `age > oldest`, which is False for NaN.
        if not age <= oldest:
            raise ArmFault(
                f"{name} must be at most {oldest} s old, got {age:.2f} s. The arm holds."
            )
    check_joints_possible(reading.joints)
    if reading.effort_ma is not None:
        check_effort(reading.effort_ma, limits)
    return reading


def check_joints_possible(joints: np.ndarray) -> None:
    """Raise `ArmFault` if measured joints `(6,)` [rad] are not finite, or where no arm can be."""
    if not np.isfinite(joints).all():
        raise ArmFault(f"Joint positions must be finite, got {joints}. The arm holds.")
    slack = READING_SLACK_RAD
    if (joints < JOINT_LOWER - slack).any() or (joints > JOINT_UPPER + slack).any():
        raise ArmFault(
            f"Joint positions must be inside their limits, got {joints}. The arm holds; "
            "check the order of the joints and the calibration."
        )


def check_effort(effort_ma: np.ndarray, limits: SafetyLimits) -> None:
    """Raise `ArmFault` if a servo draws more than its limit, `(6,)` [mA]: the arm pushes against something."""
    if not np.isfinite(effort_ma).all():
        raise ArmFault(f"Efforts must be finite, got {effort_ma}. The arm holds.")
    over = np.abs(effort_ma) > limits.effort_limit_ma
    if over.any():
        worst = int(np.argmax(np.abs(effort_ma) / limits.effort_limit_ma))
        raise ArmFault(
            f"{ARM_JOINTS[worst]} may draw at most {limits.effort_limit_ma[worst]:.0f} mA, got "
            f"{effort_ma[worst]:.0f} mA. The arm holds; look for what it pushes against."
        )


def near(joints: np.ndarray, pose: np.ndarray, tolerance_rad: float) -> bool:
    """Whether measured joints `(6,)` [rad] are at a pose."""
    return bool(np.isfinite(joints).all() and np.abs(joints - pose).max() <= tolerance_rad)


def check_torque_off_is_safe(
    joints: np.ndarray, sleep: np.ndarray, tolerance_rad: float = 0.2
) -> None:
    """Refuse what takes the torque away, unless joints `(6,)` [rad] are at the sleep pose.

    That is torque off, a reboot of motors, and every change of the operating mode.

    Raises:
        MotionRefused: The arm is somewhere else and would fall.
    """
    if not near(joints, sleep, tolerance_rad):
        raise MotionRefused(
            f"The arm would fall without torque: its joints are {joints}, the sleep pose is {sleep}. "
            "Bring it to the sleep pose first, or support it by hand."
        )
