"""What learns from scored episodes: its replay, its updates, and what it plays."""

import dataclasses
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.checkpoint import load_checkpoint, restore, state_of
from policies.dsrl.best_of_n import ActionCritics, BestOfN, ReturnRegression
from policies.dsrl.cloning import CLONING, ClonedPolicy, WeightedCloning
from policies.dsrl.config import DsrlConfig
from policies.dsrl.noise_aliased import NoiseAliased
from policies.dsrl.noise_policy import NoisePolicy, add_time_feature, cosine_basis, split_noise
from policies.dsrl.replay import Replay, Transitions
from policies.dsrl.sac import Sac
from policies.player import EpisodeRecord, Policy
from policies.settings import available_device
from roboreward_gym.errors import InvalidSetting

Learned = NoisePolicy | BestOfN | ClonedPolicy
"""What a run learns."""


class Learner:
    """Replay and updates of one of the algorithms.

    Attributes:
        explore: Noise while learning.
        final: Noise after it.

    Raises:
        InvalidSetting: More components of the noise are to be steered than there are, or no such device.
    """

    explore: Learned
    final: Learned

    def __init__(self, config: DsrlConfig, policy: Policy, seed: int = 0) -> None:
        self.config = config
        device = available_device(config.device)
        self.generator = torch.Generator(device).manual_seed(seed)
        inputs = policy.feature_dim + (config.time_feature_steps > 0)
        # The learner's action is a decoded chunk, or steered noise.
        size = policy.decoded_dim
        sizes = [inputs, size, *[config.width] * config.layers]
        if config.algorithm == "best_of_n":
            critics = ActionCritics(config.critics, sizes, self.generator)
            self.agent = ReturnRegression(critics, config.critic_lr, self.generator)
            chosen = (config.candidates, config.candidate_scale, config.time_feature_steps)
            self.explore = BestOfN(critics, *chosen)
            self.final = self.explore
        elif config.algorithm in CLONING:
            self.agent = WeightedCloning(
                policy,
                config.actor_lr,
                config.average_tau,
                self.generator,
                weigh=config.algorithm == "weighted_bc",
            )
            self.explore = self.final = ClonedPolicy(self.agent.average)
        else:
            self.basis = _steered_part(config, policy).to(device)
            steered = config.steered_components * policy.action_dim
            sac = Sac(config, inputs, steered, self.generator)
            how = (self.basis, config.time_feature_steps, config.unsteered_noise_scale)
            self.explore = NoisePolicy(sac.actor, *how, deterministic=False)
            self.final = NoisePolicy(sac.average, *how)
            if config.algorithm == "sac":
                self.agent, size = sac, steered
            else:
                critics = ActionCritics(config.critics, sizes, self.generator)
                scale = config.unsteered_noise_scale
                self.agent = NoiseAliased(critics, sac, policy, self.basis, scale)
        self.replay = Replay(config.capacity, inputs, size, device)

    def add(self, record: EpisodeRecord) -> None:
        """Put a scored episode into the replay, in any order of episodes; without a score it is not experience."""
        if math.isnan(record.reward):
            return
        if isinstance(self.agent, Sac):
            noise = split_noise(record.noise, self.basis.cpu())
            self.replay.add(to_transitions(record, self.config, noise))
        elif isinstance(self.agent, NoiseAliased):
            self.replay.add(to_transitions(record, self.config, record.actions.flatten(1)))
        elif isinstance(self.agent, WeightedCloning):
            self._add_to_clone(record, self.agent)
        else:
            self.replay.add(to_returns(record, self.config))

    def _add_to_clone(self, record: EpisodeRecord, agent: WeightedCloning) -> None:
        """Every chunk counts by the reward of its episode, however early it was."""
        agent.lowest.clamp_(max=record.reward)
        if agent.weigh or record.reward >= self.config.success_reward:
            self.replay.add(to_returns(record, dataclasses.replace(self.config, gamma=1.0)))

    def warm_up(self) -> dict[str, float]:
        """Train the critics alone, after the warm-up: an actor that follows untrained critics forgets the base policy."""
        if isinstance(self.agent, ReturnRegression | NoiseAliased) and len(self.replay):
            self.agent.fit_scale(self.replay.batch(torch.arange(len(self.replay))).action)
        return self.learn(self.config.warm_up_updates, actor=False)

    def learn(self, updates: int, *, actor: bool = True) -> dict[str, float]:
        """Draw batches and update; returns the mean losses."""
        if not len(self.replay):
            return {}
        logged: dict[str, list[torch.Tensor]] = {}
        rows = self.replay.draw(updates, self.config.batch, self.generator)
        for number, row in enumerate(rows, 1):
            now = actor and number % self.config.actor_every == 0
            for name, value in self.agent.update(self.replay.batch(row), actor=now).items():
                logged.setdefault(name, []).append(value)
        return {name: float(torch.stack(values).mean()) for name, values in logged.items()}

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on bit-exactly."""
        return {"agent": state_of(self.agent.parts), "replay": self.replay.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        restore(self.agent.parts, state["agent"])
        self.replay.restore(state["replay"])


def load_learned(path: Path, policy: Policy) -> Learned:
    """Read what a run saved, to play it with the base policy of that run.

    Raises:
        WeightsError: Missing, corrupt, made by another version, or for another policy.
    """
    state = load_checkpoint(path)
    if "denoiser" in state:
        return ClonedPolicy.load(path, policy)
    return BestOfN.load(path, policy) if "critics" in state else NoisePolicy.load(path)


def _steered_part(config: DsrlConfig, policy: Policy) -> torch.Tensor:
    if config.steered_components > policy.chunk:
        raise InvalidSetting(
            f"steered_components must be at most {policy.chunk}, the actions in a chunk of the base policy, "
            f"got {config.steered_components}."
        )
    return cosine_basis(config.steered_components, policy.chunk)


def to_transitions(record: EpisodeRecord, config: DsrlConfig, action: torch.Tensor) -> Transitions:
    """The chunk transitions of a scored episode, for temporal differences.

    Args:
        record: The episode.
        config: For gamma, the time feature and which ends have a value after them.
        action: `(C, D)` what the critics judge: steered noises, or decoded chunks.
    """
    steps, starts = record.executed, _starts(record)
    # r_chunk = sum of gamma^i r_i over its env steps; the score is the reward of the last step of all
    rewards = [
        (record.rewards[a:b] * config.gamma ** np.arange(b - a)).sum() for a, b in pairwise(starts)
    ]
    discounts = config.gamma**steps
    succeeded = record.reward >= config.success_reward
    if record.terminated or succeeded or config.bootstrap == "never":
        discounts[-1] = 0.0  # nothing follows
    return _transitions(record, config, action, rewards, discounts)


def to_returns(record: EpisodeRecord, config: DsrlConfig) -> Transitions:
    """The decoded chunks of a scored episode, each with its return R = sum of gamma^i r_i to the end of the episode."""
    returns = [
        (record.rewards[a:] * config.gamma ** np.arange(len(record) - a)).sum()
        for a in _starts(record)[:-1]
    ]
    return _transitions(record, config, record.actions.flatten(1), returns, np.zeros(len(returns)))


def _starts(record: EpisodeRecord) -> np.ndarray:
    """Env steps before each chunk, and after the last."""
    return np.concatenate([[0], np.cumsum(record.executed)])


def _transitions(
    record: EpisodeRecord, config: DsrlConfig, actions: torch.Tensor, rewards: Any, discounts: Any
) -> Transitions:
    elapsed = torch.from_numpy(_starts(record))
    return Transitions(
        features=add_time_feature(record.features, elapsed, config.time_feature_steps),
        action=actions,
        rewards=torch.tensor(np.asarray(rewards), dtype=torch.float32),
        discounts=torch.tensor(np.asarray(discounts), dtype=torch.float32),
    )
