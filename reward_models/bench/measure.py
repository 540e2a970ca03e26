"""Score every example of a data set with a reward model and compare with the true levels."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from reward_models.bench.metrics import summarize
from reward_models.data.reward_data import RewardData
from reward_models.data.sampling import proportional_sample
from roboreward_gym.types import LEVELS, RewardModel


def measure(
    model: RewardModel,
    data: RewardData,
    *,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
) -> dict[str, Any]:
    """Score the examples from their pixels, as a wrapper would, and summarize the errors.

    Args:
        model: The reward model.
        data: Clips and examples.
        limit: Score at most this many examples, drawn in proportion from every subset.
        seed: Seed of that draw.
        batch_size: Clips in memory at a time.
    """
    chosen = proportional_sample(data.subsets, limit or len(data.examples), seed)
    examples = [data.examples[i] for i in chosen]
    levels = np.full(len(examples), np.nan)
    probabilities = np.full((len(examples), len(LEVELS)), np.nan)
    off_format = np.zeros(len(examples))
    began = time.perf_counter()
    with tqdm(total=len(examples), desc="scoring", unit="clip") as bar:
        for start in range(0, len(examples), batch_size):
            batch = examples[start : start + batch_size]
            scores = model.score([data.clip(e.clip, e.task) for e in batch])
            for i, score in enumerate(scores, start):
                off_format[i] = score.off_format
                if score.level is not None:
                    levels[i] = score.level
                if score.probabilities is not None:
                    probabilities[i] = score.probabilities
            bar.update(len(batch))
    truth = np.array([e.level for e in examples])
    subsets = [data.subsets[i] for i in chosen]
    given = None if np.isnan(probabilities).all() else probabilities
    return {
        "episodes": len({data.clips[e.clip].episode for e in examples}),
        **summarize(levels, truth, subsets, given),
        "off_format": float(off_format.mean()),
        "clips_per_s": round(len(examples) / (time.perf_counter() - began), 2),
    }


def plot_confusion(confusion: np.ndarray, path: Path, title: str) -> None:
    """Draw `(5, 5)` counts as shares of each true level."""
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
    axes.set(xlabel="predicted level", ylabel="true level", title=title)
    figure.savefig(path, dpi=120)
