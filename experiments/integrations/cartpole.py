"""The environment of all these programs: a pole, filmed, and judged at the end of each episode."""

import gymnasium as gym

from roboreward_gym import VLMRewardWrapper
from roboreward_gym.types import RewardModel

TASK = "balance the pole"
STEPS = 40
"""Most steps of an episode; CartPole itself pays 1 for each of them."""


def make_env(judge: RewardModel | str) -> VLMRewardWrapper:
    """CartPole whose reward is the judge's, in 0..1, once at the end of an episode.

    Args:
        judge: The judge or its name.
    """
    env = gym.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=STEPS)
    # Of each episode 8 frames are rendered at most: what RoboReward looks at.
    return VLMRewardWrapper(env, judge, TASK, max_frames=8)
