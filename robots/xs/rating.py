"""At the end of an episode on a real table the operator is asked how it went."""

import math
from typing import Any

import gymnasium as gym
import numpy as np

from robots.xs.table import RealTable

Observation = dict[str, np.ndarray]


class AskRating(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Puts the operator's rating into the `truth/...` entries of the last step; NaN if they do not know.

    Outside of the time limit, which ends episodes. Over a simulated table it does nothing.
    """

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Step; after the last one of an episode the arm rests and the operator is asked."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        scene = getattr(self.env.unwrapped, "scene", None)
        if (terminated or truncated) and isinstance(scene, RealTable):
            info = {**info, **rating_info(scene.rate())}
            reward = info["truth/success"]
        return observation, float(reward), terminated, truncated, info


def rating_info(level: int | None) -> dict[str, float]:
    """The entries of `info` about a rating 1..5; NaN for an unknown one."""
    if level is None:
        return {"truth/level": math.nan, "truth/success": math.nan}
    return {"truth/level": float(level), "truth/success": float(level == 5)}
