r"""Reward models of different accuracy: checkpoints of one training of nano, each measured on held-out clips.

    python -m experiments.study.checkpoints --run runs/nano --test runs/data/test --out runs/checkpoints --workers 2

The training has kept them: `reward_models.nano.train --language.keep-checkpoints`. What is finished is not done again. At the end the
program prints the command of the study that fine-tunes policies with each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.study.jobs import Job, JobRunner
from reward_models.training.run_folder import CHECKPOINTS, MODEL
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting
from robots.catalogue import TASKS
from robots.signals import end_on_signals


@dataclass(frozen=True)
class CheckpointsArgs:
    """Measure reward models of different accuracy."""

    run: Path
    """Run of `reward_models.nano.train --language.keep-checkpoints`; it may still be going on."""
    test: tuple[Path, ...]
    """Folders of reward data with the held-out split `test`."""
    out: Path
    """Folder of the checkpoints."""
    steps: tuple[int, ...] = ()
    """Which checkpoints, by their step; by default all that there are."""
    limit: int = 1_000
    """Clips that each one is measured on."""
    workers: int = 1
    """Programs at a time, one thread each."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InvalidSetting(f"workers is {self.workers}. Choose 1 or more.")


def kept_checkpoints(args: CheckpointsArgs) -> dict[int, Path]:
    """Return the folder of each checkpoint by its step.

    Raises:
        InvalidSetting: The run has none, or not one of those that are wanted.
    """
    folders = (args.run / "language" / CHECKPOINTS).glob("checkpoint-*")
    kept = {int(folder.name.rpartition("-")[2]): folder for folder in folders}
    wanted = sorted(args.steps or kept)
    missing = [step for step in wanted if step not in kept]
    if missing or not wanted:
        raise InvalidSetting(
            f"{args.run} has no checkpoint of step {', '.join(map(str, missing)) or '1 or later'}; there are "
            f"{', '.join(map(str, sorted(kept))) or 'none'}. Train with --language.keep-checkpoints, or choose --steps."
        )
    return {step: kept[step] for step in wanted}


def jobs_of(args: CheckpointsArgs, steps: Sequence[int]) -> list[Job]:
    """Measure each model."""
    return [
        Job(
            f"bench-{step:05d}",
            lambda step=step: [
                "reward_models.bench.benchmark", "--model", f"checkpoint:{model_of(args.out, step)}", "--data",
                *map(str, args.test), "--limit", str(args.limit), "--threads", "1", "--out", str(result_of(args.out, step)),
            ],
            result_of(args.out, step).exists,
        )
        for step in steps
    ]  # fmt: skip


def model_of(out: Path, step: int) -> Path:
    """Folder of a checkpoint as a model."""
    return out / f"steps-{step:05d}" / MODEL


def result_of(out: Path, step: int) -> Path:
    """What `roboreward bench` says of a checkpoint."""
    return out / f"steps-{step:05d}.json"


def study_command(out: Path, steps: Sequence[int]) -> str:
    """The command that fine-tunes policies with each of the checkpoints."""
    cells = [f"{entry.name}-checkpoint:{model_of(out, n)}" for entry in TASKS for n in steps]
    errors = [str(result_of(out, n)) for n in steps]
    words = ["python -m experiments.study", *cells, "--seeds 0 1 2", "--mae", *errors]
    return " ".join(words)


def main(args: CheckpointsArgs) -> int:
    """Do what is missing, then say how to go on; returns the exit status."""
    from reward_models.training.export import write_model

    end_on_signals()
    checkpoints = kept_checkpoints(args)
    for step, folder in checkpoints.items():
        model = model_of(args.out, step)
        if not model.is_dir():
            model.parent.mkdir(parents=True, exist_ok=True)
            write_model(args.run / "base", folder, model)
    failures = JobRunner(args.out / "logs", args.workers).run(jobs_of(args, list(checkpoints)))
    for failure in failures:
        print(f"FAILED   {failure.job.name}: {failure.reason}")
    done = [step for step in checkpoints if result_of(args.out, step).exists()]
    print(study_command(args.out, done))
    return 1 if failures else 0


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(CheckpointsArgs, description=__doc__)))
