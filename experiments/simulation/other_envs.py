"""Recordings of other Gymnasium environments: nothing in them answers a task of ours, so their reward is unknown."""

import gymnasium as gym
import numpy as np

from reward_models.data.example import Frames
from roboreward_gym.errors import RoboRewardError

TRAIN = ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "MountainCar-v0")
TEST = ("Acrobot-v1", "CliffWalking-v1")
"""Environments that only tests show."""
STEPS = 48
SHORTEST = 8
PLAYED_AT_HZ = 10.0


class MissingPygame(RoboRewardError, ImportError):
    """The pictures of other environments need pygame."""


def record(split: str, rng: np.random.Generator) -> tuple[str, Frames]:
    """Play random actions in one of the environments; returns its id and what was seen.

    Raises:
        MissingPygame: It is not installed.
    """
    name = str(rng.choice(TEST if split == "test" else TRAIN))
    seed = int(rng.integers(2**31))
    try:
        env = gym.make(name, render_mode="rgb_array")
        env.reset(seed=seed)
        env.action_space.seed(seed)
        frames = [np.asarray(env.render(), np.uint8)]
        done = False
        while not done and len(frames) < STEPS:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
            frames.append(np.asarray(env.render(), np.uint8))
        env.close()
    except gym.error.DependencyNotInstalled as error:
        raise MissingPygame(
            "Recordings of other environments need pygame: pip install 'gymnasium[classic-control]', or pass "
            "--other-envs 0."
        ) from error
    frames += frames[-1:] * (SHORTEST - len(frames))
    return name, Frames(np.stack(frames), PLAYED_AT_HZ)
