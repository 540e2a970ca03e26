"""What stands between the environment and every arm: nothing unsafe goes down, nothing stale comes up."""

import numpy as np

from robots import safety
from robots.arm import Arm, ArmReading
from robots.errors import ArmFault, CameraError
from robots.safety import SafetyLimits


class Guard:
    """An `Arm` that checks every target and every reading of another one, and stops it in doubt.

    It changes no number: a simulated arm behaves bit-exactly as it does without.
    """

    def __init__(self, arm: Arm, limits: SafetyLimits) -> None:
        self._arm, self._limits = arm, limits
        self._previous: np.ndarray | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the camera's images in pixels."""
        return self._arm.image_size

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        """Bring the arm to its start, joints `(6,)` [rad] and gripper 0..1, if it lies within the limits."""
        self._previous = None
        self._arm.reset(safety.check_target(joints, None, self._limits), gripper)
        self._previous = joints.copy()

    def read(self) -> ArmReading:
        """Read the joints.

        Raises:
            ArmFault: The reading cannot be trusted; the arm holds.
        """
        try:
            return safety.check_reading(self._arm.read(), self._limits)
        except ArmFault:
            self._previous = None  # only a reset goes on from here
            self._arm.hold()
            raise

    def move(self, joints: np.ndarray, gripper: float) -> None:
        """Move for one control period towards joints `(6,)` [rad], if the arm is in order and the target is near.

        Raises:
            ArmFault: The arm is not in order; it holds.
            MotionRefused: The target is past the limits; the arm holds.
        """
        if self._previous is None:
            raise ArmFault("The arm holds. Call reset() before move().")
        self.read()
        safety.check_target(joints, self._previous, self._limits)
        self._arm.move(joints, gripper)
        self._previous = joints.copy()

    def hold(self) -> None:
        """Stop where the arm is."""
        self._arm.hold()

    def camera(self) -> np.ndarray:
        """The newest image, `(H, W, 3)` uint8 RGB.

        Raises:
            CameraError: It has another shape or dtype.
        """
        image = self._arm.camera()
        expected = (*self.image_size, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise CameraError(
                f"The camera must return uint8 images of shape {expected}, got {image.dtype} {image.shape}."
            )
        return image

    def close(self) -> None:
        """Close the arm."""
        self._arm.close()
