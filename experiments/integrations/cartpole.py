"""The environment of all these programs: a pole, recorded, and scored at the end of each episode."""

import gymnasium as gym

from roboreward_gym import VLMRewardWrapper
from roboreward_gym.types import RewardModel

TASK = "balance the pole"
STEPS = 40
"""Most steps of an episode; CartPole itself returns 1 for each of them."""


def make_env(reward_model: RewardModel | str) -> VLMRewardWrapper:
    """CartPole whose reward is the reward model's, in 0..1, once at the end of an episode.

    Each end is a termination, also that of the time limit: the score is the whole return, and a
    trainer must not add the value of what might have followed.

    Args:
        reward_model: The reward model or its name.
    """
    env = gym.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=STEPS)
    # Ten frames per second instead of fifty: RoboReward looks at two, and at eight of them at most.
    return VLMRewardWrapper(env, reward_model, TASK, record_fps=10, ending="terminated")
