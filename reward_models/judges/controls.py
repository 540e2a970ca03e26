"""Null judges: what an arm of an experiment earns when its reward carries no information."""

from collections.abc import Sequence

import numpy as np

from roboreward_gym.errors import InvalidScore
from roboreward_gym.scoring import LEVELS, Clip, ProgressScore


class ConstantReward:
    """Gives every clip the same level: a learner that still improves learns from something else.

    Args:
        level: The answer, 1..5.

    Raises:
        InvalidScore: The level is not one of the rubric's.
    """

    def __init__(self, level: int = 3) -> None:
        if level not in LEVELS:
            raise InvalidScore(f"Expected a level in 1..5, got {level!r}. Pass one of {LEVELS}.")
        self.level = level

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer the constant for each clip."""
        probabilities = np.eye(len(LEVELS))[self.level - 1]
        return [
            ProgressScore(
                level=self.level,
                probabilities=probabilities.copy(),
                text=f"ANSWER: {self.level}",
                manifest={"model": f"constant-{self.level}"},
            )
            for _ in clips
        ]
