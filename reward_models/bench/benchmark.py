"""Measure a judge on a data folder: `python -m reward_models.bench.benchmark --model NAME_OR_DIR --data DIR --out FILE.json`.

The judge is asked through its own `score`, pixels and all, exactly as a wrapper would ask it. Writes the numbers as
JSON and the confusion with the truth as a picture beside it.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from reward_models import nano
from reward_models.bench.metrics import summarize
from reward_models.data.reward_data import RewardData, Split
from reward_models.judges.null import ConstantReward
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym._cli import run_program
from roboreward_gym.allocator import keep_freed_memory
from roboreward_gym.errors import UnknownName
from roboreward_gym.types import LEVELS, RewardModel

NAMED: Mapping[str, Callable[[], RewardModel]] = {
    nano.NAME: nano.load,
    **{f"constant-{level}": lambda level=level: ConstantReward(level) for level in LEVELS},
}
DETAILS = ("confusion", "mae_by_subset", "mae_by_level")


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    model: str
    """Name of a judge, or a checkpoint folder."""
    data: tuple[Path, ...]
    """Data folders."""
    out: Path
    """JSON file to write; the picture gets the same name with `.png`."""
    no_negatives: Path | None = None
    """A checkpoint trained without negatives, measured beside it."""
    split: Split = "test"
    """Part of the data."""
    limit: int | None = None
    """Look at this many examples only, spread evenly."""
    batch_size: int = 16
    """Clips asked about at a time."""
    threads: int = 2
    """CPU threads."""


def measure(
    judge: RewardModel, data: RewardData, *, limit: int | None = None, batch_size: int = 16
) -> dict[str, Any]:
    """Ask about every example and compare with the truth.

    Args:
        judge: Who is asked.
        data: Clips and questions.
        limit: Ask at most this many questions, spread evenly.
        batch_size: Clips in memory at a time.
    """
    chosen = np.arange(len(data.examples))
    if limit is not None and limit < len(chosen):
        chosen = np.linspace(0, len(data.examples) - 1, limit).round().astype(int)
    examples = [data.examples[i] for i in chosen]
    levels = np.full(len(examples), np.nan)
    probabilities = np.full((len(examples), len(LEVELS)), np.nan)
    off_format = np.zeros(len(examples))
    began = time.perf_counter()
    with tqdm(total=len(examples), desc="scoring", unit="clip") as bar:
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            for i, score in enumerate(
                judge.score([data.clip(e.clip, e.task) for e in batch]), start
            ):
                off_format[i] = score.off_format
                if score.level is not None:
                    levels[i] = score.level
                if score.probabilities is not None:
                    probabilities[i] = score.probabilities
            bar.update(len(batch))
    truth = np.array([e.level for e in examples])
    subsets = [f"{data.clips[e.clip].scene}-{e.kind}" for e in examples]
    given = None if np.isnan(probabilities).all() else probabilities
    return {
        "episodes": len({data.clips[e.clip].episode for e in examples}),
        **summarize(levels, truth, subsets, given),
        "off_format": float(off_format.mean()),
        "clips_per_s": round(len(examples) / (time.perf_counter() - began), 2),
    }


def load_judge(name: str) -> RewardModel:
    """Return a judge by its name, or from a checkpoint folder.

    Raises:
        UnknownName: Neither a known name nor a folder.
    """
    if name in NAMED:
        return NAMED[name]()
    if Path(name).is_dir():
        return RoboReward(name)
    raise UnknownName("judge or checkpoint folder", name, NAMED)


def plot_confusion(confusion: np.ndarray, path: Path, title: str) -> None:
    """Draw `(5, 5)` counts as parts of each true level."""
    from matplotlib.figure import Figure  # only drawing needs it

    parts = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*parts.shape):
        colour = "white" if parts[row, column] > 0.5 else "black"
        text = f"{parts[row, column]:.0%}\n{confusion[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    ticks = range(len(LEVELS))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=LEVELS, yticklabels=LEVELS)
    axes.set(xlabel="judged level", ylabel="true level", title=title)
    figure.savefig(path, dpi=120)


def run(config: BenchmarkConfig) -> None:
    """Measure one judge."""
    keep_freed_memory()
    torch.set_num_threads(config.threads)
    judge = load_judge(config.model)
    data = RewardData.open(config.data, config.split)
    numbers = measure(judge, data, limit=config.limit, batch_size=config.batch_size)
    result = {"model": Path(config.model).name, "split": config.split, **numbers}
    if config.no_negatives is not None:
        other = load_judge(str(config.no_negatives))
        result["no_negatives"] = measure(
            other, data, limit=config.limit, batch_size=config.batch_size
        )
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    picture = config.out.with_suffix(".png")
    plot_confusion(np.array(numbers["confusion"]), picture, f"{result['model']}, {config.split}")
    summary = {k: v for k, v in result.items() if k not in DETAILS and not isinstance(v, dict)}
    tqdm.write(json.dumps(summary, indent=2))


def main(argv: list[str] | None = None) -> int:
    """Measure one judge, as the command line says."""
    run(tyro.cli(BenchmarkConfig, args=argv, description=__doc__))
    return 0


if __name__ == "__main__":
    run_program(main)
