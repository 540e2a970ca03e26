"""WidowX 250S environments, simulated now and real later; importing this registers their ids."""

import gymnasium as gym

from robots.gl import choose_gl

choose_gl()  # MuJoCo reads its choice when it is first imported, so it must be made before

gym.register(
    id="WidowXToyOnTowel-v0", entry_point="robots.simulated:make_toy_on_towel", max_episode_steps=40
)
gym.register(id="WidowXDrawer-v0", entry_point="robots.simulated:make_drawer", max_episode_steps=24)
