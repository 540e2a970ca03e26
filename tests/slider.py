"""A tiny environment and a tiny policy for whole experiments."""

from typing import Any

import gymnasium as gym
import numpy as np

from policies.policy import PolicyConfig

ENV_ID = "Slider-v0"
STEPS = 10
TINY = PolicyConfig(maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=2)


class Slider(gym.Env):
    """Push a bar of light to the right; the picture shows how far it went."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    task = "push it to the right"
    observation_space = gym.spaces.Dict(
        {
            "image": gym.spaces.Box(0, 255, (96, 128, 3), np.uint8),
            "state": gym.spaces.Box(-np.inf, np.inf, (7,), np.float32),
        }
    )
    action_space = gym.spaces.Box(-1, 1, (7,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(0.2, 0.4))
        return self.observe(), self.truth()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.place = float(np.clip(self.place + 0.1 * action[0], 0, 1))
        truth = self.truth()
        return self.observe(), truth["truth/success"], False, False, truth

    def level(self, task: str) -> int:
        return 1 + min(4, int(5 * self.place))

    def truth(self) -> dict[str, float]:
        level = self.level(self.task)
        return {"truth/level": float(level), "truth/success": float(level == 5)}

    def render(self) -> np.ndarray:
        image = np.zeros((96, 128, 3), np.uint8)
        image[:, : round(128 * self.place)] = 255
        return image

    def observe(self) -> dict[str, np.ndarray]:
        state = np.full(7, self.place, np.float32)
        return {"image": self.render(), "state": state}
