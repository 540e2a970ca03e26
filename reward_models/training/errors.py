"""Errors of fine-tuning."""

from roboreward_gym.errors import RoboRewardError


class InvalidTrainingData(RoboRewardError, ValueError):
    """Data that cannot be trained on."""


class TrainingFailure(RoboRewardError, RuntimeError):
    """Training cannot go on; the last checkpoint is whole."""
