"""The seam between the environment and a robot: simulated, real, or fake in tests."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class ArmReading:
    """Joints, gripper and current of the servos now, and how old that is.

    Attributes:
        joints: `(6,)` [rad].
        gripper: Opening in 0..1.
        joints_age_s: Time since the joints were like that.
        image_age_s: Time since the newest image was taken.
        effort_ma: `(6,)` [mA] that the servos draw; None for an arm that has no servos.
    """

    joints: np.ndarray
    gripper: float
    joints_age_s: float = 0.0
    image_age_s: float = 0.0
    effort_ma: np.ndarray | None = None


class Arm(Protocol):
    """Six position-controlled joints, a gripper and a camera. Constructors move nothing.

    Callers pass only targets that went through `robots.safety`; `move` blocks for one control period.
    """

    image_size: tuple[int, int]
    """Height and width of the camera's images in pixels."""

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        """Bring the arm to `joints` `(6,)` [rad] and `gripper` 0..1 before an episode."""
        ...

    def read(self) -> ArmReading:
        """Measured joints and gripper."""
        ...

    def move(self, joints: np.ndarray, gripper: float) -> None:
        """Drive towards `joints` `(6,)` [rad] and `gripper` 0..1 for one control period."""
        ...

    def hold(self) -> None:
        """Stop where the arm is, and stay there."""
        ...

    def camera(self) -> np.ndarray:
        """The newest image, `(H, W, 3)` uint8 RGB; the caller may keep it."""
        ...

    def close(self) -> None:
        """Leave the arm at rest and release the connection; may be called twice."""
        ...
