"""Errors of the policies: each message says what is wrong and what to do."""

from roboreward_gym.errors import RoboRewardError


class InvalidDemos(RoboRewardError, ValueError):
    """Demonstration arrays that are missing, cut short or do not fit together."""


class InvalidObservation(RoboRewardError, ValueError):
    """An image or state that the policy cannot take."""


class RunMismatch(RoboRewardError, ValueError):
    """A run folder that was made from another config, or that holds a run already."""
