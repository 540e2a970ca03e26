"""The runs of a study: cells `TASK-REWARD[+VARIANT]`, each with several seeds."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config import ExperimentConfig
from experiments.run import RunArgs, parse
from experiments.run_folder import RunFolderError, read_json, read_lines
from policies.dsrl.training import DECISION
from roboreward_gym.errors import InvalidSetting, UnknownName

DEFAULT = "default"
"""Variant that changes nothing."""
VARIANTS: dict[str, tuple[str, ...]] = {
    DEFAULT: (),
    "sac": (
        "--dsrl.algorithm", "sac", "--dsrl.batch", "128", "--dsrl.layers", "3", "--dsrl.critics", "2",
    ),
    "noise_aliased": ("--dsrl.algorithm", "noise_aliased", "--dsrl.critics", "2"),
    "filtered_bc": ("--dsrl.algorithm", "filtered_bc"),
    "weighted_bc": ("--dsrl.algorithm", "weighted_bc"),
    "8-candidates": ("--dsrl.candidates", "8"),
    "64-candidates": ("--dsrl.candidates", "64"),
    "candidate-scale-1": ("--dsrl.candidate-scale", "1.0"),
    "16-candidates-of-scale-1": ("--dsrl.candidates", "16", "--dsrl.candidate-scale", "1.0"),
    "20-warm-up-episodes": ("--dsrl.warm-up-episodes", "20"),
    "1-critic": ("--dsrl.critics", "1"),
    "5-updates-per-chunk": ("--dsrl.updates-per-chunk", "5"),
    "3-layers": ("--dsrl.layers", "3"),
    "no-time-feature": ("--dsrl.time-feature-steps", "0"),
    "200-episodes": ("--training-episodes", "200"),
    "guarded": ("--reward-map", "guarded:progress?p5=0.995"),
}  # fmt: skip
"""What a variant changes: options of `experiments.run`. `sac` is DSRL-SAC, `noise_aliased` DSRL-NA.
`guarded` lets a success count from a probability on."""


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        cell: Name of an experiment, with `+` and a variant unless it is the default.
        words: The command line of `experiments.run` that makes it.
        args: The same, read.
    """

    cell: str
    words: tuple[str, ...]
    args: RunArgs

    @property
    def config(self) -> ExperimentConfig:
        """What it does."""
        return self.args.config

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.args.folder

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @property
    def variant(self) -> str:
        """Key of `VARIANTS`."""
        return self.cell.partition("+")[2] or DEFAULT

    @property
    def finished(self) -> bool:
        """Whether its result is there."""
        return (self.folder / "result.json").exists()

    @property
    def trained(self) -> bool:
        """Whether training and validation are done."""
        return (self.folder / "training" / DECISION).exists()

    @property
    def decision(self) -> dict[str, Any]:
        """Whether the fine-tuned policy was kept, and why."""
        return read_json(self.folder / "training" / DECISION)

    def successes(self, phase: str) -> list[bool]:
        """True success of the training episodes of one phase."""
        lines = read_lines(self.folder / "training" / "metrics.jsonl")
        return [line["truth/success"] == 1.0 for line in lines if line["phase"] == phase]

    def evaluated(self, policy: str) -> list[bool]:
        """True success of the evaluation episodes of the `base` or the `final` policy."""
        return [line["success"] for line in read_lines(self.folder / f"{policy}.jsonl")]

    def check_saved(self) -> None:
        """Refuse a folder that was made with other numbers, before anything is played.

        Raises:
            RunFolderError: It was.
        """
        path = self.folder / "config.json"
        if not path.exists():
            return
        saved, wanted = read_json(path), json.loads(json.dumps(dataclasses.asdict(self.config)))
        names = [name for name in wanted if saved.get(name) != wanted[name]]
        if names:
            pairs = "; ".join(f"{n}: {saved.get(n)!r}, now {wanted[n]!r}" for n in names)
            raise RunFolderError(
                f"{self.folder} was made with another config ({pairs}). Use the same options, or another --out."
            )


def planned(
    cells: Sequence[str], seeds: Sequence[int], out: Path, options: Sequence[str] = ()
) -> list[StudyRun]:
    """All runs of a study, seed by seed, so that each cell has some when it is stopped early.

    Args:
        cells: `TASK-REWARD[+VARIANT]` each.
        seeds: Of each cell.
        out: Folder of the run folders.
        options: Of `experiments.run`, for all of them.

    Raises:
        UnknownName: No such experiment or variant.
        InvalidSetting: A cell or a seed is there twice, or options that do not go together.
        RunFolderError: A folder holds a run of other options.
    """
    if len(set(cells)) < len(cells) or len(set(seeds)) < len(seeds):
        raise InvalidSetting(
            f"A cell or a seed is named twice: {[*cells]}, {[*seeds]}. Name each of them once."
        )
    runs = [_planned(cell, seed, out, options) for seed in seeds for cell in cells]
    for run in runs:
        run.check_saved()
    return runs


def _planned(cell: str, seed: int, out: Path, options: Sequence[str]) -> StudyRun:
    name, plus, variant = cell.partition("+")
    if plus and variant not in VARIANTS:
        raise UnknownName("variant", variant, VARIANTS)
    words = [name, "--seed", str(seed), *VARIANTS[variant or DEFAULT], *options]
    args = parse(words)
    robot = "" if args.on.robot == "sim" else f"-{args.on.robot}"
    folder = out / f"{args.experiment.name}{robot}{plus}{variant}-seed{seed}"
    words += ["--out", str(folder)]
    return StudyRun(cell, tuple(words), parse(words))
