"""Play chunks of actions in any Gymnasium env, and remember what a learner needs of an episode."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from roboreward_gym.errors import RobotFaultEpisode
from roboreward_gym.info import TRUNCATED

log = logging.getLogger(__name__)

IMAGE = "image"
STATE = "state"
LOGGED = ("truth/", "roboreward/")
"""Prefixes of the `info` scalars copied into a record, for reports only."""


class Policy(Protocol):
    """A deterministic decoder, such as `policies.policy.DiffusionPolicy`.

    Attributes:
        chunk: Length of the noise that a chunk of actions is decoded from.
        action_dim: Width of that noise.
        feature_dim: Length of the features.
        decoded_dim: Numbers in a decoded chunk. A LeRobot policy may decode less than its noise has.
    """

    chunk: int
    action_dim: int
    feature_dim: int
    decoded_dim: int

    def encode(self, images: np.ndarray, states: np.ndarray) -> Tensor:
        """`(B, H, W, 3)` uint8 and `(B, S)` to features `(B, F)`."""
        ...

    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Features `(B, F)` and noise `(B, chunk, action_dim)` to actions `(B, n, A)`."""
        ...


class NoiseSource(Protocol):
    """Chooses the noise that a chunk is decoded from."""

    def __call__(
        self, policy: Policy, features: Tensor, elapsed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise and the actions that the policy decodes from it, `(1, chunk, A)` each.

        Args:
            policy: The decoder.
            features: `(1, F)`.
            elapsed: Env steps into the episode.
            generator: Source of randomness.
        """
        ...


@dataclass(frozen=True)
class BaseNoise:
    """Standard normal noise: the base policy as it was pre-trained."""

    def __call__(
        self, policy: Policy, features: Tensor, elapsed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise, whatever the features, and what it decodes to."""
        shape = (1, policy.chunk, policy.action_dim)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return noise, policy.decode(features, noise)


@dataclass(frozen=True, eq=False)
class EpisodeRecord:
    """One episode at the rate of chunks.

    Attributes:
        features: `(C+1, F)` float32 before each chunk, and of the last observation.
        noise: `(C, chunk, A)` float32 that each chunk was decoded from.
        actions: `(C, chunk, A)` float32 that each chunk was decoded to, before they are clipped to the action space.
        executed: `(C,)` int64 env steps done of each chunk; the last one may be cut.
        rewards: `(T,)` float32, one per env step, as the env returned them.
        terminated: The env reached an end of its own; an end that `info` calls `roboreward/truncated` does not count,
            unless the env returned both flags.
        truncated: A time limit, or another outer stop, ended the episode.
        seed: Seed of the reset.
        logged: Scalars of the last `info` under `truth/` and `roboreward/`. For reports: a learner
            that read them would cheat.
    """

    features: Tensor
    noise: Tensor
    actions: Tensor
    executed: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    seed: int
    logged: dict[str, float]

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def reward(self) -> float:
        """The reward of the last step: the score of the episode. NaN without one."""
        return float(self.rewards[-1])


def play(
    env: gym.Env[Any, Any],
    policy: Policy,
    noise_source: NoiseSource,
    *,
    seed: int,
    generator: torch.Generator,
) -> EpisodeRecord:
    """Play one episode to its end; the same seed and generator state give the same record.

    The observation is a dict of `image` `(H, W, 3)` uint8 and `state` `(S,)`. It is encoded once per
    chunk. A chunk is cut where the episode ends: no action is sent to an env that is done.
    """
    observation, info = env.reset(seed=seed)
    features = [_encode(policy, observation)]
    noises: list[Tensor] = []
    chunks: list[Tensor] = []
    executed: list[int] = []
    rewards: list[float] = []
    terminated = truncated = False
    while not (terminated or truncated):
        noise, actions = noise_source(policy, features[-1], len(rewards), generator)
        before = len(rewards)
        for action in actions[0].cpu().numpy():
            observation, reward, terminated, truncated, info = env.step(_clip(env, action))
            rewards.append(float(reward))
            if terminated or truncated:
                break
        noises.append(noise)
        chunks.append(actions)
        executed.append(len(rewards) - before)
        features.append(_encode(policy, observation))
    if terminated and info.get(TRUNCATED):
        # VLMRewardWrapper returns each end as a termination, unless told otherwise, and notes what the env said.
        terminated, truncated = truncated, True  # both only if both were returned
    return EpisodeRecord(
        features=torch.cat(features).cpu(),
        noise=torch.cat(noises).cpu(),
        actions=torch.cat(chunks).cpu(),
        executed=np.asarray(executed),
        rewards=np.asarray(rewards, np.float32),
        terminated=bool(terminated),
        truncated=bool(truncated),
        seed=seed,
        logged=_logged(info),
    )


def play_without_fault(
    env: gym.Env[Any, Any],
    policy: Policy,
    noise_source: NoiseSource,
    *,
    seed: int,
    generator: torch.Generator,
    attempts: int = 3,
) -> EpisodeRecord:
    """Play one episode to its end without a fault of the robot; one that a fault spoiled is played again.

    Nothing of a spoiled episode is returned, so nobody can learn from it or count it.

    Raises:
        RobotFaultEpisode: The robot failed `attempts` times in a row.
    """
    for _ in range(attempts - 1):
        try:
            return play(env, policy, noise_source, seed=seed, generator=generator)
        except RobotFaultEpisode as error:
            log.warning("The episode of seed %d is invalid and played again. %s", seed, error)
    return play(env, policy, noise_source, seed=seed, generator=generator)


def _logged(info: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(info[key]) for key in info if key.startswith(LOGGED)}


def _encode(policy: Policy, observation: dict[str, np.ndarray]) -> Tensor:
    return policy.encode(observation[IMAGE][None], observation[STATE][None])


def _clip(env: gym.Env[Any, Any], action: np.ndarray) -> np.ndarray:
    # A decoder may leave the box by a rounding error, which strict envs refuse.
    space = env.action_space
    return np.clip(action, space.low, space.high) if isinstance(space, gym.spaces.Box) else action
