"""The written interface of state and action: BridgeData V2's conventions for the WidowX 250S.

State `(7,)` float32: x, y, z [m] of the end effector in the base frame (x forward, y left, z up), roll, pitch,
yaw [rad] relative to the gripper pointing down, gripper opening in 0 (closed) .. 1 (open).

Action `(7,)` float32 in [-1, 1]: change of x, y, z (times 0.05 m) and of roll, pitch, yaw (times 0.25 rad, about
the world axes), added to the *previous target*, not to the measured pose, so that tracking errors do not pile up;
last the gripper, absolute, -1 closed .. 1 open.
"""

import numpy as np
from scipy.spatial.transform import Rotation

CONTROL_HZ = 5.0  # BridgeData V2
STATE_DIM = 7
ACTION_DIM = 7
MAX_STEP_M = 0.05  # BridgeData V2's action bounds
MAX_STEP_RAD = 0.25

STATE_LOW = np.array([-1.0, -1.0, -1.0, -np.pi, -np.pi, -np.pi, 0.0], np.float32)
STATE_HIGH = np.array([1.0, 1.0, 1.0, np.pi, np.pi, np.pi, 1.0], np.float32)
"""Bounds of the observation space: the arm is 0.7 m long."""

ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
JOINT_LOWER = np.array(
    [-3.14158, -1.88496, -2.14675, -3.14158, -1.74533, -3.14158]
)  # [rad], vendor
JOINT_UPPER = np.array([3.14158, 1.98968, 1.60570, 3.14158, 2.14675, 3.14158])  # [rad], vendor
JOINT_VELOCITY = np.pi  # [rad/s], vendor, every arm joint
NEUTRAL_JOINTS = np.array([0.0, -0.5, 0.6, 0.0, 1.4, 0.0])
"""Joints [rad] above the table with the gripper down, out of the way. Inverse kinematics starts from them at every
reset, so that the elbow bends the same way."""
FINGER_CLOSED_M, FINGER_OPEN_M = 0.015, 0.037  # centre to one finger, vendor

GRIPPER_DOWN = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
"""Rotation of the end effector that counts as zero roll, pitch and yaw."""

LANDMARKS = ("gripper", "duck", "block", "towel", "plate", "left_handle", "right_handle")
"""Things whose image position is known in simulation; training labels only, never an observation."""


def euler_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw `(3,)` [rad] of a `(3, 3)` end-effector rotation, relative to gripper-down."""
    return Rotation.from_matrix(rotation @ GRIPPER_DOWN.T).as_euler("xyz")


def rotation_from_euler(euler: np.ndarray) -> np.ndarray:
    """Inverse of `euler_from_rotation`: `(3, 3)` from roll, pitch, yaw `(3,)` [rad]."""
    return Rotation.from_euler("xyz", euler).as_matrix() @ GRIPPER_DOWN


def rotated(rotation: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Turn a `(3, 3)` rotation by roll, pitch, yaw `(3,)` [rad] about the world axes."""
    return Rotation.from_euler("xyz", delta).as_matrix() @ rotation


def turned_by(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Inverse of `rotated`: roll, pitch, yaw `(3,)` [rad] about the world axes from one rotation to another."""
    return Rotation.from_matrix(after @ before.T).as_euler("xyz")


def finger_from_gripper(gripper: float) -> float:
    """Finger joint [m] for an opening in 0..1."""
    return FINGER_CLOSED_M + float(np.clip(gripper, 0.0, 1.0)) * (FINGER_OPEN_M - FINGER_CLOSED_M)


def gripper_from_finger(finger_m: float) -> float:
    """Opening in 0..1 for a finger joint [m]."""
    return float(
        np.clip((finger_m - FINGER_CLOSED_M) / (FINGER_OPEN_M - FINGER_CLOSED_M), 0.0, 1.0)
    )
