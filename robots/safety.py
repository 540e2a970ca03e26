"""The safety layer: pure functions through which every target passes, simulated or real.

Limits are checked on poses (workspace box), joints (range with margin) and steps (velocity). A target that cannot
be made safe is not executed: the arm holds where it is.
"""

from dataclasses import dataclass, field

import numpy as np

from robots.errors import InvalidAction, UnreachablePose
from robots.layout import ACTION_DIM, CONTROL_HZ, JOINT_LOWER, JOINT_UPPER, JOINT_VELOCITY


def _box_low() -> np.ndarray:
    return np.array([0.10, -0.25, 0.022])


def _box_high() -> np.ndarray:
    return np.array([0.45, 0.25, 0.30])


@dataclass(frozen=True, eq=False)
class SafetyLimits:
    """What the arm may do.

    Attributes:
        box_low: `(3,)` lowest x, y, z [m] of the end effector; z stays above the table.
        box_high: `(3,)` highest x, y, z [m].
        tilt_rad: Largest roll and pitch away from gripper-down.
        yaw_rad: Largest yaw either way.
        joint_margin_rad: Distance kept from the joint limits.
        velocity_fraction: Fraction of the vendor's joint velocity limit.
    """

    box_low: np.ndarray = field(default_factory=_box_low)
    box_high: np.ndarray = field(default_factory=_box_high)
    tilt_rad: float = 0.5
    yaw_rad: float = 1.57
    joint_margin_rad: float = 0.03
    velocity_fraction: float = 0.9

    def __post_init__(self) -> None:
        if not (self.box_low < self.box_high).all():
            raise UnreachablePose(
                f"Expected box_low < box_high, got {self.box_low} and {self.box_high}."
            )


def check_action(action: np.ndarray) -> np.ndarray:
    """Return the action `(7,)` clipped to [-1, 1].

    Raises:
        InvalidAction: Wrong shape, or NaN or infinity. Nothing has moved.
    """
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (ACTION_DIM,):
        raise InvalidAction(f"Expected an action of shape ({ACTION_DIM},), got {action.shape}.")
    if not np.isfinite(action).all():
        raise InvalidAction(
            f"Expected finite actions in [-1, 1], got {action}. The arm holds; check the policy."
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
            f"Expected a position between {limits.box_low} and {limits.box_high} m, got {position}. "
            "Choose another pose, or widen SafetyLimits if the workspace allows it."
        )


def clamp_pose(
    position: np.ndarray, euler: np.ndarray, limits: SafetyLimits
) -> tuple[np.ndarray, np.ndarray]:
    """Pull a target position `(3,)` [m] and roll, pitch, yaw `(3,)` [rad] into the allowed set."""
    bound = np.array([limits.tilt_rad, limits.tilt_rad, limits.yaw_rad])
    return np.clip(position, limits.box_low, limits.box_high), np.clip(euler, -bound, bound)


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
    margin = limits.joint_margin_rad
    if (joints < JOINT_LOWER + margin).any() or (joints > JOINT_UPPER - margin).any():
        return None
    largest_step = limits.velocity_fraction * JOINT_VELOCITY / CONTROL_HZ
    return current + np.clip(joints - current, -largest_step, largest_step)
