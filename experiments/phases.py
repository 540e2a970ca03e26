"""The phases of an experiment, each of which keeps what it has finished in the run folder."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym

from experiments.base_policy import check_policy, fingerprint, open_policy
from experiments.config import HUMAN, NOBODY, ExperimentConfig, evaluation_seeds, training_seeds
from experiments.evaluate import Evaluation, PolicySpec, evaluate_policy, take_shared
from experiments.late_scores import PersonLater
from experiments.played_episode import PLAYED, PlayedEpisode, training_path
from experiments.results import Training, provenance, summarize
from experiments.reward_sources import is_ours, scored_env
from experiments.robot import Robot
from experiments.robot_episodes import EPISODE, KeepScores
from experiments.run_folder import (
    RunFolder,
    RunFolderError,
    read_json,
    read_lines,
    write_json,
    write_lines,
)
from experiments.strips import save_strip
from policies.dsrl.learner import Learner
from policies.dsrl.training import DECISION, NOISE_POLICY, check_episodes, train
from policies.player import EpisodeRecord
from roboreward_gym.registry import load_reward_model, split_name
from roboreward_gym.rewards import as_reward_map
from robots.disk import naming
from robots.recording import read_ratings
from robots.xs.rating import rating_info

EPISODES = "episodes"
"""Folder of a run on a robot with all of its episodes."""
SHARED_BASE = "shared_base.json"
"""Where the evaluation of the base policy lies that a run shares with others."""
Log = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Finished:
    """A finished run: its phases, and the record that was written of it."""

    base: Evaluation
    final: Evaluation
    training: Training
    record: dict[str, Any]


def open_run(
    config: ExperimentConfig,
    path: Path,
    *,
    resume: bool,
    robot: Mapping[str, Any] | None = None,
) -> RunFolder:
    """Check all that could be refused later, then open the folder of the run.

    Args:
        config: The experiment.
        path: The folder.
        resume: Continue what is there.
        robot: `RobotOptions.description` of an arm over ROS 2.

    Raises:
        RunFolderError: The folder holds another run, or one that was not asked to resume; see `check` for others.
    """
    return RunFolder(path, {**check(config), **_of_robot(robot)}, resume=resume)


def _of_robot(robot: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if robot is None else {"robot": dict(robot)}


def check(config: ExperimentConfig) -> dict[str, Any]:
    """Check all that a run could be refused for, and return its description.

    Raises:
        WeightsError: The base policy cannot be read.
        UnknownName: No such reward model or reward map.
        InvalidSetting: A setting of the fine-tuner that does not fit, too few episodes, or no such device.
    """
    module, _, env_name = config.env_id.rpartition(":")
    if module:
        import_module(module)  # registers its environments
    gym.spec(env_name)
    as_reward_map(config.reward_map)
    check_episodes(config.dsrl, config.training_episodes)
    # Refuses what does not fit the policy.
    Learner(config.dsrl, check_policy(config.policy, config.env_id, config.dsrl.device))
    weights = None
    if not is_ours(config.reward_model):
        manifest = getattr(load_reward_model(config.reward_model), "manifest", {})
        weights = manifest.get("weights_sha256")
    return description(config, weights)


def description(config: ExperimentConfig, reward_model_sha256: str | None) -> dict[str, Any]:
    """All that the outcome of a run depends on, JSON-serialisable: the weights of the models count as part of the config."""
    return {
        **dataclasses.asdict(config),
        "policy_sha256": fingerprint(config.policy),
        "reward_model_sha256": reward_model_sha256,
    }


def run(
    config: ExperimentConfig,
    folder: RunFolder,
    *,
    workers: int = 1,
    blind: bool = False,
    log: Log | None = None,
    robot: Robot | None = None,
    shared_base: Path | None = None,
    behind: int = 0,
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
        shared_base: Folder of an evaluation of the base policy from the same starts, to be taken instead of playing them.
        behind: Training episodes that a person may be behind; see `fine_tune`.
    """
    with folder.alone():
        if shared_base is not None:
            take_base(config, folder, shared_base)
        with folder.timed():
            base = evaluate_base(config, folder, workers=workers, robot=robot)
        with folder.timed():
            training = fine_tune(config, folder, blind=blind, log=log, robot=robot, behind=behind)
        with folder.timed():
            final = evaluate_final(config, folder, workers=workers, robot=robot)
        ratings = read_ratings(folder / EPISODES)  # some may have been corrected meanwhile
        base, final = base.rated(ratings), final.rated(ratings)
        record = {
            "config": config.name,
            "seed": config.seed,
            "reward_model": config.reward_model,
            "reward_map": config.reward_map,
            **summarize(base.rate, final.rate, training),
            **decision_of(folder),
            **({} if robot is None else {"robot": robot.options.description()}),
            "minutes": round(folder.minutes, 2),
            **provenance(),
        }
        write_json(folder / "result.json", record)
    return Finished(base, final, training, record)


def rate_again(config: ExperimentConfig, folder: RunFolder, finished: Finished) -> Finished:
    """Put the ratings of the run's episodes, some of them corrected, into its record."""
    base, training, final = finished.base, finished.training, finished.final
    record = {**finished.record, **summarize(base.rate, final.rate, training)}
    write_json(folder / "result.json", record)
    return Finished(base, final, training, record)


def reopen(path: Path) -> tuple[ExperimentConfig, RunFolder, Finished]:
    """Open the folder of a finished run again.

    Raises:
        RunFolderError: There is no finished run in `path`.
    """
    if not (path / "result.json").exists():
        raise RunFolderError(
            f"There is no result.json in {path}: the run is not finished. Finish it with --resume."
        )
    saved = read_json(path / "config.json")
    try:
        config = ExperimentConfig.from_json(saved)
        described = {
            **description(config, saved["reward_model_sha256"]),
            **_of_robot(saved.get("robot")),
        }
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path / 'config.json'} was written by another version ({error}). "
            "Run the experiment again, or read it with the version of `git_commit` in its result.json."
        ) from error
    folder = RunFolder(path, described, resume=True)
    ratings = read_ratings(folder / EPISODES)
    base = Evaluation.load(folder / "base.jsonl", _base_seeds(config)).rated(ratings)
    final = Evaluation.load(folder / "final.jsonl", _final_seeds(config)).rated(ratings)
    record = read_json(folder / "result.json")
    return config, folder, Finished(base, final, load_training(folder), record)


def policy_spec(
    config: ExperimentConfig,
    noise_policy: Path | None = None,
    robot: Robot | None = None,
    played: Path | None = None,
) -> PolicySpec:
    """The base policy, or with `noise_policy` the fine-tuned one; `played` is the folder of its episodes.

    People are not asked about evaluations in simulation: success is the simulator's.
    """
    asks_people = split_name(config.reward_model)[0] == HUMAN and robot is None
    return PolicySpec(
        config.env_id,
        config.policy,
        noise_policy,
        NOBODY if asks_people else config.reward_model,
        robot,
        device=config.dsrl.device,
        played=played,
    )


def _base_seeds(config: ExperimentConfig) -> range:
    return evaluation_seeds(config.seed, config.base_episodes)


def _final_seeds(config: ExperimentConfig) -> range:
    """The first of the base policy's, or more: `final.jsonl` may be a copy of a longer `base.jsonl`."""
    return evaluation_seeds(config.seed, config.final_episodes)


def take_base(config: ExperimentConfig, folder: RunFolder, shared: Path) -> None:
    """Write an evaluation of the base policy that other runs share into the run folder; one that is there stays.

    Raises:
        RunFolderError: It is of another policy, from other starts, or not finished.
    """
    path = folder / "base.jsonl"
    if not path.exists():
        base = take_shared(shared, policy_spec(config), config.seed, _base_seeds(config))
        write_json(folder / SHARED_BASE, {"folder": os.path.relpath(shared, folder.path)})
        write_lines(path, map(dataclasses.asdict, base.outcomes))


def base_played(folder: Path) -> Path:
    """Folder of the base policy's evaluation episodes, `<seed>.npz` each, of the run in `folder`."""
    shared = folder / SHARED_BASE
    return (
        folder / read_json(shared)["folder"] / PLAYED
        if shared.exists()
        else _played(folder, "base")
    )


def final_played(folder: Path) -> Path:
    """Likewise of the policy that was kept; it is empty if that is the base policy."""
    return _played(folder, "final")


def _played(folder: Path, phase: str) -> Path:
    return folder / PLAYED / phase


def evaluate_base(
    config: ExperimentConfig, folder: RunFolder, *, workers: int = 1, robot: Robot | None = None
) -> Evaluation:
    """Success of the base policy."""
    return evaluate_policy(
        policy_spec(config, robot=robot, played=base_played(folder.path)),
        _base_seeds(config),
        folder / "base.jsonl",
        workers=workers,
        label="base policy",
    )


def evaluate_final(
    config: ExperimentConfig, folder: RunFolder, *, workers: int = 1, robot: Robot | None = None
) -> Evaluation:
    """Success of the policy that was kept, from the same starts as the base policy's.

    If that is the base policy, its episodes are not played again.
    """
    noise_policy, path = kept_noise_policy(folder), folder / "final.jsonl"
    if noise_policy is None and not path.exists():
        shutil.copyfile(folder / "base.jsonl", path)
    return evaluate_policy(
        policy_spec(config, noise_policy, robot, final_played(folder.path)),
        _final_seeds(config),
        path,
        workers=workers,
        label="fine-tuned policy" if noise_policy else "base policy, kept",
    )


def kept_noise_policy(folder: RunFolder) -> Path | None:
    """File of the run's fine-tuned noise policy; None if nothing was gained and the base policy is kept."""
    return folder / "training" / NOISE_POLICY if decision_of(folder)["improved"] else None


def decision_of(folder: RunFolder) -> dict[str, Any]:
    """Whether the fine-tuned policy is kept, and why: see `policies.dsrl.training.Decision`."""
    return read_json(folder / "training" / DECISION)


def fine_tune(
    config: ExperimentConfig,
    folder: RunFolder,
    *,
    blind: bool = False,
    log: Log | None = None,
    robot: Robot | None = None,
    behind: int = 0,
) -> Training:
    """Train, or finish training; the learner sees the reward of the experiment's reward source and no other.

    Args:
        config: The experiment.
        folder: Its open run folder.
        blind: Hide the truth from the reports too; what is learned must not change by that.
        log: Called with each training episode's metrics.
        robot: An arm over ROS 2; without it the environment simulates.
        behind: Training episodes that may be without the rating of a person while play and learning go on; 0: each is waited for.

    Raises:
        InvalidSetting: `behind` with another reward model than `human:...`.
    """
    late = (
        PersonLater(config.reward_model, config.reward_map, behind, folder.path) if behind else None
    )
    scored = scored_env(
        config.env_id,
        config.reward_model,
        config.reward_map,
        blind=blind,
        robot=robot,
        later=late,
    )
    if late is not None:
        late.watch(scored)

    def on_episode(number: int, record: EpisodeRecord, metrics: dict[str, Any]) -> None:
        phase = metrics["phase"]
        played = (
            late.played(number, record, phase)
            if late is not None
            else PlayedEpisode.last_of(scored, record, phase)
        )
        played.save(training_path(folder.path, number))
        if phase != "validation":
            save_strip(folder, played, number)
        if log is not None:
            log(metrics)

    with closing(scored), naming(folder / "training"):
        env = scored if robot is None else KeepScores(scored, blind=blind)
        policy, env = open_policy(config.policy, env, config.dsrl.device)
        train(
            env,
            policy,
            config.dsrl,
            run_dir=folder / "training",
            episodes=config.training_episodes,
            seed=config.seed,
            first_env_seed=training_seeds(config.seed).start,
            resume=True,
            on_episode=on_episode,
            late=late,
        )
    return load_training(folder)


def load_training(folder: RunFolder | Path) -> Training:
    """What the fine-tuner logged of warm-up and learning."""
    lines = read_lines(folder / "training" / "metrics.jsonl")
    ratings = read_ratings(folder / EPISODES)
    return Training.from_metrics(
        [{**line, **_rating(line, ratings)} for line in lines if line["phase"] != "validation"]
    )


def _rating(line: Mapping[str, Any], ratings: Mapping[int, int | None]) -> dict[str, float]:
    """What a person said of a training episode, in the names of its metrics; nothing without a rating."""
    number = line.get(EPISODE)
    if number is None or int(number) not in ratings:
        return {}
    return rating_info(ratings[int(number)])
