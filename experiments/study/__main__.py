"""Run many experiments as one program that can be stopped at any moment, and write the tables of what is finished.

    python -m experiments.study toy-on-towel-nano drawer-nano --seeds 0 1 2 --workers 2
    python -m experiments.study drawer-oracle drawer-oracle+sac --seeds 0 1 -- --training-episodes 200
    python -m experiments.study drawer-checkpoint:runs/nano/model --workers 0

A cell is TASK-REWARD, as `experiments.run` knows it, and may have `+VARIANT` behind it. What follows `--` are options of
`experiments.run` for every run. The same command continues where it stopped. The base policy is evaluated once for all runs of a
task and a seed. A run that fails does not stop the others and is reported at the end. `--workers 0` plays nothing.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from experiments.base_policy import fingerprint
from experiments.config import evaluation_seeds
from experiments.evaluate import OUTCOMES
from experiments.run_folder import read_json, read_lines, write_json
from experiments.study.jobs import Job, JobRunner
from experiments.study.learner_tables import ablation, extended, strength
from experiments.study.mae import read_mae
from experiments.study.runs import VARIANTS, StudyRun, planned
from roboreward_gym._cli import INTERRUPTED, run_program
from roboreward_gym.errors import InvalidSetting
from robots.signals import end_on_signals

ABLATED = ("changed", "task")
"""Columns that name a row of an ablation."""
FAILED = 1
"""Exit status of a study of which a run has failed."""


@dataclass(frozen=True)
class StudyArgs:
    """Run many experiments as one program, and write the tables of what is finished."""

    cells: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CELL")]
    """Experiments: TASK-REWARD, or TASK-REWARD+VARIANT."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of each cell."""
    workers: int = 1
    """Programs at a time, one thread each; 0 plays nothing and writes the tables."""
    out: Path = Path("runs/study")
    """Folder of the runs."""
    tables: Path | None = None
    """Folder of the tables; by default that of the runs."""
    keep: bool = False
    """Keep the rows of the tables that are not about these cells, for example because the folders of their runs are gone."""
    ablation: Path | None = None
    """A table of an ablation that gets the rows of these runs; its other rows stay."""
    mae: tuple[Path, ...] = ()
    """Files of `roboreward bench` about reward models of the cells, kept ones included: the error in `mae_vs_success`."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise InvalidSetting("Name at least one cell, for example toy-on-towel-nano.")
        if self.workers < 0:
            raise InvalidSetting(f"--workers must be at least 0, got {self.workers}.")


def main(argv: Sequence[str]) -> int:
    """Play what is missing, then write the tables; returns the exit status."""
    ours, options = split_options(argv)
    description = f"{__doc__}\nVariants: {', '.join(VARIANTS)}."
    args = tyro.cli(StudyArgs, args=ours, prog="experiments.study", description=description)
    runs = planned(args.cells, args.seeds, args.out, options)
    if args.workers > 1 and any(run.args.arm is not None for run in runs):
        raise InvalidSetting("There is one robot: a study with it takes --workers 1.")
    errors = read_mae(args.mae)
    end_on_signals()
    failures, stopped = [], False
    if args.workers:
        runner = JobRunner(args.out / "logs", args.workers)
        try:
            failures = runner.run(jobs_of(runs, args.out))
        except KeyboardInterrupt:
            failures, stopped = runner.failures, True
    write_tables(runs, args.tables or args.out, errors, keep=args.keep)
    if args.ablation is not None:
        _extend(args.ablation, ablation(runs), ABLATED)
    for failure in failures:
        print(f"FAILED   {failure.job.name}: {failure.reason}")
    left = [run.name for run in runs if not run.finished]
    print(
        f"{len(runs) - len(left)} of {len(runs)} runs are finished; left: {', '.join(left) or '-'}"
    )
    if stopped:
        print("Stopped; what was played is kept. The same command continues.")
        return INTERRUPTED
    return FAILED if failures else 0


def split_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our arguments, and those behind `--`, which are for each run."""
    words = list(argv)
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def jobs_of(runs: Sequence[StudyRun], out: Path) -> list[Job]:
    """The jobs of a study: each run, and before the first that needs it each evaluation of a base policy."""
    folders = {run: base_folder(run, out) for run in runs if run.args.arm is None}
    bases: dict[Path, Job] = {}
    jobs: list[Job] = []
    for run in runs:
        folder = folders.get(run)
        if folder is not None and folder not in bases:
            sharing = [other for other in folders if folders[other] == folder]
            bases[folder] = base_job(run, folder, max(r.config.base_episodes for r in sharing))
            jobs.append(bases[folder])
        jobs.append(run_job(run, folder, bases.get(folder) if folder else None))
    return jobs


def base_folder(run: StudyRun, out: Path) -> Path:
    """Where the evaluation of a run's base policy lies, which it shares with all runs of the same policy, place and starts."""
    config = run.config
    env = config.env_id.rpartition(":")[2]
    weights = fingerprint(config.policy)[:12]
    return out / "base" / f"{env}-{weights}-{config.dsrl.device}-seed{config.seed}"


def base_job(run: StudyRun, folder: Path, episodes: int) -> Job:
    """Evaluate a base policy."""
    config = run.config
    command = ["experiments.evaluate", "--env", config.env_id, "--policy", config.policy]
    command += ["--seed", str(config.seed), "--episodes", str(episodes), "--out", str(folder)]
    command += ["--device", config.dsrl.device]
    seeds = set(evaluation_seeds(config.seed, episodes))
    return Job(
        f"base-{folder.name}",
        lambda: command,
        lambda: seeds <= {line["seed"] for line in read_lines(folder / OUTCOMES)},
    )


def run_job(run: StudyRun, base: Path | None, needs: Job | None) -> Job:
    """Play a run, or what is left of it."""
    shared = [] if base is None else ["--base", str(base)]

    def command() -> list[str]:
        resume = ["--resume"] if (run.folder / "config.json").exists() else []
        return ["experiments.run", *run.words, *shared, *resume]

    return Job(run.name, command, lambda: run.finished, needs)


def write_tables(
    runs: Sequence[StudyRun], folder: Path, errors: Mapping[str, float], *, keep: bool = False
) -> None:
    """Write what the runs say so far, and print a line for each cell."""
    from experiments.study.summary import kept, study  # its libraries take seconds to import

    folder.mkdir(parents=True, exist_ok=True)
    made = study(runs, errors)
    path = folder / "study.json"
    write_json(path, kept(read_json(path), made, errors) if keep else made)
    for cell in made["cells"]:
        low, high = cell["interval"]
        print(
            f"{cell['task']:13} {cell['reward']:23} {cell['learner']:13} {len(cell['seeds'])} seeds  "
            f"{np.mean(cell['base']):.2f} to {np.mean(cell['final']):.2f}, gain {cell['gain']:+.2f} [{low:+.2f}, {high:+.2f}]"
        )
    tables = {
        "learner_strength.json": (strength(runs), ("task", "reward")),
        "dsrl_ablation.json": (ablation(runs), ABLATED),
    }
    for name, (table, names) in tables.items():
        if keep:
            _extend(folder / name, table, names)
        else:
            write_json(folder / name, table)


def _extend(path: Path, table: Mapping[str, Any], names: Sequence[str]) -> None:
    """Put the rows of a table into an earlier one."""
    rows = extended(read_json(path)["rows"], table["rows"], names)
    write_json(path, {**table, "rows": rows})


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
