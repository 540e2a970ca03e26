"""Score every question of a benchmark with a reward model and compare with the true levels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.bench.answers import Answer, AnswerLog, arrays
from reward_models.bench.ask import ask
from reward_models.bench.intervals import intervals
from reward_models.bench.metrics import curves, macro_mean_absolute_error, summarize
from reward_models.bench.peak_memory import gpu_memory_mb, main_memory_mb
from reward_models.bench.questions import Question, Questions
from roboreward_gym.types import LEVELS, RewardModel

DETAILS = ("confusion", "mae_by_subset", "mae_by_level")
"""What `summarize` gives beside single numbers."""


def measure(
    model: RewardModel,
    questions: Questions,
    *,
    log: AnswerLog | None = None,
    batch_size: int = 16,
    bootstrap: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the videos from their pixels, as a wrapper would, and summarize the errors.

    A question without a score is named on stderr, left out of the metrics and counted in `failed_count`.

    Args:
        model: The reward model.
        questions: What to ask.
        log: Where answers go and which there are already; in memory by default.
        batch_size: Clips in one call.
        bootstrap: Draws for the intervals; 0 leaves them out.
        seed: Seed of the draws.

    Raises:
        RoboRewardError: No question got a score.
    """
    log = AnswerLog(None, "", "") if log is None else log
    error = ask(model, questions, log, batch_size=batch_size)
    if error is not None and not any(row.key in log.answers for row in questions.rows):
        raise error
    return summarize_answers(questions, log, bootstrap=bootstrap, seed=seed)


def summarize_answers(
    questions: Questions, log: AnswerLog, *, bootstrap: int = 0, seed: int = 0
) -> dict[str, Any]:
    """All numbers of one model that has answered."""
    rows = [row for row in questions.rows if row.key in log.answers]
    answers = [log.answers[row.key] for row in rows]
    levels, probabilities = arrays(answers)
    truth = np.array([row.level for row in rows])
    given = None if np.isnan(probabilities).all() else probabilities
    kinds = [row.kind for row in rows]
    return {
        "episodes": len({row.unit for row in rows}),
        "videos": len({row.video for row in rows}),
        **summarize(levels, truth, [row.subset for row in rows], given),
        "mae_by_kind": macro_mean_absolute_error(levels, truth, kinds)[1],
        **({} if given is None else curves(levels, truth, given)),
        "off_format": float(np.mean([answer.off_format for answer in answers])),
        "coverage": len(rows) / (len(questions) + len(questions.skipped)),
        "failed_count": len(questions) - len(rows),
        "skipped_count": len(questions.skipped),
        **_speed(answers),
        "intervals": intervals(
            lambda chosen: _single_numbers(rows, levels, given, chosen),
            [row.unit for row in rows],
            bootstrap,
            seed,
        ),
    }


def difference(
    questions: Questions, first: AnswerLog, second: AnswerLog, *, bootstrap: int, seed: int = 0
) -> dict[str, Any]:
    """Numbers of the first model minus those of the second on the questions that both answered, with paired intervals."""
    rows = [r for r in questions.rows if r.key in first.answers and r.key in second.answers]
    sides = [arrays([log.answers[row.key] for row in rows]) for log in (first, second)]

    def differences(chosen: np.ndarray) -> dict[str, float]:
        one, two = (_single_numbers(rows, *_with_or_without(side), chosen) for side in sides)
        return {name: one[name] - two[name] for name in one.keys() & two.keys()}

    everything = np.arange(len(rows))
    return {
        "examples": len(rows),
        **differences(everything),
        "intervals": intervals(differences, [row.unit for row in rows], bootstrap, seed),
    }


def _with_or_without(side: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    levels, probabilities = side
    return levels, None if np.isnan(probabilities).all() else probabilities


def _single_numbers(
    rows: Sequence[Question],
    levels: np.ndarray,
    probabilities: np.ndarray | None,
    chosen: np.ndarray,
) -> dict[str, float]:
    """The single numbers of `summarize` on some rows, and the error of each subset as `mae_by_subset/NAME`."""
    numbers = summarize(
        levels[chosen],
        np.array([rows[i].level for i in chosen]),
        [rows[i].subset for i in chosen],
        None if probabilities is None else probabilities[chosen],
    )
    parts = dict.fromkeys({f"mae_by_subset/{row.subset}" for row in rows}, math.nan)
    parts |= {f"mae_by_subset/{name}": value for name, value in numbers["mae_by_subset"].items()}
    single = {k: v for k, v in numbers.items() if k not in DETAILS and isinstance(v, float)}
    return {**single, **parts}


def _speed(answers: Sequence[Answer]) -> dict[str, float | None]:
    """Time per clip of the calls, and the most memory that this process took."""
    seconds = np.array([answer.seconds for answer in answers])
    return {
        "clips_per_s": round(len(seconds) / max(float(seconds.sum()), 1e-9), 2),
        "latency_ms": round(1000 * float(np.median(seconds)), 2),
        "latency_p95_ms": round(1000 * float(np.percentile(seconds, 95)), 2),
        "peak_memory_mb": main_memory_mb(),
        "peak_gpu_memory_mb": gpu_memory_mb(),
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
