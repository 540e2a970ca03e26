"""WidowX 250S environments, simulated and over ROS 2; importing this registers their ids."""

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from robots.gl import choose_gl

choose_gl()  # MuJoCo reads its choice when it is first imported, so it must be made before

gym.register(
    id="WidowXToyOnTowel-v0",
    entry_point="robots.environments.simulated:make_toy_on_towel",
    max_episode_steps=40,
)
gym.register(
    id="WidowXDrawer-v0",
    entry_point="robots.environments.simulated:make_drawer",
    max_episode_steps=24,
)
# The operator is asked outside of the time limit, which ends an episode.
RATING = (WrapperSpec("AskRating", "robots.xs.rating:AskRating", {}),)

# The same over ROS 2. On a real table the true level is unknown, and the checker warns of a reward of NaN.
gym.register(
    id="WidowXToyOnTowelRos-v0",
    entry_point="robots.environments.over_ros:make_toy_on_towel",
    max_episode_steps=40,
    disable_env_checker=True,
    additional_wrappers=RATING,
)
gym.register(
    id="WidowXDrawerRos-v0",
    entry_point="robots.environments.over_ros:make_drawer",
    max_episode_steps=24,
    disable_env_checker=True,
    additional_wrappers=RATING,
)
