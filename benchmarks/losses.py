"""Which loss trains a reward model best: `python -m benchmarks.losses --base MODEL --data DIR [DIR ...]`, an hour on one core.

A nano that has never met a score (`benchmarks.score_free_base`) is trained by each loss from the same weights, on the same questions in
the same order for as many steps, with three seeds, and measured after the last step on the same validation examples. The data are
folders of `experiments.simulation.reward_data` with the splits `train` and `validation`; the frozen tower looks at each clip once, for
all runs. A run that is there is not repeated, and one that was stopped goes on. Written to `benchmarks/results/losses.json` after every
seed, with mean and standard deviation over seeds, and printed as one table.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.short_runs import ShortRuns, over_seeds, print_table
from reward_models.data.reward_data import RewardData
from reward_models.nano.config import QuestionConfig
from reward_models.nano.questions import QuestionSampler
from reward_models.training.config import LossConfig
from reward_models.training.data import SimulatedClips, open_training_data
from reward_models.training.questions import TrainingSet
from reward_models.training.trainer import METRICS
from roboreward_gym._cli import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "losses.json"
LOSSES = {
    "cross-entropy": LossConfig(),
    "cross-entropy, all tokens alike (the authors')": LossConfig(digit=0.2, words=0.8),
    "soft targets, 0.5": LossConfig(softness=0.5),
    "expected score": LossConfig(cross_entropy=0.0, regression=0.5),
    "cross-entropy + expected score": LossConfig(regression=0.25),
    "cross-entropy + pairs": LossConfig(pairwise=0.5),
}
"""Weights are set so that each part is about as large as cross-entropy is at the start."""
MEASURED = (
    "macro_mae",
    "level_macro_mae",
    "expected_mae",
    "false_positive_rate",
    "true_positive_rate",
    "calibration_error",
)


@dataclass(frozen=True)
class Config(ShortRuns):
    """What to compare."""

    data: tuple[Path, ...]
    """Folders of simulated reward data."""
    runs: Path = Path("runs/losses")
    """Folder of the runs."""
    validation_examples: int = 400
    """Validation examples."""
    out: Path = RESULTS
    """File to write."""


def train(config: Config, loss: LossConfig, seed: int, folder: Path) -> dict[str, float]:
    """Fine-tune once and return what the last validation measured."""
    data = RewardData.open(config.data, "train")
    scores_only = QuestionConfig(describe_share=(0.0, 0.0), locate_share=(0.0, 0.0))
    questions = QuestionSampler(
        data, scores_only, steps=config.steps, per_step=config.batch_size, seed=seed
    )
    _, validation = open_training_data(config.data, config.validation_examples)
    config.train(
        TrainingSet(SimulatedClips(data), questions), validation, folder, loss=loss, seed=seed
    )
    rows = [json.loads(line) for line in (folder / METRICS).read_text("utf-8").splitlines()]
    (last,) = [row for row in rows if "eval_macro_mae" in row]
    return {name: last[f"eval_{name}"] for name in MEASURED}


def summary(results: list[dict[str, float]]) -> dict[str, Any]:
    """Each number over the seeds."""
    return {name: over_seeds([result[name] for result in results]) for name in MEASURED}


def main() -> None:
    """Train with every loss, write the file and print the table."""
    config = tyro.cli(Config, description=__doc__)
    torch.set_num_threads(1)
    keep_freed_memory()
    config.out.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in LOSSES}
    # Seeds in the outer loop: a comparison that is stopped has as many runs of every loss.
    for seed in range(config.seeds):
        for place, (name, loss) in enumerate(LOSSES.items()):
            used = time.process_time()
            results[name].append(train(config, loss, seed, config.runs / f"{place}-seed{seed}"))
            minutes = (time.process_time() - used) / 60
            print(f"{name}, seed {seed}: {minutes:.1f} minutes of CPU time", flush=True)
        written = {
            "model": "roboreward-nano without scores",
            **config.about,
            "seeds": seed + 1,
            "validation_examples": config.validation_examples,
            "losses": {name: summary(found) for name, found in results.items()},
        }
        config.out.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print_table("loss", MEASURED, {name: summary(found) for name, found in results.items()})


if __name__ == "__main__":
    main()
