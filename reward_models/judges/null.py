"""Null reward models: their rewards carry no information about success."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from reward_models.protocol.frames import wanted_indices
from roboreward_gym.errors import InvalidScore, InvalidSetting
from roboreward_gym.types import LEVELS, Clip, ProgressScore

FULL_S = 8.0
"""Duration that the clock takes for a whole episode in [s]: 40 steps at 5 Hz, as toy-on-towel."""

# Half-way between the parts of an episode, 10, 30, 50, 70 and 100 %, that RoboReward's truncated clips with the
# levels 1 to 5 consist of.
CLOCK_BOUNDS = (0.2, 0.4, 0.6, 0.85)


class ConstantReward:
    """Gives every clip the same level: a learner that still improves learns from something else.

    Args:
        level: The answer, 1..5.

    Raises:
        InvalidScore: The level is not one of the rubric's.
    """

    def __init__(self, level: int = 3) -> None:
        if level not in LEVELS:
            raise InvalidScore(f"level must be one of {LEVELS}, got {level!r}.")
        self.level = level

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer the constant for each clip."""
        return [certain(self.level, f"constant-{self.level}") for _ in clips]


class RandomReward:
    """Gives a random level, which has nothing to do with success.

    The level depends on the clip and the seed, and not on what was asked before: the same episode
    gets the same score again, in any order and any process.

    Args:
        seed: Another seed gives other levels.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Draw a level for each clip."""
        return [certain(self._level(clip), f"random-{self.seed}") for clip in clips]

    def _level(self, clip: Clip) -> int:
        # Of the frames only those that no thinning drops.
        total = clip.num_frames or len(clip.frames)
        kept = np.arange(total) if clip.indices is None else clip.indices
        places = np.searchsorted(kept, wanted_indices(total, clip.fps))
        frames = clip.frames[np.unique(places)]
        asked = f"{self.seed}|{clip.task}|{float(clip.fps)!r}|{total}|{frames.shape}|"
        digest = hashlib.sha256(asked.encode())
        digest.update(np.ascontiguousarray(frames).data)
        # The bias of the remainder is below 1e-18.
        return LEVELS[int.from_bytes(digest.digest()[:8], "big") % len(LEVELS)]


class ClockReward:
    """Scores by duration alone: the longer, the better, whatever happens in the pictures.

    A model that is hardly better than this one may have learned how long a success takes.

    Args:
        full_s: Duration in [s] from which on a clip counts as complete.

    Raises:
        InvalidSetting: The duration is not above 0.
    """

    def __init__(self, full_s: float = FULL_S) -> None:
        if not (math.isfinite(full_s) and full_s > 0):
            raise InvalidSetting(f"full_s must be above 0 s, got {full_s}.")
        self.full_s = full_s

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Read each clip's level off its duration."""
        parts = [clip.duration_s / self.full_s for clip in clips]
        levels = [1 + sum(part >= bound for bound in CLOCK_BOUNDS) for part in parts]
        return [certain(level, f"clock-{self.full_s:g}s") for level in levels]


def certain(level: int, model: str) -> ProgressScore:
    """Return the score of a model that has no doubt."""
    return ProgressScore(
        level=level,
        probabilities=np.eye(len(LEVELS))[level - 1],
        text=f"ANSWER: {level}",
        manifest={"model": model},
    )
