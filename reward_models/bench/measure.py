"""Score every example of a data set with a reward model and compare with the true levels."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from reward_models.bench.metrics import summarize
from reward_models.data.reward_data import RewardData
from reward_models.data.sampling import proportional_sample
from roboreward_gym.errors import InvalidClip, RewardModelFailure, RoboRewardError
from roboreward_gym.scorer import ScoreOrError, outcomes
from roboreward_gym.types import LEVELS, ProgressScore, RewardModel

FAILURES_IN_A_ROW = 5
"""After so many examples that the model itself failed on, it is taken to be out of order."""


def measure(
    model: RewardModel,
    data: RewardData,
    *,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
) -> dict[str, Any]:
    """Score the examples from their pixels, as a wrapper would, and summarize the errors.

    An example without a score is named on stderr, left out of the metrics and counted in `failed_count`.

    Args:
        model: The reward model.
        data: Clips and examples.
        limit: Score at most this many examples, drawn in proportion from every subset.
        seed: Seed of that draw.
        batch_size: Clips in memory at a time.

    Raises:
        RoboRewardError: No example got a score.
    """
    chosen = proportional_sample(data.subsets, limit or len(data.examples), seed)
    began = time.perf_counter()
    found = _ask(model, data, chosen.tolist(), batch_size)
    seconds = time.perf_counter() - began
    scores = {i: score for i, score in found.items() if isinstance(score, ProgressScore)}
    if not scores:
        raise next(error for error in found.values() if isinstance(error, RoboRewardError))
    levels = np.full(len(scores), np.nan)
    probabilities = np.full((len(scores), len(LEVELS)), np.nan)
    for row, score in enumerate(scores.values()):
        if score.level is not None:
            levels[row] = score.level
        if score.probabilities is not None:
            probabilities[row] = score.probabilities
    examples = [data.examples[i] for i in scores]
    truth = np.array([e.level for e in examples])
    subsets = [data.subsets[i] for i in scores]
    given = None if np.isnan(probabilities).all() else probabilities
    return {
        "episodes": len({data.clips[e.clip].episode for e in examples}),
        **summarize(levels, truth, subsets, given),
        "off_format": float(np.mean([score.off_format for score in scores.values()])),
        "failed_count": len(chosen) - len(scores),
        "clips_per_s": round(len(scores) / seconds, 2),
    }


def _ask(
    model: RewardModel, data: RewardData, chosen: Sequence[int], batch_size: int
) -> dict[int, ScoreOrError]:
    """Return what became of each example, in order; those left when the model is out of order are not asked about."""
    found: dict[int, ScoreOrError] = {}
    in_a_row = 0
    with tqdm(total=len(chosen), desc="scoring", unit="clip") as bar:
        for start in range(0, len(chosen), batch_size):
            batch = [int(i) for i in chosen[start : start + batch_size]]
            examples = [data.examples[i] for i in batch]
            answers = outcomes(model, [data.clip(e.clip, e.task) for e in examples])
            found.update(zip(batch, answers, strict=True))
            bar.update(len(batch))
            stop = False
            for i, answer in zip(batch, answers, strict=True):
                in_a_row = in_a_row + 1 if isinstance(answer, RewardModelFailure) else 0
                stop |= in_a_row >= FAILURES_IN_A_ROW
                if isinstance(answer, RoboRewardError):
                    # Without a budget, for one, nothing more can be scored.
                    stop |= not isinstance(answer, InvalidClip | RewardModelFailure)
                    tqdm.write(
                        f"Example {i} ({data.examples[i].task!r}): {answer}", file=sys.stderr
                    )
            left = len(chosen) - len(found)
            if stop and left:
                tqdm.write(f"The last {left} examples were not asked about.", file=sys.stderr)
                break
    return found


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
