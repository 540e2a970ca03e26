r"""Reward models of different accuracy: nano's language stage with different numbers of steps, each measured on held-out clips.

    python -m experiments.study.checkpoints --tower-from runs/nano --data runs/data/train runs/data/validation \\
        --test runs/data/test --out runs/checkpoints --workers 2

All share one vision tower and its cached features, so that a checkpoint of N steps costs N steps of the language model alone. What is
finished is not done again. At the end the program prints the command of the study that fine-tunes policies with each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.study.jobs import Job, JobRunner
from reward_models.training.run_folder import MODEL
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting
from robots.catalogue import TASKS
from robots.signals import end_on_signals


@dataclass(frozen=True)
class CheckpointsArgs:
    """Train and measure reward models of different accuracy."""

    tower_from: Path
    """Run of `reward_models.nano.train` whose vision tower is used."""
    data: tuple[Path, ...]
    """Folders of reward data to train on, and to validate on."""
    test: tuple[Path, ...]
    """Folders of reward data with the held-out split `test`."""
    out: Path
    """Folder of the checkpoints."""
    steps: tuple[int, ...] = (15, 30, 60, 100, 160, 260, 420, 700, 1100)
    """Steps of each checkpoint."""
    learning_rate: float = 1.5e-3
    """Peak learning rate."""
    limit: int = 1_000
    """Clips that each one is measured on."""
    workers: int = 1
    """Programs at a time, one thread each."""

    def __post_init__(self) -> None:
        if len(set(self.steps)) < len(self.steps) or min(self.steps) < 1 or self.workers < 1:
            raise InvalidSetting(
                f"Give different numbers of steps above 0 and at least one worker, not {self.steps} and {self.workers}."
            )


def jobs_of(args: CheckpointsArgs) -> list[Job]:
    """Train each, then measure it."""
    jobs = []
    for steps in args.steps:
        folder, model = args.out / f"steps-{steps:05d}", model_of(args.out, steps)
        training = [
            "reward_models.nano.train", "--stage", "language", "--tower-from", str(args.tower_from),
            "--data", *map(str, args.data), "--out", str(folder), "--threads", "1",
            "--language.steps", str(steps), "--language.learning-rate", str(args.learning_rate),
            "--language.warmup", str(min(50, steps // 3)), "--language.validate-every", str(min(250, steps)),
        ]  # fmt: skip
        measuring = [
            "reward_models.bench.benchmark", "--model", f"checkpoint:{model}", "--data", *map(str, args.test),
            "--limit", str(args.limit), "--threads", "1", "--out", str(result_of(args.out, steps)),
        ]  # fmt: skip
        train = Job(
            f"train-{folder.name}", lambda words=training: words, (model / "config.json").exists
        )
        jobs += [train, Job(f"bench-{folder.name}", lambda words=measuring: words, result_of(args.out, steps).exists, train)]  # fmt: skip
    return jobs


def model_of(out: Path, steps: int) -> Path:
    """Folder of a checkpoint."""
    return out / f"steps-{steps:05d}" / MODEL


def result_of(out: Path, steps: int) -> Path:
    """What `roboreward bench` says of a checkpoint."""
    return out / f"steps-{steps:05d}.json"


def study_command(out: Path, steps: Sequence[int]) -> str:
    """The command that fine-tunes policies with each of the checkpoints."""
    cells = [f"{entry.name}-checkpoint:{model_of(out, n)}" for entry in TASKS for n in steps]
    errors = [str(result_of(out, n)) for n in steps]
    words = ["python -m experiments.study", *cells, "--seeds 0 1 2", "--mae", *errors]
    return " ".join(words)


def main(args: CheckpointsArgs) -> int:
    """Do what is missing, then say how to go on; returns the exit status."""
    end_on_signals()
    failures = JobRunner(args.out / "logs", args.workers).run(jobs_of(args))
    for failure in failures:
        print(f"FAILED   {failure.job.name}: {failure.reason}")
    done = [steps for steps in args.steps if result_of(args.out, steps).exists()]
    print(study_command(args.out, done))
    return 1 if failures else 0


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(CheckpointsArgs, description=__doc__)))
