"""What the wrapper adds to `info`: the same keys, all floats, in every step and at the reset.

Vector environments fix the type of an entry by its first value, hence NaN where there is no score.
"""

import math
from typing import SupportsFloat

import numpy as np

from roboreward_gym.scoring import ProgressScore

LEVEL = "roboreward/level"
EXPECTED = "roboreward/expected"
SUCCESS_PROBABILITY = "roboreward/success_probability"
ENTROPY = "roboreward/entropy"
OFF_FORMAT = "roboreward/off_format"
ENV_REWARD = "roboreward/env_reward"
SCORED = "roboreward/scored"

INFO_KEYS = (LEVEL, EXPECTED, SUCCESS_PROBABILITY, ENTROPY, OFF_FORMAT, ENV_REWARD, SCORED)


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
