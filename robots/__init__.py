"""WidowX 250S environments, simulated and over ROS 2; importing this registers their ids."""

import gymnasium as gym
from gymnasium.envs.registration import WrapperSpec

from robots.catalogue import TASKS
from robots.gl import choose_gl

choose_gl()  # MuJoCo reads its choice when it is first imported, so it must be made before

# The operator is asked outside of the time limit, which ends an episode.
RATING = (WrapperSpec("AskRating", "robots.xs.rating:AskRating", {}),)

for _entry in TASKS:
    gym.register(
        id=f"{_entry.env}-v0",
        entry_point="robots.environments.simulated:make",
        max_episode_steps=_entry.max_episode_steps,
        kwargs={"name": _entry.name},
    )
    # The same over ROS 2. On a real table the true level is unknown, and the checker warns of a reward of NaN.
    gym.register(
        id=f"{_entry.env}Ros-v0",
        entry_point="robots.environments.over_ros:make",
        max_episode_steps=_entry.max_episode_steps,
        kwargs={"name": _entry.name},
        disable_env_checker=True,
        additional_wrappers=RATING,
    )
