"""The phases of an experiment, each of which keeps what it has finished in the run folder."""

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from experiments.config import ExperimentConfig, InvalidConfig, evaluation_seeds
from experiments.evaluate import Contestant, Evaluation, evaluate_contestant
from experiments.report.strips import Strip
from experiments.results import Training, provenance, summarize
from experiments.reward_sources import judged_env
from experiments.robot import KeepScores, Robot
from experiments.run_folder import RunFolder, RunFolderError, read_json, read_lines, write_json
from policies.dsrl import BEST, train
from policies.player import EpisodeRecord
from policies.policy import WEIGHTS, DiffusionPolicy
from roboreward_gym.errors import WeightsError
from roboreward_gym.rewards import as_reward_map
from roboreward_gym.wrapper import VLMRewardWrapper

Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Finished:
    """A finished run: its phases, and the record that was written of it."""

    base: Evaluation
    final: Evaluation
    training: Training
    record: dict[str, Any]


def open_run(config: ExperimentConfig, path: Path, *, resume: bool) -> RunFolder:
    """Open the folder of a run; the base policy's weights count as part of its config."""
    return RunFolder(path, description(config), resume=resume)


def description(config: ExperimentConfig) -> dict[str, Any]:
    """All that the outcome of a run depends on, JSON-able."""
    weights = config.policy / WEIGHTS
    if not weights.exists():
        raise WeightsError(
            f"Expected a base policy in {config.policy}, got no {WEIGHTS}. "
            "Train one with `python -m policies.pretrain`."
        )
    plain = {**dataclasses.asdict(config), "policy": config.policy.as_posix()}
    return {**plain, "policy_sha256": sha256(weights.read_bytes()).hexdigest()}


def run(
    config: ExperimentConfig,
    folder: RunFolder,
    *,
    workers: int = 1,
    blind: bool = False,
    log: Log | None = None,
    robot: Robot | None = None,
) -> Finished:
    """Do what is left of a run: base evaluation, fine-tuning, final evaluation, record.

    The truth is used for the two evaluations and for what is reported of training, and nowhere else.

    Args:
        config: The experiment.
        folder: Its open run folder.
        workers: Processes that share evaluation episodes.
        blind: Hide the truth from training altogether; then only the evaluations report it.
        log: Called with each training episode's metrics.
        robot: An arm over ROS 2, for one worker; without it the environment simulates.
    """
    check(config)
    with folder.timed():
        base = evaluate_base(config, folder, workers=workers, robot=robot)
    with folder.timed():
        training = fine_tune(config, folder, blind=blind, log=log, robot=robot)
    with folder.timed():
        final = evaluate_final(config, folder, workers=workers, robot=robot)
    record = {
        "config": config.name,
        "seed": config.seed,
        "reward_model": config.reward_model,
        "reward_map": config.reward_map,
        **summarize(base.rate, final.rate, training),
        "minutes": round(folder.minutes, 2),
        **provenance(),
    }
    write_json(folder / "result.json", record)
    return Finished(base, final, training, record)


def check(config: ExperimentConfig) -> None:
    """Refuse at once what would only show when the base policy has been evaluated.

    Raises:
        UnknownName: No such reward map.
        InvalidConfig: More components of the noise are to be steered than there are.
        WeightsError: The base policy cannot be read.
    """
    as_reward_map(config.reward_map)
    chunk = DiffusionPolicy.load(config.policy).chunk
    if config.dsrl.steered > chunk:
        raise InvalidConfig(
            f"Expected --dsrl.steered of at most {chunk}, the actions in a chunk of the base policy, "
            f"got {config.dsrl.steered}."
        )


def reopen(path: Path) -> tuple[ExperimentConfig, RunFolder, Finished]:
    """Open the folder of a finished run again.

    Raises:
        RunFolderError: There is no finished run in `path`.
    """
    if not (path / "result.json").exists():
        raise RunFolderError(
            f"Expected a finished run in {path}, got no result.json. Finish it with --resume."
        )
    try:
        config = ExperimentConfig.from_json(read_json(path / "config.json"))
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"Expected the config of this version in {path / 'config.json'}, got another: {error}. "
            "Run the experiment again, or read it with the version of `git_commit` in its result.json."
        ) from error
    folder = open_run(config, path, resume=True)
    base, final = (Evaluation.load(folder / name) for name in ("base.jsonl", "final.jsonl"))
    record = read_json(folder / "result.json")
    return config, folder, Finished(base, final, load_training(folder), record)


def contestant(
    config: ExperimentConfig, steering: Path | None = None, robot: Robot | None = None
) -> Contestant:
    """The base policy, or with `steering` the fine-tuned one."""
    return Contestant(config.env_id, config.policy, steering, config.reward_model, robot)


def evaluate_base(
    config: ExperimentConfig, folder: RunFolder, *, workers: int = 1, robot: Robot | None = None
) -> Evaluation:
    """Success of the base policy."""
    seeds = evaluation_seeds(config.seed, config.base_episodes)
    return evaluate_contestant(
        contestant(config, robot=robot),
        seeds,
        folder / "base.jsonl",
        workers=workers,
        label="base policy",
    )


def evaluate_final(
    config: ExperimentConfig, folder: RunFolder, *, workers: int = 1, robot: Robot | None = None
) -> Evaluation:
    """Success of the fine-tuned policy, from the same starts as the base policy's."""
    seeds = evaluation_seeds(config.seed, config.final_episodes)
    return evaluate_contestant(
        contestant(config, steering_of(folder), robot),
        seeds,
        folder / "final.jsonl",
        workers=workers,
        label="fine-tuned policy",
    )


def steering_of(folder: RunFolder) -> Path:
    """File of the run's fine-tuned noise policy: the best one, by the judge's reward alone."""
    return folder / "training" / BEST


def fine_tune(
    config: ExperimentConfig,
    folder: RunFolder,
    *,
    blind: bool = False,
    log: Log | None = None,
    robot: Robot | None = None,
) -> Training:
    """Train, or finish training; the reward of the arm is all that the learner is told.

    Args:
        config: The experiment.
        folder: Its open run folder.
        blind: Hide the truth from the reports too; what is learned must not change by that.
        log: Called with each training episode's metrics.
        robot: An arm over ROS 2; without it the environment simulates.
    """
    env = judged_env(
        config.env_id, config.reward_model, config.reward_map, blind=blind, robot=robot
    )
    stage = env if robot is None else KeepScores(env)
    policy = DiffusionPolicy.load(config.policy)

    def on_episode(number: int, record: EpisodeRecord, metrics: dict[str, Any]) -> None:
        keep_strip(folder, env, number, record)
        if log is not None:
            log(metrics)

    with closing(env):
        run_dir = folder / "training"
        train(stage, policy, config.learner, run_dir=run_dir, resume=True, on_episode=on_episode)
    return load_training(folder)


def load_training(folder: RunFolder) -> Training:
    """What the fine-tuner logged."""
    return Training.from_metrics(read_lines(folder / "training" / "metrics.jsonl"))


def keep_strip(
    folder: RunFolder, env: VLMRewardWrapper, number: int, record: EpisodeRecord
) -> None:
    """Save the film strip of the training episode that has just been judged, for the report."""
    clip, score = env.last_clip, env.last_score
    if clip is not None and score is not None:
        level, note = record.logged["truth/level"], f"training episode {number + 1}"
        strip = Strip.of(clip.frames, clip.task, score, level, note)
        strip.save(folder / "strips" / f"{number:06d}")
