"""DSRL-SAC: fine-tune a frozen diffusion policy by choosing the noise it starts from.

The decoder (observation, noise) -> action chunk is deterministic, so its initial noise is an action
like any other, and soft actor-critic can learn it (arXiv 2506.15799). No gradient passes through the
decoder, and no update calls it. What differs from the public code, and why:

- The bound is respected: noise = bound * tanh(u), and the untrained actor is close to N(0, I), so
  that learning starts from the base policy and not from somewhere else.
- gamma is per env step and raised to the steps that a chunk really lasted; the last one may be cut.
- A time limit is not a termination; what is depends on the reward map, see `replay.EndRule`.
- No entropy in the backup, and a small initial temperature: a terminal reward of 0..1 differs by
  tenths between two noises, and the entropy of many dimensions drowns that for thousands of updates.
- The reward comes after the episode: transitions wait in the replay until it is known. An episode
  whose reward is NaN (the judge failed and the wrapper was told to say so) is never learned from,
  and one that a fault of the robot spoiled is played again.
- Critics learn alone first; an actor that follows untrained critics forgets the base policy.
- The best actor is kept, judged by the learner's own reward and nothing else. DSRL is known to
  collapse after its peak. The reward of a window of episodes was earned by all actors of that window,
  each a few updates from the next, so what is kept is their running average and not the last of them.
  One that earns no more than the warm-up did is no gain: then the untrained actor stays, so that a
  reward that says nothing changes nothing.
- Optionally only the slow part of the noise is steered (`steered`): the actor chooses the first
  cosine components along the chunk, the rest stays random. Fewer numbers to learn, same base policy.
- A clock joins the features: with a time limit, what a state is worth depends on the time left.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from policies.checkpoint import (
    CHECKPOINT,
    METRICS,
    append_metrics,
    keep_lines,
    load_checkpoint,
    open_run,
    save_checkpoint,
)
from policies.player import EpisodeRecord, Policy, play_valid
from policies.replay import Batch, Ending, EndRule, Replay, Transitions
from policies.steering import add_clock, cosine_basis, join_noise, split_noise
from roboreward_gym.errors import WeightsError

BEST = "best.safetensors"
LOG_STD = (-5.0, 1.0)


@dataclass(frozen=True)
class DsrlConfig:
    """What decides a fine-tuning run."""

    episodes: int = 300
    """Episodes to play in all."""
    warm_up_episodes: int = 20
    """Episodes of the untrained actor before the first update."""
    warm_up_updates: int = 500
    """Updates of the critics alone, once, after the warm-up episodes."""
    updates_per_chunk: int = 10
    """Critic updates per new transition."""
    actor_every: int = 2
    """Critic updates per actor update."""
    batch: int = 128
    """Transitions per update."""
    gamma: float = 0.99
    """Discount per env step."""
    noise_bound: float = 1.5
    """Largest steered noise, per coordinate."""
    steered: int = 2
    """Cosine components along the chunk that the actor chooses; the chunk length steers all of it."""
    rest_scale: float = 1.0
    """Scale of the random noise in the components that are not steered."""
    clock: int = 40
    """Env steps that the clock feature counts as 1, best the time limit; 0 leaves it out."""
    ending: Ending = "scored_end"
    """`scored_end` for graded rewards, `success_only` for binary and -1/0; see `replay.EndRule`."""
    success_reward: float = 1.0
    """Terminal reward that means success under `success_only`: 1 for binary, 0 for -1/0."""
    chunk_reward: float = 0.0
    """Added to every transition but the last: -1 makes a -1/0 reward one per chunk."""
    width: int = 128
    """Of the hidden layers."""
    layers: int = 3
    """Hidden layers, each tanh after LayerNorm."""
    critics: int = 2
    """Critics; the smallest counts."""
    actor_lr: float = 3e-4
    """Adam's step for the actor."""
    critic_lr: float = 3e-4
    """Adam's step for the critics."""
    alpha_lr: float = 3e-4
    """Adam's step for the temperature."""
    alpha: float = 0.003
    """Temperature at the start, for rewards of 0..1: ten times as much, and the actor stays the base."""
    target_entropy: float = 0.0
    """Entropy of the steered noise that the temperature aims at, in [nat]."""
    tau: float = 0.005
    """Speed of the target critics."""
    average_tau: float = 0.002
    """Speed of the running average of the actor, per actor update; 1 keeps the actor as it is."""
    capacity: int = 20_000
    """Transitions in the replay."""
    window: int = 40
    """Episodes over which the reward is averaged to choose the best actor."""
    first_env_seed: int = 100_000
    """Episode i resets with this plus i; evaluation must use other seeds."""
    seed: int = 0
    """Of networks, noise and batches."""
    save_every: int = 10
    """Episodes between checkpoints."""

    def __post_init__(self) -> None:
        for name in (
            "episodes",
            "batch",
            "steered",
            "noise_bound",
            "critics",
            "window",
            "save_every",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"Expected {name} above 0, got {getattr(self, name)}.")
        for name in ("gamma", "average_tau"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} in (0, 1], got {getattr(self, name)}.")


class Ensemble(nn.Module):
    """`members` equal MLPs as one batched product, because small products are all overhead."""

    def __init__(self, members: int, sizes: list[int], generator: torch.Generator) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self.gains, self.shifts = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            scale = before**-0.5
            uniform = torch.rand((members, before, after), generator=generator)
            self.weights.append(nn.Parameter((2 * uniform - 1) * scale))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, after)))
        for size in sizes[1:-1]:
            self.gains.append(nn.Parameter(torch.ones(members, 1, size)))
            self.shifts.append(nn.Parameter(torch.zeros(members, 1, size)))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, in)` to `(members, B, out)`."""
        x = x.expand(len(self.weights[0]), -1, -1)
        for weight, bias, gain, shift in zip(
            self.weights, self.biases, self.gains, self.shifts, strict=False
        ):
            x = torch.baddbmm(bias, x, weight)
            x = torch.tanh(torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), gain))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])


class Actor(nn.Module):
    """Features to a squashed Gaussian over steered noise; untrained, close to a standard normal."""

    def __init__(
        self, features: int, size: int, config: DsrlConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.bound = config.noise_bound
        self.net = Ensemble(1, [features, *[config.width] * config.layers, 2 * size], generator)
        with torch.no_grad():
            self.net.weights[-1].mul_(0.01)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before squashing, `(B, D)` each."""
        mean, log_std = self.net(features)[0].chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD)

    def sample(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise `(B, D)` within the bound, and its log density `(B,)`."""
        mean, log_std = self(features)
        unit = torch.randn(mean.shape, generator=generator)
        u = mean + log_std.exp() * unit
        normal = -0.5 * (unit.square() + math.log(2 * math.pi)) - log_std
        # log(1 - tanh(u)^2), in the form that does not underflow.
        squash = 2 * (math.log(2) - u - F.softplus(-2 * u)) + math.log(self.bound)
        return self.bound * torch.tanh(u), (normal - squash).sum(-1)


@dataclass(frozen=True, eq=False)
class NoisePolicy:
    """A learned choice of noise: what `player.play` and `player.evaluate` take instead of `BaseNoise`.

    Attributes:
        actor: The actor.
        basis: `(steered, chunk)` orthonormal; rows span the steered part of the noise.
        action_dim: Numbers per action.
        clock: Env steps that count as 1; 0 for no clock.
        rest_scale: Scale of the random noise in the rest.
        deterministic: Take the mean of the actor; the part that is not steered stays random.
    """

    actor: Actor
    basis: Tensor
    action_dim: int
    clock: int
    rest_scale: float
    deterministic: bool = True

    @torch.no_grad()
    def __call__(self, features: Tensor, elapsed: int, generator: torch.Generator) -> Tensor:
        """Noise `(1, chunk, A)` for features `(1, F)`."""
        timed = add_clock(features, torch.tensor([elapsed]), self.clock)
        if self.deterministic:
            steered = self.actor.bound * torch.tanh(self.actor(timed)[0])
        else:
            steered = self.actor.sample(timed, generator)[0]
        rest = torch.zeros(0)
        if len(self.basis) < self.basis.shape[1]:
            rest = torch.randn((1, self.basis.shape[1], self.action_dim), generator=generator)
        return join_noise(steered, rest * self.rest_scale, self.basis)

    def save(self, path: Path, config: DsrlConfig, feature_dim: int) -> None:
        """Write one file that `load` reads."""
        sizes = {"feature_dim": feature_dim, "action_dim": self.action_dim}
        state = {"config": asdict(config), "chunk": self.basis.shape[1], **sizes}
        state["deterministic"] = self.deterministic
        save_checkpoint(path, {**state, "actor": self.actor.state_dict()})

    @classmethod
    def load(cls, path: Path) -> "NoisePolicy":
        """Read what `save` wrote.

        Raises:
            WeightsError: Missing, corrupt, or made by another version.
        """
        state = load_checkpoint(path)
        try:
            config = DsrlConfig(**state["config"])
            chunk, action_dim = state["chunk"], state["action_dim"]
            made = make_noise_policy(
                config, state["feature_dim"], chunk, action_dim, torch.Generator()
            )
            made.actor.load_state_dict(state["actor"])
            made = replace(made, deterministic=state["deterministic"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(
                f"Expected a noise policy of this version in {path}, got: {error}."
            ) from error
        return made


def make_noise_policy(
    config: DsrlConfig, feature_dim: int, chunk: int, action_dim: int, generator: torch.Generator
) -> NoisePolicy:
    """An untrained one for a decoder of these sizes."""
    if config.steered > chunk:
        raise ValueError(f"Expected at most {chunk} steered components, got {config.steered}.")
    inputs = feature_dim + (config.clock > 0)
    actor = Actor(inputs, config.steered * action_dim, config, generator)
    basis = cosine_basis(config.steered, chunk)
    return NoisePolicy(actor, basis, action_dim, config.clock, config.rest_scale)


def to_transitions(
    record: EpisodeRecord, number: int, config: DsrlConfig, basis: Tensor
) -> Transitions:
    """The transitions of an episode, less its terminal reward, which may not be known yet."""
    steps = record.executed
    starts = np.concatenate([[0], np.cumsum(steps)])
    paid = record.rewards.astype(np.float64)
    paid[-1] = 0.0
    rewards = [
        float((paid[a:b] * config.gamma ** np.arange(b - a)).sum()) for a, b in pairwise(starts)
    ]
    rewards = [r + config.chunk_reward * (i + 1 < len(steps)) for i, r in enumerate(rewards)]
    return Transitions(
        episode=number,
        features=add_clock(record.features, torch.from_numpy(starts), config.clock),
        noise=split_noise(record.noise, basis),
        rewards=torch.tensor(rewards),
        discounts=torch.tensor(config.gamma**steps, dtype=torch.float32),
        tail=config.gamma ** int(steps[-1] - 1),
        terminated=record.terminated,
    )


class Learner:
    """Actor, critics and temperature, and one update of each."""

    def __init__(self, config: DsrlConfig, policy: Policy) -> None:
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        self.noise_policy = make_noise_policy(
            config, policy.feature_dim, policy.chunk, policy.action_dim, self.generator
        )
        self.actor = self.noise_policy.actor
        self.average = copy.deepcopy(self.actor).requires_grad_(requires_grad=False)
        inputs = policy.feature_dim + (config.clock > 0)
        size = config.steered * policy.action_dim
        sizes = [inputs + size, *[config.width] * config.layers, 1]
        self.critics = Ensemble(config.critics, sizes, self.generator)
        self.targets = Ensemble(config.critics, sizes, self.generator)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = nn.Parameter(torch.tensor(math.log(config.alpha)))
        self.optimisers = {
            "actor": torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True),
            "critics": torch.optim.Adam(self.critics.parameters(), config.critic_lr, fused=True),
            "alpha": torch.optim.Adam([self.log_alpha], config.alpha_lr, fused=True),
        }
        rule = EndRule(config.ending, config.success_reward)
        self.replay = Replay(config.capacity, inputs, size, rule)

    def hold(self, record: EpisodeRecord, number: int) -> None:
        """Make transitions of an episode whose score may not be known yet."""
        basis = self.noise_policy.basis
        self.replay.hold(to_transitions(record, number, self.config, basis))

    def learn(self, updates: int, *, actor: bool) -> dict[str, float]:
        """Draw batches and update; returns the mean losses."""
        sums: dict[str, float] = {}
        rows = self.replay.draw(updates, self.config.batch, self.generator)
        for number, row in enumerate(rows, 1):
            batch = self.replay.batch(row)
            losses = self.update_critics(batch)
            if actor and number % self.config.actor_every == 0:
                losses |= self.update_actor(batch)
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + value.item()
        counts = {"critic_loss": updates, "q": updates}
        return {
            k: v / counts.get(k, max(1, updates // self.config.actor_every))
            for k, v in sums.items()
        }

    def update_critics(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics towards reward plus discounted value, and of their targets."""
        with torch.no_grad():
            noise, _ = self.actor.sample(batch.next_features, self.generator)
            value = self.targets(torch.cat([batch.next_features, noise], 1))[..., 0].amin(0)
            target = batch.reward + batch.discount * value
        q = self.critics(torch.cat([batch.features, batch.noise], 1))[..., 0]  # (critics, B)
        loss = (q - target).square().mean(1).sum()
        self._step("critics", list(self.critics.parameters()), loss)
        _follow(self.targets, self.critics, self.config.tau)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def update_actor(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the actor uphill, and of the temperature towards the target entropy."""
        noise, log_density = self.actor.sample(batch.features, self.generator)
        q = self.critics(torch.cat([batch.features, noise], 1))[..., 0].amin(0)
        loss = (self.log_alpha.exp().detach() * log_density - q).mean()
        self._step("actor", list(self.actor.parameters()), loss)
        _follow(self.average, self.actor, self.config.average_tau)
        entropy = -log_density.detach().mean()
        excess = entropy - self.config.target_entropy
        self._step("alpha", [self.log_alpha], self.log_alpha.exp() * excess)
        alpha = self.log_alpha.detach().exp()
        return {"actor_loss": loss.detach(), "entropy": entropy, "alpha": alpha}

    def _step(self, name: str, parameters: list[nn.Parameter], loss: Tensor) -> None:
        # `grad` of these parameters only: the actor's loss passes through the critics, whose own
        # gradients would be computed for nothing.
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = grad
        self.optimisers[name].step()

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on to the bit."""
        return {
            "actor": self.actor.state_dict(),
            "average": self.average.state_dict(),
            "critics": self.critics.state_dict(),
            "targets": self.targets.state_dict(),
            "log_alpha": self.log_alpha.detach(),
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "replay": self.replay.state(),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.actor.load_state_dict(state["actor"])
        self.average.load_state_dict(state["average"])
        self.critics.load_state_dict(state["critics"])
        self.targets.load_state_dict(state["targets"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.replay.restore(state["replay"])
        self.generator.set_state(state["generator"])


@torch.no_grad()
def _follow(slow: nn.Module, fast: nn.Module, speed: float) -> None:
    """Move the weights of `slow` towards those of `fast`."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), speed)


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What a run gave.

    Attributes:
        best: The average of the actors that earned the best reward after the warm-up, the average at
            the end if the run was too short to tell, the untrained one if none earned more than the
            warm-up.
        last: The actor at the end, not averaged.
        best_episode: After which episode the best actor was taken.
        best_reward: Its average reward; NaN if there was none to choose.
        metrics: One dict per episode, as in `metrics.jsonl`.
    """

    best: NoisePolicy
    last: NoisePolicy
    best_episode: int
    best_reward: float
    metrics: list[dict[str, Any]]


@dataclass(eq=False)
class Progress:
    """How far a run has come, besides what the learner knows."""

    metrics: list[dict[str, Any]]
    env_steps: int = 0
    learned: bool = False
    best_reward: float = -math.inf
    best_episode: int = -1
    best_actor: dict[str, Tensor] | None = None

    def consider(self, actor: Actor, config: DsrlConfig) -> None:
        """Keep the actor if the average reward of the last episodes is the best so far.

        Only the reward that the learner saw counts. The warm-up's is the one to exceed.
        """
        warm_up, rewards = self._rewards(config)
        judged = _known(rewards[-config.window :])
        if len(rewards) < config.window or not judged:
            return
        average = sum(judged) / len(judged)
        first = _known(warm_up)
        exceeds = not first or average > sum(first) / len(first)
        if exceeds and average >= self.best_reward:
            self.best_reward, self.best_episode = average, len(self.metrics) - 1
            self.best_actor = {k: v.clone() for k, v in actor.state_dict().items()}

    def is_in_vain(self, config: DsrlConfig) -> bool:
        """Whether no actor of a run that was long enough earned more than the warm-up."""
        _, rewards = self._rewards(config)
        return self.best_actor is None and len(rewards) >= config.window and bool(_known(rewards))

    def _rewards(self, config: DsrlConfig) -> tuple[list[float], list[float]]:
        """During the warm-up, and after it."""
        rewards = [m["reward"] for m in self.metrics]
        return rewards[: config.warm_up_episodes], rewards[config.warm_up_episodes :]


def _known(rewards: list[float]) -> list[float]:
    return [reward for reward in rewards if not math.isnan(reward)]


def train(
    env: gym.Env[Any, Any],
    policy: Policy,
    config: DsrlConfig,
    *,
    run_dir: Path,
    resume: bool = False,
    on_episode: Callable[[int, EpisodeRecord, dict[str, Any]], None] | None = None,
) -> FineTuned:
    """Fine-tune, with whatever reward the env gives at the end of an episode.

    Interrupting loses at most the episodes since the last checkpoint; a resumed run equals one that
    was never interrupted, to the bit, if the env is determined by the seed of its reset.

    Args:
        env: Gives the reward to learn from, e.g. a `VLMRewardWrapper`.
        policy: The frozen decoder.
        config: What decides the run.
        run_dir: Gets `config.json`, `metrics.jsonl`, `checkpoint.safetensors`, `best.safetensors`.
        resume: Go on with the run in `run_dir`; a fresh start if there is none.
        on_episode: Called with number, record and metrics after each episode. For films and reports.

    Raises:
        RunMismatch: `run_dir` holds a run of another config, or one that was not asked to resume.
        WeightsError: The checkpoint is corrupt.
    """
    state = open_run(run_dir, config, resume=resume)
    learner, progress = Learner(config, policy), Progress([])
    if state is not None:
        learner.restore(state["learner"])
        progress = Progress(**state["progress"])
    keep_lines(run_dir / METRICS, len(progress.metrics))
    explore = replace(learner.noise_policy, deterministic=False)
    start = len(progress.metrics)
    bar = trange(start, config.episodes, initial=start, total=config.episodes, desc="fine-tuning")
    for number in bar:
        seed = config.first_env_seed + number
        record = play_valid(env, policy, explore, seed=seed, generator=learner.generator)
        learner.hold(record, number)
        losses = _learn_from(learner, progress, record, number)
        progress.env_steps += len(record)
        counts = {"episode": number, "env_steps": progress.env_steps, "steps": len(record)}
        metrics = {**counts, "reward": record.reward, **record.logged, **losses}
        progress.metrics.append(metrics)
        progress.consider(learner.average, config)
        append_metrics(run_dir / METRICS, metrics)
        recent = [m["reward"] for m in progress.metrics[-config.window :]]
        bar.set_postfix(reward=f"{np.nanmean(recent):.2f}" if np.isfinite(recent).any() else "none")
        if on_episode is not None:
            on_episode(number, record, metrics)
        if (number + 1) % config.save_every == 0 or number + 1 == config.episodes:
            save_checkpoint(
                run_dir / CHECKPOINT, {"learner": learner.state(), "progress": vars(progress)}
            )
    return _finish(learner, progress, policy, run_dir)


def _learn_from(
    learner: Learner, progress: Progress, record: EpisodeRecord, number: int
) -> dict[str, float]:
    """Put a held episode into the replay and do the updates that it is worth."""
    config, replay = learner.config, learner.replay
    if math.isnan(record.reward):
        replay.forget(number)
    else:
        replay.score(number, record.reward)
    if number + 1 < config.warm_up_episodes or len(replay) == 0:
        return {}
    if not progress.learned:
        progress.learned = True
        return learner.learn(config.warm_up_updates, actor=False)
    return learner.learn(config.updates_per_chunk * len(record.executed), actor=True)


def _finish(learner: Learner, progress: Progress, policy: Policy, run_dir: Path) -> FineTuned:
    best = replace(learner.noise_policy, actor=copy.deepcopy(learner.average))
    if progress.best_actor is not None:
        best.actor.load_state_dict(progress.best_actor)
    elif progress.is_in_vain(learner.config):
        # As it explored: its mean alone is another policy than the base.
        untrained = Learner(learner.config, policy).noise_policy
        best = replace(untrained, deterministic=False)
    best.save(run_dir / BEST, learner.config, policy.feature_dim)
    found = progress.best_actor is not None
    return FineTuned(
        best=best,
        last=learner.noise_policy,
        best_episode=progress.best_episode if found else len(progress.metrics) - 1,
        best_reward=progress.best_reward if found else math.nan,
        metrics=progress.metrics,
    )
