"""Errors of the robot side: what is wrong, then what to do."""

from roboreward_gym.errors import RoboRewardError, RobotFaultEpisode


class InvalidAction(RoboRewardError, ValueError):
    """An action of the wrong shape, or with NaN; the arm has not moved."""


class UnreachablePose(RoboRewardError, ValueError):
    """A pose outside the workspace box or without an inverse-kinematics solution."""


class CameraError(RoboRewardError, RuntimeError):
    """No image could be made."""


class ArmFault(RobotFaultEpisode):
    """The arm was stopped in the middle of an episode; it holds, and the next reset recovers it."""


class ArmUnavailable(RoboRewardError, ConnectionError):
    """There is no arm that may be driven: no driver, the wrong one, or somebody else drives it."""


class MotionRefused(RoboRewardError, PermissionError):
    """A motion that nobody allowed: a real arm without an operator, or a target past the limits."""


class NoTruth(RoboRewardError, LookupError):
    """Nobody knows the true state: there is a real table under the arm, and not a simulated one."""


class DiskError(RoboRewardError, OSError):
    """A file that cannot be written, most often because the disk is full; the message names it."""
