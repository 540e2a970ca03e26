"""DSRL: fine-tune a frozen diffusion policy by choosing the noise it starts from.

The decoder (observation, noise) -> action chunk is deterministic, so its initial noise is an action like any other, and
reinforcement learning can choose it (arXiv 2506.15799). No gradient passes through the decoder.

A run has three phases. *Warm-up*: episodes of the base policy; then the critics learn alone. *Learning*: what was learned
plays, and learns on after each episode. *Validation*: episodes of the final policy, without updates. A one-sided test
compares the rewards of validation and warm-up; without a significant gain the base policy is kept.

gamma is per env step and raised to the steps that a chunk really lasted. The time into the episode joins the features:
with a time limit, what a state is worth depends on the time left. An episode without a score (reward NaN) is never learned from.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
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
    write_lines,
)
from policies.dsrl.config import DsrlConfig
from policies.dsrl.late import LateScores, PendingEpisodes, Played
from policies.dsrl.learner import Learned, Learner
from policies.player import BaseNoise, EpisodeRecord, Policy, play_without_fault
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.info import PENDING

NOISE_POLICY = "noise_policy.safetensors"
DECISION = "decision.json"
BASE = BaseNoise()
RESAMPLES = 1_999
"""Ways to deal the rewards that the test tries; all of them if there are fewer."""


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
        noise: What to play: the fine-tuned policy's noise, or the base policy's noise if nothing was gained.
        decision: Why.
        metrics: One dict per episode, as in `metrics.jsonl`.
    """

    noise: Learned | BaseNoise
    decision: Decision
    metrics: list[dict[str, Any]]


def decide(warm_up: ArrayLike, validation: ArrayLike, significance: float = 0.05) -> Decision:
    """Compare mean rewards by a one-sided permutation test, which is exact for any distribution of rewards.

    A validation episode without a score (NaN) counts as the lowest reward of all, so that missing scores are not a gain; a
    warm-up episode without one is left out.

    Args:
        warm_up: Rewards of episodes of the base policy.
        validation: Rewards of episodes of the fine-tuned policy.
        significance: Largest p-value that counts as a gain.
    """
    before, scored = _finite(warm_up), _finite(validation)
    p_value = 1.0
    if min(len(before), np.size(validation)) >= 2 and len(scored):  # one number is not a group
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


def _unscored(metrics: Sequence[Mapping[str, Any]]) -> int:
    return len(metrics) - len(_finite([line["reward"] for line in metrics]))


def _check_scored(metrics: Sequence[Mapping[str, Any]], run_dir: Path) -> None:
    """Refuse to go on where the reward model abstained, or a person could not tell, more often than not.

    Raises:
        InvalidSetting: More than half of the episodes have no score.
    """
    unscored = _unscored(metrics)
    if 2 * unscored > len(metrics):
        raise InvalidSetting(
            f"{unscored} of {len(metrics)} episodes have no score, more than half, so that there is too little to "
            "learn from. See why the reward model gives none (its answers are logged), then start again in another "
            f"run_dir; what was played stays in {run_dir}."
        )


def _learn(learner: Learner, one: Played, before: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What follows an episode that has its score by now, the last of the warm-up included; returns the losses.

    Args:
        learner: Learns from it.
        one: The episode.
        before: Lines of those that had their score before.

    Raises:
        InvalidSetting: The score is still to come.
    """
    if PENDING in one.record.logged:
        raise InvalidSetting(
            "The env hands out scores only after the end of an episode, and this loop learns from the reward of its "
            'last step. Pass scoring="immediate" to VLMRewardWrapper.'
        )
    if one.phase == "validation":
        return {}
    learner.add(one.record)
    if one.phase == "learning":
        return learner.learn(learner.config.updates_per_chunk * len(one.record.executed))
    warm = 1 + sum(line["phase"] == "warm_up" for line in before)
    return learner.warm_up() if warm == learner.config.warm_up_episodes else {}


def _note(phase: str, metrics: Sequence[Mapping[str, Any]], waiting: int) -> str:
    """What the progress bar says."""
    reward = f", reward {metrics[-1]['reward']:.2f}" if metrics else ""
    behind = f", {waiting} not rated yet" if waiting else ""
    return f"{phase}{reward}, {_unscored(metrics)} without a score{behind}"


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
    late: LateScores | None = None,
) -> FineTuned:
    """Fine-tune, with whatever reward the env gives at the end of an episode.

    Interrupting loses at most the episodes since the last checkpoint; a resumed run equals one that was never
    interrupted, bit-exactly, if the env is determined by the seed of its reset.

    Args:
        env: Gives the reward to learn from, e.g. a `VLMRewardWrapper`.
        policy: The frozen decoder.
        config: The fine-tuner's settings.
        run_dir: Gets `config.json`, `metrics.jsonl`, `checkpoint.safetensors`, `noise_policy.safetensors` (what
            was learned) and `decision.json`.
        episodes: Episodes of warm-up and learning; those of the validation come after them.
        seed: Seed for networks, noise and batches.
        first_env_seed: Episode i resets with this plus i; evaluation must use other seeds.
        resume: Go on with the run in `run_dir`; a fresh start if there is none.
        on_episode: Called with number, record and metrics once an episode has its score. For videos and reports.
        late: Asked for the score of each episode instead of the env. Play and learning go on while it has no answer, up to
            `late.most` episodes; the ends of warm-up, learning and validation wait for all. What is learned then depends on when
            answers come; a run that is interrupted asks about the same episodes again, and about no other.

    Raises:
        InvalidSetting: Too few episodes to train, no such device, more steered components than the chunk has, an env
            with deferred scoring, or more episodes without a score than with one when the warm-up is over.
        RunMismatch: `run_dir` holds a run of another config, or one that was not asked to resume.
        WeightsError: The checkpoint is corrupt.
    """
    check_episodes(config, episodes)
    learner = Learner(config, policy, seed)
    numbers = {"episodes": episodes, "seed": seed, "first_env_seed": first_env_seed}
    state = open_run(run_dir, {**asdict(config), **numbers}, resume=resume)
    metrics, waiting = _restore(state, learner, late)
    keep_lines(run_dir / METRICS, len(metrics))
    start, total = len(metrics) + len(waiting), episodes + config.validation_episodes
    env_steps = max((one["env_steps"] for one in [*metrics, *waiting.state()]), default=0)
    for number in (bar := trange(start, total, initial=start, total=total, desc="fine-tuning")):
        if config.warm_up_episodes <= number <= episodes:
            _check_scored(metrics, run_dir)
        phase = _phase(config, number, episodes)
        noise = {"warm_up": BASE, "learning": learner.explore, "validation": learner.final}[phase]
        record = play_without_fault(
            env, policy, noise, seed=first_env_seed + number, generator=learner.generator
        )
        env_steps += len(record)
        # The critics begin with the whole warm-up, and the policy that is validated has learned from everything.
        ends_phase = number + 1 in (config.warm_up_episodes, episodes, total)
        played = Played(number, phase, env_steps, record)
        for one in waiting.exchange(played, for_all=ends_phase):
            metrics.append({**one.line(), **_learn(learner, one, metrics)})
            append_metrics(run_dir / METRICS, metrics[-1])
            if on_episode is not None:
                on_episode(one.number, one.record, metrics[-1])
        bar.set_postfix_str(_note(phase, metrics, len(waiting)))
        # With a person every episode is kept: a rating costs more than a file.
        if late is not None or (number + 1) % config.save_every == 0 or number + 1 == total:
            state = {"learner": learner.state(), "metrics": metrics, "waiting": waiting.state()}
            save_checkpoint(run_dir / CHECKPOINT, state)
    if late is not None:  # late scores were logged as they came
        metrics.sort(key=lambda line: line["episode"])
        write_lines(run_dir / METRICS, metrics)
    return _finish(learner, metrics, episodes, run_dir)


def _restore(
    state: Mapping[str, Any] | None, learner: Learner, late: LateScores | None
) -> tuple[list[dict[str, Any]], PendingEpisodes]:
    """Put the learner into the state of a checkpoint; returns the metrics and the episodes without a score."""
    if state is None:
        return [], PendingEpisodes(late)
    learner.restore(state["learner"])
    return state["metrics"], PendingEpisodes(
        late, [Played.restore(one) for one in state.get("waiting", [])]
    )


def _phase(config: DsrlConfig, number: int, episodes: int) -> str:
    if number >= episodes:
        return "validation"
    return "warm_up" if number < config.warm_up_episodes else "learning"


def _finish(
    learner: Learner, metrics: list[dict[str, Any]], episodes: int, run_dir: Path
) -> FineTuned:
    """Decide which policy is kept, and write the decision and what was learned."""
    config, rewards = learner.config, [line["reward"] for line in metrics]
    decision = decide(rewards[: config.warm_up_episodes], rewards[episodes:], config.significance)
    learner.final.save(run_dir / NOISE_POLICY)
    write_json(run_dir / DECISION, finite(asdict(decision)))
    return FineTuned(learner.final if decision.improved else BASE, decision, metrics)
