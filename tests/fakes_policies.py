"""A toy that noise can steer: a decoder with two modes and an env that rewards one of them."""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from policies.dsrl.config import DsrlConfig
from policies.player import EpisodeRecord, NoiseSource, play
from roboreward_gym.errors import RobotFaultEpisode

CHUNK, ACTIONS, FEATURES = 4, 2, 3

EPISODES = 12
TINY = DsrlConfig(
    algorithm="sac",
    warm_up_episodes=4,
    warm_up_updates=5,
    updates_per_chunk=3,
    batch=16,
    width=16,
    layers=2,
    critics=2,
    time_feature_steps=6,
    steered_components=CHUNK,
    validation_episodes=4,
    save_every=4,
)
"""A run of seconds, with `EPISODES` before the validation."""


class TwoModes:
    """Decodes slow positive noise to a step right and slow negative noise to a step left."""

    chunk = CHUNK
    action_dim = ACTIONS
    feature_dim = FEATURES
    decoded_dim = CHUNK * ACTIONS

    def __init__(self) -> None:
        self.decoded = 0

    def encode(self, images: np.ndarray, states: np.ndarray) -> Tensor:
        return torch.from_numpy(states[:, :FEATURES].astype(np.float32))

    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        self.decoded += 1
        slow = noise.sum(1) / CHUNK**0.5  # (B, ACTIONS)
        return torch.tanh(3.0 * slow)[:, None].expand(-1, CHUNK, -1)


def episodes(
    env: gym.Env, policy: "TwoModes", noise: NoiseSource, seeds: Iterable[int]
) -> list[EpisodeRecord]:
    """One episode per seed; each draws its noise from its own seed."""
    return [
        play(env, policy, noise, seed=seed, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]


class GoToFlag(gym.Env[dict[str, Any], np.ndarray]):
    """A point on a line; the flag is left or right, and being on its side in the end is rewarded.

    `steps` that are not a multiple of the chunk cut the last chunk. Truth and reward can be spoiled, to
    show who reads them.
    """

    def __init__(
        self, steps: int = 6, *, truth: float | None = None, reward: float | None = None
    ) -> None:
        self.steps = steps
        self.truth = truth
        self.fixed_reward = reward
        self.action_space = gym.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)
        self.after_end = 0
        self.actions: list[np.ndarray] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.flag = float(self.np_random.choice([-1.0, 1.0]))
        self.x = 0.0
        self.step_index = 0
        self.actions = []
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.after_end += self.step_index >= self.steps
        self.step_index += 1
        self.actions.append(action)
        self.x += float(action[0]) / self.steps
        truncated = self.step_index >= self.steps
        success = float(self.x * self.flag > 0.2)
        reward = success if self.fixed_reward is None else self.fixed_reward
        truth = success if self.truth is None else self.truth
        info = {"truth/success": truth, "roboreward/level": 1.0 + 4 * success, "other": 3.0}
        return self._observe(), reward if truncated else 0.0, False, truncated, info

    def _observe(self) -> dict[str, Any]:
        state = np.array([self.x, self.flag, 1.0], np.float32)
        return {"image": np.zeros((96, 128, 3), np.uint8), "state": state}


class Breakable(gym.Wrapper):
    """Spoils the episodes of the given numbers at their third step, as a fault of a robot does."""

    def __init__(self, env: gym.Env, spoiled: set[int]) -> None:
        super().__init__(env)
        self._spoiled = spoiled
        self.episode = -1

    def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self.episode += 1
        self._step = 0
        return self.env.reset(**options)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        self._step += 1
        if self._step == 3 and self.episode in self._spoiled:
            raise RobotFaultEpisode("the camera froze")
        return self.env.step(action)
