"""Measure how often a policy succeeds, by the simulator's truth; resumable and reproducible.

    python -m experiments.evaluate --policy policies/weights/toy-on-towel
    python -m experiments.evaluate --policy policies/weights/drawer --env robots:WidowXDrawer-v0 --out runs/base

Every episode is seeded by itself (start state and noise), so its outcome depends neither on the
episodes before it nor on how many processes share the work.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import gymnasium as gym
import torch
import tyro
from tqdm import tqdm

from experiments.base_policy import fingerprint, open_policy
from experiments.config import CONSTANT, evaluation_seeds
from experiments.metrics import LEVELS, Rate, confusion, success_rate
from experiments.played_episode import PLAYED, PlayedEpisode
from experiments.reward_sources import scored_env
from experiments.robot import Robot
from experiments.robot_episodes import EPISODE, KeepScores
from experiments.run_folder import RunFolder, RunFolderError, read_json, read_lines, write_lines
from experiments.workers import prepare, worker_pool
from policies.dsrl.learner import load_learned
from policies.player import BaseNoise, NoiseSource, play_without_fault
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting, NoEpisode
from roboreward_gym.types import Clip, ProgressScore
from robots.disk import naming


@dataclass(frozen=True)
class PolicySpec:
    """What is evaluated, described so that another process can build it.

    Attributes:
        env_id: Environment to play in.
        policy: Folder of the base policy, or `lerobot:` and a folder or a Hub id.
        noise_policy: File of the fine-tuned noise policy; None plays Gaussian noise: the base policy.
        reward_model: Reward model that scores every episode, for the report only.
        robot: An arm over ROS 2; without it the environment simulates.
        device: Torch device of the base policy.
        played: Folder that gets every episode, as `<seed>.npz`; None for none.
    """

    env_id: str
    policy: str
    noise_policy: Path | None = None
    reward_model: str = CONSTANT
    robot: Robot | None = None
    device: str = "cpu"
    played: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How one evaluation episode ended.

    Attributes:
        seed: Seed of the episode.
        success: By the simulator's truth, in the last state.
        level: True level, 1..5.
        predicted: Level that the reward model predicted, 1..5.
        steps: Steps in the environment.
        episode: Number of its file, on a robot.
    """

    seed: int
    success: bool
    level: float
    predicted: float
    steps: int
    episode: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """The outcomes of all seeds, in their order."""

    outcomes: tuple[Outcome, ...]

    @classmethod
    def load(cls, path: Path, seeds: Sequence[int]) -> Self:
        """Read the outcomes of `seeds`, in their order, from a file that may hold more.

        Raises:
            RunFolderError: Outcomes are missing.
        """
        outcomes = {line["seed"]: Outcome(**line) for line in read_lines(path)}
        if missing := [seed for seed in seeds if seed not in outcomes]:
            raise RunFolderError(
                f"{path} lacks {len(missing)} of {len(seeds)} episodes. Finish the run with --resume."
            )
        return cls(tuple(outcomes[seed] for seed in seeds))

    def rated(self, ratings: Mapping[int, int | None]) -> "Evaluation":
        """The same with the ratings of a person, by the number of the episode's file, in place of older ones."""
        return Evaluation(tuple(_rated(o, ratings) for o in self.outcomes))

    @property
    def rate(self) -> Rate:
        """Success rate with its interval, over the episodes whose truth is known."""
        return success_rate(o.success for o in self.outcomes if not math.isnan(o.level))


def _rated(outcome: Outcome, ratings: Mapping[int, int | None]) -> Outcome:
    if outcome.episode is None or outcome.episode not in ratings:
        return outcome
    level = ratings[outcome.episode]
    known = math.nan if level is None else float(level)
    return replace(outcome, success=level == LEVELS, level=known)


class EpisodeRunner:
    """A policy in its environment: plays one seeded episode at a time and keeps the video of the last.

    Args:
        spec: The policy and its environment.
        wrap: Wrapper around the environment, such as one that shows it in a window.
    """

    def __init__(self, spec: PolicySpec, wrap: Callable[[gym.Env], gym.Env] | None = None) -> None:
        self._played = spec.played
        self._scored = scored_env(spec.env_id, spec.reward_model, robot=spec.robot)
        env = self._scored if spec.robot is None else KeepScores(self._scored)
        env = wrap(env) if wrap else env
        self._policy, self._env = open_policy(spec.policy, env, spec.device)
        self._noise: NoiseSource = (
            load_learned(spec.noise_policy, self._policy) if spec.noise_policy else BaseNoise()
        )

    def play(self, seed: int) -> Outcome:
        """Play the episode of `seed`."""
        generator = torch.Generator().manual_seed(seed)
        record = play_without_fault(
            self._env,
            self._policy,
            self._noise,
            seed=seed,
            generator=generator,
        )
        if self._played is not None:
            episode = PlayedEpisode.last_of(self._scored, record, "evaluation")
            episode.save(self._played / f"{seed}.npz")
        number = record.logged.get(EPISODE)
        return Outcome(
            seed=seed,
            success=record.logged["truth/success"] == 1.0,
            level=record.logged["truth/level"],
            predicted=record.logged.get("roboreward/level", math.nan),
            steps=len(record),
            episode=None if number is None else int(number),
        )

    @property
    def video(self) -> tuple[Clip, ProgressScore]:
        """The episode that was played last, and its score."""
        clip, score = self._scored.last_clip, self._scored.last_score
        if clip is None or score is None:
            raise NoEpisode("No episode has been played. Call play() first.")
        return clip, score

    def close(self) -> None:
        """Free the renderer."""
        self._env.close()


class EvaluationFile:
    """Outcomes on disk, one line each, so that an interrupted evaluation loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes = {line["seed"]: Outcome(**line) for line in read_lines(path)}

    def __enter__(self) -> Self:
        # Written anew, because a kill may have cut the last line short.
        write_lines(self.path, map(asdict, self.outcomes.values()))
        self._file = self.path.open("a")
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Add an outcome; it is on disk when this returns."""
        self.outcomes[outcome.seed] = outcome
        with naming(self.path):
            self._file.write(json.dumps(asdict(outcome)) + "\n")
            self._file.flush()


def evaluate_policy(
    spec: PolicySpec,
    seeds: Sequence[int],
    path: Path,
    *,
    workers: int = 1,
    label: str = "evaluate",
) -> Evaluation:
    """Play the episodes of `seeds` that `path` does not hold yet.

    Args:
        spec: What plays.
        seeds: One episode each.
        path: JSON-lines file of outcomes; made, or continued.
        workers: Processes that share the episodes; the outcomes do not depend on it.
        label: Name of the progress bar.
    """
    with EvaluationFile(path) as done:
        missing = [seed for seed in seeds if seed not in done.outcomes]
        known = len(seeds) - len(missing)
        with tqdm(total=len(seeds), initial=known, desc=label, unit="ep") as bar:
            successes = sum(done.outcomes[s].success for s in seeds if s in done.outcomes)
            for outcome in _play_all(spec, missing, workers):
                done.add(outcome)
                successes += outcome.success
                bar.set_postfix_str(f"{successes} successes", refresh=False)
                bar.update()
    return Evaluation.load(path, seeds)


def _play_all(spec: PolicySpec, seeds: Sequence[int], workers: int) -> Iterator[Outcome]:
    if workers <= 1 or len(seeds) < 2 * workers:
        if seeds:
            with closing(EpisodeRunner(spec)) as runner:
                yield from map(runner.play, seeds)
        return
    with worker_pool(workers) as pool:
        yield from pool.imap_unordered(partial(_play, spec), seeds)
        pool.close()  # workers that end by themselves give back the locks of their progress bars
        pool.join()


def _play(spec: PolicySpec, seed: int) -> Outcome:
    return _runner(spec).play(seed)


@cache
def _runner(spec: PolicySpec) -> EpisodeRunner:
    """The policy of this worker process, built for its first episode."""
    return EpisodeRunner(spec)


OUTCOMES = "outcomes.jsonl"
"""File of the outcomes in the folder of an evaluation."""


def describe(spec: PolicySpec, seed: int) -> dict[str, Any]:
    """All that the outcomes of an evaluation in a folder of its own depend on, JSON-serialisable.

    Start states and noise both come from the block of evaluation seeds.
    """
    return {
        "env_id": spec.env_id,
        "policy_sha256": fingerprint(spec.policy),
        "noise_policy": None if spec.noise_policy is None else str(spec.noise_policy),
        "reward_model": spec.reward_model,
        "device": spec.device,
        "seed": seed,
    }


def take_shared(folder: Path, spec: PolicySpec, seed: int, seeds: Sequence[int]) -> Evaluation:
    """Read the evaluation that another program made, of the same policy from the same starts.

    Which reward model looked on does not matter: it is left out, and what it predicted is NaN.

    Raises:
        RunFolderError: There is none, it is another one, or not finished.
    """
    saved = folder / "config.json"
    if not saved.exists():
        raise RunFolderError(
            f"There is no evaluation in {folder}. Make it with `python -m experiments.evaluate --out {folder}`."
        )
    made, wanted = read_json(saved), describe(spec, seed)
    names = [name for name in wanted if name != "reward_model" and made.get(name) != wanted[name]]
    if names:
        pairs = "; ".join(f"{name}: {made.get(name)!r}, here {wanted[name]!r}" for name in names)
        raise RunFolderError(f"{folder} is another evaluation ({pairs}). Name another folder.")
    shared = Evaluation.load(folder / OUTCOMES, seeds)
    return Evaluation(tuple(replace(o, predicted=math.nan) for o in shared.outcomes))


@dataclass(frozen=True)
class EvaluateArgs:
    """Measure how often a policy succeeds."""

    policy: str
    """Folder of the base policy, or `lerobot:` and the folder or the Hub id of a LeRobot policy."""
    env: str = "robots:WidowXToyOnTowel-v0"
    """Environment to play in."""
    noise_policy: Path | None = None
    """File of a fine-tuned noise policy; without it the base policy is evaluated."""
    reward_model: str = CONSTANT
    """Reward model that scores every episode as well, for a confusion table."""
    episodes: int = 200
    """How many."""
    seed: int = 0
    """Which of the disjoint blocks of evaluation seeds."""
    workers: int = 1
    """Processes that share the work."""
    device: str = "cpu"
    """Torch device of the policy."""
    out: Path | None = None
    """Folder of the outcomes and of every episode, continued if it holds those of the same policy; without it nothing is kept."""


def main(args: EvaluateArgs) -> None:
    """Evaluate and print."""
    if args.episodes < 1:
        raise InvalidSetting(f"--episodes must be at least 1, got {args.episodes}.")
    prepare(threads=1)
    spec = PolicySpec(
        args.env, args.policy, args.noise_policy, args.reward_model, device=args.device
    )
    if args.out is not None:
        spec = replace(spec, played=args.out / PLAYED)
    seeds = evaluation_seeds(args.seed, args.episodes)
    with TemporaryDirectory() as scratch:
        out = args.out or Path(scratch)
        folder = RunFolder(out, describe(spec, args.seed), resume=(out / "config.json").exists())
        with folder.alone():
            evaluation = evaluate_policy(spec, seeds, folder / OUTCOMES, workers=args.workers)
    print(f"success {evaluation.rate} in {args.episodes} episodes")
    if args.reward_model != CONSTANT:
        outcomes = evaluation.outcomes
        print("true level (row) against predicted level (column):")
        print(confusion([o.level for o in outcomes], [o.predicted for o in outcomes]))
        unscored = sum(math.isnan(o.predicted) for o in outcomes)
        if unscored:
            print(f"{unscored} episodes have no predicted level: {args.reward_model} gave none.")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(EvaluateArgs)))
