"""How strong the learner is, and what it owes that to: `python -m experiments.learner_study --help`.

Plays what is missing of a study, each run as a process of its own that can be stopped and goes on, and writes what the finished
runs say. The tables can be written at any moment (`--workers 0`): a run counts as far as it has come, and its seed is left out where
it has not come far enough. Success after training is that of the final policy over the episodes of validation and evaluation, which
have different seeds.
"""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from experiments.metrics import success_rate
from experiments.results import RESULTS
from experiments.run_folder import read_json, read_lines, write_json
from policies.dsrl.training import DECISION
from roboreward_gym._cli import run_program

TASKS = ("toy-on-towel", "drawer")
WINDOW = 20
"""Training episodes over which success after a number of episodes is counted."""

VARIANTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "DSRL-SAC: an actor and critics of the noise, as before": (
        "--dsrl.algorithm", "sac", "--dsrl.batch", "128", "--dsrl.layers", "3", "--dsrl.critics", "2",
    ),
    "4 candidates": ("--dsrl.candidates", "4"),
    "64 candidates": ("--dsrl.candidates", "64"),
    "20 episodes of warm-up": ("--dsrl.warm-up-episodes", "20"),
    "1 critic": ("--dsrl.critics", "1"),
    "5 updates per chunk": ("--dsrl.updates-per-chunk", "5"),
    "3 hidden layers": ("--dsrl.layers", "3"),
    "no time feature": ("--dsrl.time-feature-steps", "0"),
}  # fmt: skip
"""What is changed, and the options of `experiments.run` that change it."""


@dataclass(frozen=True)
class Run:
    """One run of a study.

    Attributes:
        variant: Key of `VARIANTS`.
        experiment: Name of an experiment.
        seed: Seed of the run.
        folder: Its run folder.
    """

    variant: str
    experiment: str
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return (self.folder / "result.json").exists()

    def play(self, options: Sequence[str]) -> None:
        """Play it, or what is left of it.

        Raises:
            subprocess.CalledProcessError: The run failed; what it had finished stays in its folder.
        """
        command = [sys.executable, "-m", "experiments.run", self.experiment]
        command += ["--seed", str(self.seed), "--out", str(self.folder), *options]
        resume = ["--resume"] if (self.folder / "config.json").exists() else []
        subprocess.run([*command, *VARIANTS[self.variant], *resume], check=True)

    def successes(self, phase: str) -> list[bool]:
        """True success of the training episodes of one phase."""
        lines = read_lines(self.folder / "training" / "metrics.jsonl")
        return [line["truth/success"] == 1.0 for line in lines if line["phase"] == phase]

    @property
    def trained(self) -> bool:
        """Whether training and validation are done."""
        return (self.folder / "training" / DECISION).exists()

    def final(self) -> list[bool]:
        """Success of the final policy: in the validation, and in the evaluation if that policy was kept."""
        decision = read_json(self.folder / "training" / DECISION)
        lines = read_lines(self.folder / "final.jsonl") if decision["improved"] else []
        return [*self.successes("validation"), *(line["success"] for line in lines)]


@dataclass(frozen=True)
class StudyArgs:
    """Measure the learner's strength, or an ablation of it."""

    study: tyro.conf.Positional[Literal["strength", "ablation"]]
    """`strength`: true reward and roboreward-nano, default settings. `ablation`: one change each, true reward."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the runs."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Changes to try in the ablation."""
    workers: int = 1
    """Runs at a time, one thread each; 0 plays nothing and writes what is there."""
    final_episodes: int = 200
    """Evaluation episodes of each run."""
    out: Path = Path("runs/learner")
    """Folder of the runs."""


def planned(args: StudyArgs) -> list[Run]:
    """All runs of a study."""
    strength = args.study == "strength"
    variants = ("default",) if strength else args.variants
    sources = ("oracle", "nano") if strength else ("oracle",)
    return [
        Run(variant, name, seed, args.out / f"{_slug(variant)}-{name}-seed{seed}")
        for variant in variants
        for seed in args.seeds
        for name in (f"{task}-{source}" for task in TASKS for source in sources)
    ]


def _slug(variant: str) -> str:
    return variant.partition(":")[0].replace(" ", "-").lower()


def strength(runs: Sequence[Run]) -> dict[str, Any]:
    """Rows of `learner_strength.json`: success before and after, one number per seed."""
    rows = []
    runs = [run for run in runs if run.trained]
    for name in sorted({run.experiment for run in runs}):
        mine = [run for run in runs if run.experiment == name]
        task, _, source = name.rpartition("-")
        rows.append(
            {
                "task": task,
                "reward": source,
                "seeds": [run.seed for run in mine],
                "base": [success_rate(run.successes("warm_up")).value for run in mine],
                "base_episodes": [len(run.successes("warm_up")) for run in mine],
                "after_100_episodes": [success_rate(run.final()).value for run in mine],
                "evaluation_episodes": [len(run.final()) for run in mine],
                "kept": [read_json(run.folder / "training" / DECISION)["improved"] for run in mine],
            }
        )
    return {"rows": rows}


def ablation(runs: Sequence[Run]) -> dict[str, Any]:
    """Rows of `dsrl_ablation.json`: success of the last `WINDOW` training episodes, over all seeds of a task."""
    rows = []
    for variant, name in sorted({(run.variant, run.experiment) for run in runs}):
        mine = [r for r in runs if (r.variant, r.experiment) == (variant, name)]
        row: dict[str, Any] = {
            "changed": variant,
            "task": name.rpartition("-")[0],
            "seeds": [run.seed for run in mine],
        }
        for after in (50, 100, 200):
            learning = [run.successes("warm_up") + run.successes("learning") for run in mine]
            known = [
                s for run in learning if len(run) >= after for s in run[after - WINDOW : after]
            ]
            rate = success_rate(known) if known else None
            row[f"after_{after}"] = None if rate is None else rate.value
            row[f"after_{after}_interval"] = None if rate is None else list(rate.interval)
        rows.append(row)
    return {"window": WINDOW, "rows": rows}


def main(args: StudyArgs) -> None:
    """Play, then write the table."""
    runs = planned(args)
    options = ["--base-episodes", "1", "--final-episodes", str(args.final_episodes)]
    if args.workers:
        with ThreadPoolExecutor(args.workers) as pool:
            list(pool.map(lambda run: run.play(options), [r for r in runs if not r.finished]))
    begun = [run for run in runs if run.successes("learning")]
    made, name = (
        (strength(begun), "learner_strength")
        if args.study == "strength"
        else (ablation(begun), "dsrl_ablation")
    )
    write_json(RESULTS / f"{name}.json", made)
    for row in made["rows"]:
        print(row)
    print(
        f"{sum(run.finished for run in runs)} of {len(runs)} runs are finished: {RESULTS / name}.json"
    )


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(StudyArgs)))
