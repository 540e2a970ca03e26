"""Score the saved training episodes of a run with another reward model, and learn from them again, without the robot.

    python -m experiments.rescore runs/drawer-nano-seed0 --reward-model clock:4.8
    python -m experiments.rescore runs/drawer-nano-seed0 --reward-model truth --relearn runs/drawer-relearned

Scores are kept in `RUN/scores/`, a file for each reward model and its weights, and what is there is not scored again. Learning again
uses the same episodes in the same order, the same number of updates and the same settings; only the rewards differ. What it
learns is a noise policy, which is evaluated from the starts of the run.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from experiments.base_policy import check_policy
from experiments.config import CONSTANT, TRUTH, ExperimentConfig, evaluation_seeds
from experiments.evaluate import Evaluation, evaluate_policy
from experiments.metrics import confusion, false_positive_rate, mean_absolute_error
from experiments.phases import policy_spec
from experiments.played_episode import PLAYED, PlayedEpisode
from experiments.reward_sources import SimulatedHuman, is_ours, share_of_errors
from experiments.robot import ros_id
from experiments.run_folder import RunFolder, RunFolderError, read_json, read_lines
from experiments.workers import prepare
from policies.dsrl.learner import Learner
from policies.dsrl.training import NOISE_POLICY
from policies.player import BaseNoise, EpisodeRecord, NoiseSource, Policy
from reward_models.judges.null import ConstantReward
from roboreward_gym._cli import run_program
from roboreward_gym.episode import score_from_json, score_to_json
from roboreward_gym.registry import load_reward_model
from roboreward_gym.rewards import GuardOver, as_reward_map, guard_of, reward_of
from roboreward_gym.types import Clip, ProgressScore, RewardModel
from robots.disk import naming

SCORES = "scores"
BATCH = 8
"""Episodes that are scored at once."""


@dataclass(frozen=True)
class RescoreArgs:
    """Score the saved training episodes of a run with another reward model, and learn from them again."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    reward_model: str
    """Name of the reward model, or `truth`, `constant` or `simulated-human:SHARE_OF_ERRORS`."""
    reward_map: str | None = None
    """From the score to the reward that is learned from; by default that of the run."""
    relearn: Path | None = None
    """Folder of what is learned from the new scores; without it nothing is learned."""
    episodes: int = 200
    """Evaluation episodes of what was learned, in simulation."""
    workers: int = 1
    """Processes that share the evaluation episodes."""


class _Levels:
    """Answers with levels that are known, in order: the truth of saved episodes."""

    def __init__(self, levels: Sequence[float]) -> None:
        self._levels = levels

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """The levels; NaN is unknown."""
        pairs = zip(clips, self._levels, strict=True)
        return [ProgressScore(None if math.isnan(x) else round(x), text=TRUTH) for _, x in pairs]


def training_episodes(run: Path) -> dict[int, Path]:
    """Files of the training episodes of a run by their numbers.

    Raises:
        RunFolderError: There are none.
    """
    paths = sorted((run / PLAYED / "training").glob("*.npz"))
    if not paths:
        raise RunFolderError(
            f"There are no training episodes in {run}. Name the folder of a run that saved its episodes, in {PLAYED}/."
        )
    return {int(path.stem): path for path in paths}


def score_episodes(
    run: Path, reward_model: str, reward_map: str = "progress"
) -> dict[int, ProgressScore]:
    """Scores of all training episodes of a run, by their numbers; those that are on disk are not made again.

    Args:
        run: Folder of the run.
        reward_model: Name of a reward source.
        reward_map: A guard in it checks the successes, and its scores are kept in a file of their own.
    """
    episodes = training_episodes(run)
    guard = guard_of(as_reward_map(reward_map))
    path = run / SCORES / f"{_file_name(reward_model, reward_map if guard else '')}.jsonl"
    known = {line["episode"]: score_from_json(line["score"]) for line in read_lines(path)}
    scores = {number: score for number, score in known.items() if score is not None}
    missing = [number for number in episodes if number not in scores]
    path.parent.mkdir(exist_ok=True)
    with naming(path), path.open("a") as file:
        bar = tqdm(total=len(episodes), initial=len(scores), desc="score", unit="ep")
        for numbers in (missing[i : i + BATCH] for i in range(0, len(missing), BATCH)):
            played = [PlayedEpisode.load(episodes[number]) for number in numbers]
            for number, score in zip(
                numbers, score_played(reward_model, played, guard), strict=True
            ):
                file.write(json.dumps({"episode": number, "score": score_to_json(score)}) + "\n")
                scores[number] = score
            file.flush()
            bar.update(len(numbers))
        bar.close()
    return dict(sorted(scores.items()))


def score_played(
    reward_model: str, played: Sequence[PlayedEpisode], guard: GuardOver | None = None
) -> list[ProgressScore]:
    """Scores of saved episodes; what a reward model calls a success is checked by the guard, if there is one."""
    model = _model(reward_model, played)
    if guard is not None and not is_ours(reward_model):  # the truth has no second look
        model = guard(model)
    return model.score([episode.clip for episode in played])


def _model(name: str, played: Sequence[PlayedEpisode]) -> RewardModel:
    if not is_ours(name):
        return load_reward_model(name)
    if name == CONSTANT:
        return ConstantReward()
    truth = _Levels([episode.record.logged.get("truth/level", math.nan) for episode in played])
    return truth if name == TRUTH else SimulatedHuman(truth, share_of_errors(name))


def _weights(reward_model: str) -> str | None:
    if is_ours(reward_model):
        return None
    return getattr(load_reward_model(reward_model), "manifest", {}).get("weights_sha256")


def _file_name(reward_model: str, guarded: str) -> str:
    weights = _weights(reward_model)
    parts = [reward_model, "" if weights is None else weights[:12], guarded]
    return re.sub(r"[^\w.-]+", "-", "-".join(filter(None, parts)))


def relearn(
    config: ExperimentConfig, run: Path, rewards: dict[int, float], folder: RunFolder
) -> Path:
    """Learn from the saved episodes with other rewards; returns the file of what was learned.

    Args:
        config: Of the run.
        run: Its folder.
        rewards: Of each training episode; NaN for one that is not learned from.
        folder: Gets the noise policy.
    """
    policy = check_policy(config.policy, config.env_id, config.dsrl.device)
    learner = Learner(config.dsrl, policy, config.seed)
    base = BaseNoise()
    for number, path in training_episodes(run).items():
        if number >= config.training_episodes:
            break  # the validation
        record = PlayedEpisode.load(path).record
        warm = number < config.dsrl.warm_up_episodes
        source = base if warm else learner.explore
        _draw_as_played(source, policy, record, learner.generator)
        ends = np.zeros_like(record.rewards)
        ends[-1] = rewards[number]
        learner.add(dataclasses.replace(record, rewards=ends))
        if number + 1 == config.dsrl.warm_up_episodes:
            learner.warm_up()
        elif number >= config.dsrl.warm_up_episodes:
            learner.learn(config.dsrl.updates_per_chunk * len(record.executed))
    learner.final.save(folder / NOISE_POLICY)
    return folder / NOISE_POLICY


def _draw_as_played(
    noise: NoiseSource, policy: Policy, record: EpisodeRecord, generator: torch.Generator
) -> None:
    """Draw the random numbers that playing the episode drew: with the rewards of the run, what is learned is bit-exact the same."""
    elapsed = np.cumsum(record.executed) - record.executed
    for chunk, steps in enumerate(elapsed):
        noise(policy, record.features[chunk : chunk + 1], int(steps), generator)


def main(args: RescoreArgs) -> None:
    """Score, compare with the truth and with the run's own scores, and learn again if asked to."""
    prepare(threads=1)
    saved = read_json(args.run / "config.json")
    config = ExperimentConfig.from_json(saved)
    reward_map = as_reward_map(args.reward_map or config.reward_map)
    scores = score_episodes(args.run, args.reward_model, args.reward_map or config.reward_map)
    for line in comparison(args.run, scores):
        print(line)
    if args.relearn is None:
        return
    described: dict[str, Any] = {
        **saved,
        "reward_model": args.reward_model,
        "reward_model_sha256": _weights(args.reward_model),
        "reward_map": args.reward_map or config.reward_map,
        "final_episodes": args.episodes,
        "relearned_from": str(args.run),
    }
    known = (args.relearn / "config.json").exists()
    folder = RunFolder(args.relearn, described, resume=known)
    rewards = {number: reward_of(score, reward_map) for number, score in scores.items()}
    noise_policy = relearn(config, args.run, rewards, folder)
    print(f"learned     {noise_policy}")
    if config.env_id != ros_id(config.env_id):
        print(f"evaluated   {evaluate(config, noise_policy, args.episodes, args.workers).rate}")


def evaluate(
    config: ExperimentConfig, noise_policy: Path, episodes: int, workers: int
) -> Evaluation:
    """Success of what was learned, from the starts of the run's evaluations."""
    spec = dataclasses.replace(policy_spec(config, noise_policy), reward_model=CONSTANT)
    return evaluate_policy(
        spec,
        evaluation_seeds(config.seed, episodes),
        noise_policy.with_name("final.jsonl"),
        workers=workers,
        label="relearned policy",
    )


def comparison(run: Path, scores: dict[int, ProgressScore]) -> Iterator[str]:
    """What the new scores say, beside the run's own and the truth."""
    lines = {line["episode"]: line for line in read_lines(run / "training" / "metrics.jsonl")}
    level = lambda score: math.nan if score.level is None else float(score.level)  # noqa: E731
    new = [level(scores[number]) for number in scores]
    for name, key in (("truth", "truth/level"), ("the run's own scores", "roboreward/level")):
        other = [lines.get(number, {}).get(key) for number in scores]
        counts = confusion([math.nan if x is None else x for x in other], new)
        if counts.sum():
            yield (
                f"against {name}: {counts.sum()} episodes, MAE {mean_absolute_error(counts):.3f}, predicted 5 below "
                f"5 in {100 * false_positive_rate(counts):.1f} %"
            )


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(RescoreArgs, description=__doc__)))
