"""DSRL-SAC: fine-tune a frozen diffusion policy by choosing the noise it starts from.

The decoder (observation, noise) -> action chunk is deterministic, so its initial noise is an action like any other, and
soft actor-critic can learn it (arXiv 2506.15799). No gradient passes through the decoder, and no update calls it.

A run has three phases. *Warm-up*: episodes of the untrained actor, which behaves like the base policy; then the critics
learn alone. *Learning*: the actor explores, and
all are updated after each episode. *Validation*: episodes of the actor's running average, without updates. A one-sided test
compares the rewards of validation and warm-up; without a significant gain the base policy is kept.

gamma is per env step and raised to the steps that a chunk really lasted. The time into the episode joins the features:
with a time limit, what a state is worth depends on the time left. An episode without a score (reward NaN) is never learned from.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast, get_args

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.stats import permutation_test
from tqdm import trange

from policies.checkpoint import (
    CHECKPOINT,
    METRICS,
    append_metrics,
    finite,
    keep_lines,
    open_run,
    save_checkpoint,
    write_json,
)
from policies.dsrl.noise_policy import NoisePolicy, add_time_feature, cosine_basis, split_noise
from policies.dsrl.replay import Replay, Transitions
from policies.dsrl.sac import Actor, Sac, SacConfig
from policies.player import BaseNoise, EpisodeRecord, Policy, play_without_fault
from policies.settings import available_device, require_positive
from roboreward_gym.episode_scores import PENDING
from roboreward_gym.errors import InvalidSetting

NOISE_POLICY = "noise_policy.safetensors"
DECISION = "decision.json"
RESAMPLES = 1_999
"""Ways to deal the rewards that the test tries; all of them if there are fewer."""

BootstrapRule = Literal["never", "at_time_limit"]


@dataclass(frozen=True)
class DsrlConfig(SacConfig):
    """The fine-tuner's settings, those of its networks and updates included."""

    warm_up_episodes: int = 40
    """Episodes of the untrained actor before the first update; the validation is compared with them."""
    warm_up_updates: int = 500
    """Updates of the critics alone, once, after the warm-up."""
    updates_per_chunk: int = 10
    """Critic updates per new transition."""
    validation_episodes: int = 50
    """Episodes of the averaged actor after learning, to compare with the warm-up."""
    significance: float = 0.05
    """Largest p-value of the comparison with which the fine-tuned policy is kept: how often a reward that means nothing
    passes."""
    gamma: float = 0.99
    """Discount per env step."""
    steered_components: int = 2
    """Cosine components along the chunk that the actor chooses; the chunk length steers all of it."""
    unsteered_noise_scale: float = 1.0
    """Scale of the random noise in the components that are not steered."""
    time_feature_steps: int = 40
    """Env steps that the time feature (the time into the episode) counts as 1, best the time limit; 0 leaves it out."""
    bootstrap: BootstrapRule = "never"
    """Which ends have a value after them. `never`: none, because a graded reward at the time limit is the whole return.
    `at_time_limit`: those without success that the env does not call `terminated`; for binary and -1/0 rewards.
    Needs `time_feature_steps` 0."""
    success_reward: float = 1.0
    """Terminal reward that means success under `at_time_limit`: 1 for binary, 0 for -1/0."""
    capacity: int = 20_000
    """Transitions in the replay."""
    save_every: int = 10
    """Episodes between checkpoints."""
    device: str = "cpu"
    """Torch device of the learner, such as cpu or cuda."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            self,
            "warm_up_episodes",
            "warm_up_updates",
            "validation_episodes",
            "steered_components",
            "save_every",
        )
        if not 0 < self.gamma <= 1:
            raise InvalidSetting(f"gamma must be in (0, 1], got {self.gamma}.")
        if self.bootstrap not in get_args(BootstrapRule):
            raise InvalidSetting(
                f"bootstrap must be one of {get_args(BootstrapRule)}, got {self.bootstrap!r}."
            )
        if self.bootstrap == "at_time_limit" and self.time_feature_steps:
            raise InvalidSetting(
                "bootstrap at_time_limit needs time_feature_steps 0: at the time limit the time feature has a value "
                "that no transition starts from, so those values are never trained."
            )


@dataclass(frozen=True)
class Decision:
    """Whether the fine-tuned policy is kept, by the rewards that the learner saw and nothing else.

    Attributes:
        improved: Keep it; otherwise the base policy stays.
        p_value: Chance of so large a gain if both policies were equal.
        warm_up_reward: Mean reward of the warm-up, NaN without scored episodes.
        validation_reward: Mean reward of the validation, NaN without scored episodes.
    """

    improved: bool
    p_value: float
    warm_up_reward: float
    validation_reward: float


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What a run gave.

    Attributes:
        noise: What to play: the averaged actor, or the base policy's noise if nothing was gained.
        decision: Why.
        metrics: One dict per episode, as in `metrics.jsonl`.
    """

    noise: NoisePolicy | BaseNoise
    decision: Decision
    metrics: list[dict[str, Any]]


def decide(warm_up: ArrayLike, validation: ArrayLike, significance: float = 0.05) -> Decision:
    """Compare mean rewards by a one-sided permutation test, which is exact for any distribution of rewards.

    A validation episode without a score (NaN) counts as the lowest reward of all, so that missing scores are no gain; a
    warm-up episode without one is left out.

    Args:
        warm_up: Rewards of episodes of the base policy.
        validation: Rewards of episodes of the fine-tuned policy.
        significance: Largest p-value that counts as a gain.
    """
    before, scored = _finite(warm_up), _finite(validation)
    p_value = 1.0
    if min(len(before), np.size(validation)) >= 2 and len(scored):  # one number is no group
        after = np.nan_to_num(
            np.asarray(validation, np.float64), nan=min(before.min(), scored.min())
        )
        # p = share of the ways to deal the rewards to two groups that give at least this difference of means
        test = permutation_test(
            (after, before),
            lambda a, b, axis: a.mean(axis) - b.mean(axis),
            vectorized=True,
            n_resamples=RESAMPLES,
            alternative="greater",
            rng=np.random.default_rng(0),
        )
        p_value = float(test.pvalue)
    means = [float(rewards.mean()) if len(rewards) else math.nan for rewards in (before, scored)]
    return Decision(p_value <= significance, p_value, *means)


def _finite(rewards: ArrayLike) -> np.ndarray:
    values = np.asarray(rewards, np.float64)
    return values[np.isfinite(values)]


def to_transitions(record: EpisodeRecord, config: DsrlConfig, basis: torch.Tensor) -> Transitions:
    """The chunk transitions of a scored episode."""
    steps = record.executed
    starts = np.concatenate([[0], np.cumsum(steps)])
    # r_chunk = sum of gamma^i r_i over its env steps; the score is the reward of the last step of all
    rewards = [
        (record.rewards[a:b] * config.gamma ** np.arange(b - a)).sum() for a, b in pairwise(starts)
    ]
    discounts = config.gamma**steps
    succeeded = record.reward >= config.success_reward
    if record.terminated or succeeded or config.bootstrap == "never":
        discounts[-1] = 0.0  # nothing follows
    return Transitions(
        features=add_time_feature(
            record.features, torch.from_numpy(starts), config.time_feature_steps
        ),
        noise=split_noise(record.noise, basis),
        rewards=torch.tensor(rewards, dtype=torch.float32),
        discounts=torch.tensor(discounts, dtype=torch.float32),
    )


class Learner:
    """SAC, its replay, and the noise policies that play.

    Raises:
        InvalidSetting: More components of the noise are to be steered than there are, or no such device.
    """

    def __init__(self, config: DsrlConfig, policy: Policy, seed: int = 0) -> None:
        if config.steered_components > policy.chunk:
            raise InvalidSetting(
                f"steered_components must be at most {policy.chunk}, the actions in a chunk of the base policy, "
                f"got {config.steered_components}."
            )
        self.config = config
        device = available_device(config.device)
        self.generator = torch.Generator(device).manual_seed(seed)
        inputs = policy.feature_dim + (config.time_feature_steps > 0)
        size = config.steered_components * policy.action_dim
        self.sac = Sac(config, inputs, size, self.generator)
        self.replay = Replay(config.capacity, inputs, size, device)
        basis = cosine_basis(config.steered_components, policy.chunk).to(device)
        steering = (basis, config.time_feature_steps, config.unsteered_noise_scale)
        self.explore = NoisePolicy(self.sac.actor, *steering, deterministic=False)
        self.average = NoisePolicy(cast(Actor, self.sac.average.module), *steering)

    def add(self, record: EpisodeRecord) -> None:
        """Put a scored episode into the replay, in any order of episodes; without a score it is no experience."""
        if not math.isnan(record.reward):
            self.replay.add(to_transitions(record, self.config, self.explore.basis.cpu()))

    def learn(self, updates: int, *, actor: bool) -> dict[str, float]:
        """Draw batches and update; returns the mean losses."""
        if not len(self.replay):
            return {}
        logged: dict[str, list[torch.Tensor]] = {}
        rows = self.replay.draw(updates, self.config.batch, self.generator)
        for number, row in enumerate(rows, 1):
            batch = self.replay.batch(row)
            losses = self.sac.update_critics(batch)
            if actor and number % self.config.actor_every == 0:
                losses |= self.sac.update_actor(batch)
            for name, value in losses.items():
                logged.setdefault(name, []).append(value)
        return {name: float(torch.stack(values).mean()) for name, values in logged.items()}

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on bit-exactly."""
        return {"sac": self.sac.state(), "replay": self.replay.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.sac.restore(state["sac"])
        self.replay.restore(state["replay"])


def check_episodes(config: DsrlConfig, episodes: int) -> None:
    """Refuse a run that would train no actor.

    Raises:
        InvalidSetting: All its episodes are warm-up.
    """
    if episodes <= config.warm_up_episodes:
        raise InvalidSetting(
            f"{episodes} training episodes would leave the policy not trained: the first {config.warm_up_episodes} are "
            "the warm-up. Set more training episodes, or fewer warm_up_episodes."
        )


def train(
    env: gym.Env[Any, Any],
    policy: Policy,
    config: DsrlConfig,
    *,
    run_dir: Path,
    episodes: int = 300,
    seed: int = 0,
    first_env_seed: int = 100_000,
    resume: bool = False,
    on_episode: Callable[[int, EpisodeRecord, dict[str, Any]], None] | None = None,
) -> FineTuned:
    """Fine-tune, with whatever reward the env gives at the end of an episode.

    Interrupting loses at most the episodes since the last checkpoint; a resumed run equals one that was never
    interrupted, bit-exactly, if the env is determined by the seed of its reset.

    Args:
        env: Gives the reward to learn from, e.g. a `VLMRewardWrapper`.
        policy: The frozen decoder.
        config: The fine-tuner's settings.
        run_dir: Gets `config.json`, `metrics.jsonl`, `checkpoint.safetensors`, `noise_policy.safetensors` (the averaged
            actor) and `decision.json`.
        episodes: Episodes of warm-up and learning; those of the validation come after them.
        seed: Seed for networks, noise and batches.
        first_env_seed: Episode i resets with this plus i; evaluation must use other seeds.
        resume: Go on with the run in `run_dir`; a fresh start if there is none.
        on_episode: Called with number, record and metrics after each episode. For videos and reports.

    Raises:
        InvalidSetting: Too few episodes to train, no such device, more steered components than the chunk has, an env
            with deferred scoring, or a warm-up without any score.
        RunMismatch: `run_dir` holds a run of another config, or one that was not asked to resume.
        WeightsError: The checkpoint is corrupt.
    """
    check_episodes(config, episodes)
    learner = Learner(config, policy, seed)
    numbers = {"episodes": episodes, "seed": seed, "first_env_seed": first_env_seed}
    state = open_run(run_dir, {**asdict(config), **numbers}, resume=resume)
    metrics: list[dict[str, Any]] = []
    if state is not None:
        learner.restore(state["learner"])
        metrics = state["metrics"]
    keep_lines(run_dir / METRICS, len(metrics))
    start, total = len(metrics), episodes + config.validation_episodes
    for number in (bar := trange(start, total, initial=start, total=total, desc="fine-tuning")):
        if number == config.warm_up_episodes and not len(_finite([m["reward"] for m in metrics])):
            raise InvalidSetting(
                f"None of the {number} warm-up episodes has a score, so that there is nothing to learn from. See why the "
                "reward model gives none, then start again in another run_dir; what was played "
                f"stays in {run_dir}."
            )
        early = "warm_up" if number < config.warm_up_episodes else "learning"
        phase = early if number < episodes else "validation"
        noise = learner.average if phase == "validation" else learner.explore
        reset_seed = first_env_seed + number
        record = play_without_fault(
            env, policy, noise, seed=reset_seed, generator=learner.generator
        )
        if PENDING in record.logged:
            raise InvalidSetting(
                "The env hands out scores only after the end of an episode, and this loop learns from the reward of its "
                'last step. Pass scoring="immediate" to VLMRewardWrapper.'
            )
        losses: dict[str, float] = {}
        if phase != "validation":
            learner.add(record)
        if config.warm_up_episodes <= number + 1 <= episodes:
            # An actor that follows untrained critics forgets the base policy: they learn alone first.
            ready = bool(learner.sac.targets.n_averaged)
            many = config.updates_per_chunk * len(record.executed)
            losses = learner.learn(many if ready else config.warm_up_updates, actor=ready)
        env_steps = len(record) + (metrics[-1]["env_steps"] if metrics else 0)
        counts = {"episode": number, "phase": phase, "env_steps": env_steps, "steps": len(record)}
        metrics.append({**counts, "reward": record.reward, **record.logged, **losses})
        append_metrics(run_dir / METRICS, metrics[-1])
        bar.set_postfix_str(f"{phase}, reward {record.reward:.2f}")
        if on_episode is not None:
            on_episode(number, record, metrics[-1])
        if (number + 1) % config.save_every == 0 or number + 1 == total:
            save_checkpoint(run_dir / CHECKPOINT, {"learner": learner.state(), "metrics": metrics})
    rewards = [line["reward"] for line in metrics]
    decision = decide(rewards[: config.warm_up_episodes], rewards[episodes:], config.significance)
    learner.average.save(run_dir / NOISE_POLICY)
    write_json(run_dir / DECISION, finite(asdict(decision)))
    base = BaseNoise(policy.chunk, policy.action_dim)
    return FineTuned(learner.average if decision.improved else base, decision, metrics)
