"""What the wrapper adds to `info`: the same keys, all floats, in every step and at the reset.

Vector environments fix the type of an entry by its first value, hence NaN where there is no score.
"""

import math
from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np

from roboreward_gym.types import ProgressScore

LEVEL = "roboreward/level"
EXPECTED = "roboreward/expected"
SUCCESS_PROBABILITY = "roboreward/success_probability"
ENTROPY = "roboreward/entropy"
OFF_FORMAT = "roboreward/off_format"
ENV_REWARD = "roboreward/env_reward"
SCORED = "roboreward/scored"

INFO_KEYS = (LEVEL, EXPECTED, SUCCESS_PROBABILITY, ENTROPY, OFF_FORMAT, ENV_REWARD, SCORED)

PENDING = "roboreward/pending"
REWARD = "roboreward/reward"

DEFERRED_KEYS = (PENDING, REWARD)
"""There with deferred scoring only: whether a score is still to come, and the reward it came to."""


class NoScore(np.float64):
    """NaN that equals itself.

    Gymnasium's `check_env` steps twice and compares what it got by `==`, which a plain NaN fails. Of
    NumPy's type, because vector environments then make an array of floats of it and not of objects.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoScore)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, NoScore)

    def __hash__(self) -> int:
        return hash(NoScore)


NO_SCORE = NoScore("nan")


def score_info(score: ProgressScore | None, env_reward: SupportsFloat) -> dict[str, float]:
    """The entries of one step; an unreadable score counts as none."""
    judged = score is not None and score.level is not None
    entries = {
        LEVEL: score.level if judged else NO_SCORE,
        EXPECTED: score.expected if judged else NO_SCORE,
        SUCCESS_PROBABILITY: score.success_probability if judged else NO_SCORE,
        ENTROPY: score.entropy if judged else NO_SCORE,
        OFF_FORMAT: score.off_format if judged else NO_SCORE,
        ENV_REWARD: float(env_reward),
        SCORED: float(judged),
    }
    return {key: NO_SCORE if math.isnan(value) else float(value) for key, value in entries.items()}


def late_info(reward: float = NO_SCORE, *, pending: bool = False) -> dict[str, float]:
    """The entries that deferred scoring adds."""
    return {PENDING: float(pending), REWARD: NO_SCORE if math.isnan(reward) else float(reward)}


def batch_info(entries: Sequence[dict[str, float]], present: np.ndarray) -> dict[str, np.ndarray]:
    """The entries of all environments in Gymnasium's way: arrays, and masks under `_key`.

    Args:
        entries: The same keys for each environment.
        present: `(num_envs,)` bool; which of them stepped or were reset. Others have zeros.
    """
    infos: dict[str, np.ndarray] = {}
    for key in entries[0]:
        values = np.array([float(entry[key]) for entry in entries])
        infos[key] = np.where(present, values, 0.0)
        infos[f"_{key}"] = present.copy()
    return infos
