"""The three sources of reward that are compared: a judge, the truth, a constant.

All three go through `VLMRewardWrapper`, so that the learner's side of the run is the same code and
only the answers differ. The truth enters the learner in one place only: `TrueLevel`.
"""

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym

from experiments.config import CONSTANT, TRUTH, ExperimentConfig
from roboreward_gym import Clip, ProgressScore, RewardModel, VLMRewardWrapper

TRUTH_KEYS = ("truth/success", "truth/level")
CONSTANT_LEVEL = 3


class ConstantReward:
    """Says the same of every episode: the control arm, from which nothing can be learned."""

    def __init__(self, level: int = CONSTANT_LEVEL) -> None:
        self.level = level

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer `level`, whatever the clip shows."""
        return [ProgressScore(self.level, text=f"constant {self.level}") for _ in clips]


class TrueLevel:
    """Reads the level from the simulator's state instead of the frames: the oracle arm.

    It is no judge: it answers about the state that the environment is in *now*, so it is right only
    for the episode that has just ended, which is when the wrapper asks.
    """

    def __init__(self, env: gym.Env) -> None:
        self._env = env.unwrapped

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer with the true level of the present state for each clip's command."""
        return [ProgressScore(self._env.level(clip.task), text="truth") for clip in clips]


class BlindTruth(gym.Wrapper):
    """Replaces the environment's reward and its truth by NaN.

    Under a judge this must change nothing: whatever still uses the truth turns into NaN as well,
    and shows. The honesty tests train on it.
    """

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, with the truth hidden."""
        observation, info = self.env.reset(**kwargs)
        return observation, _hide(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, with reward and truth hidden."""
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, math.nan, terminated, truncated, _hide(info)


def _hide(info: dict[str, Any]) -> dict[str, Any]:
    return {**info, **{key: math.nan for key in info if key.startswith("truth/")}}


def make_env(env_id: str) -> gym.Env:
    """The bare environment, with frames; its own reward is the truth."""
    return gym.make(env_id, render_mode="rgb_array")


def reward_model_for(name: str, env: gym.Env) -> RewardModel | str:
    """The judge of an arm; a name that is not ours is left to the plugin to resolve."""
    if name == TRUTH:
        return TrueLevel(env)
    return ConstantReward() if name == CONSTANT else name


def with_reward(env: gym.Env, config: ExperimentConfig) -> VLMRewardWrapper:
    """Wrap `env` so that its reward is that of the configured arm."""
    judge = reward_model_for(config.reward_model, env)
    return VLMRewardWrapper(env, judge, reward_map=config.reward_map)


def training_env(config: ExperimentConfig, *, blind: bool = False) -> VLMRewardWrapper:
    """The environment the learner sees.

    Args:
        config: The experiment.
        blind: Hide the truth from info too; then it cannot be reported either.
    """
    env = make_env(config.env_id)
    return with_reward(BlindTruth(env) if blind else env, config)
