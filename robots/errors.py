"""Errors of the robot side: expected, got, what to do."""

from roboreward_gym.errors import RoboRewardError


class InvalidAction(RoboRewardError, ValueError):
    """An action of the wrong shape, or with NaN; the arm has not moved."""


class UnreachablePose(RoboRewardError, ValueError):
    """A pose outside the workspace box or without an inverse-kinematics solution."""


class CameraError(RoboRewardError, RuntimeError):
    """No image could be made."""
