"""How good a judge is: the numbers of RoboRewardBench, and those that matter to a learner.

Levels are compared with the truth; a reward that says 5 too easily is what a learner exploits.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from roboreward_gym.errors import InvalidScore
from roboreward_gym.types import LEVELS

SUCCESS = LEVELS[-1]
UNREADABLE_ERROR = 4.0
"""RoboRewardBench counts an answer that cannot be read as the largest possible error."""

ALWAYS_THREE = 3


def mean_absolute_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean of |predicted - truth|; NaN predictions are unreadable and cost the largest error.

    >>> mean_absolute_error(np.array([5, np.nan]), np.array([3, 3]))
    3.0
    """
    error = np.abs(predicted - truth)
    return float(np.where(np.isnan(error), UNREADABLE_ERROR, error).mean())


def macro_mean_absolute_error(
    predicted: np.ndarray, truth: np.ndarray, subsets: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """Plain mean of the errors of the subsets, whatever their sizes, and each of them."""
    names = np.asarray(subsets)
    parts = {
        str(name): mean_absolute_error(predicted[names == name], truth[names == name])
        for name in np.unique(names)
    }
    return float(np.mean(list(parts.values()))), parts


def false_positive_rate(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Part of the clips below level 5 that are called 5; NaN if there are none."""
    failed = truth < SUCCESS
    return float((predicted[failed] == SUCCESS).mean()) if failed.any() else math.nan


def true_positive_rate(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Part of the clips at level 5 that are called 5; NaN if there are none."""
    succeeded = truth == SUCCESS
    return float((predicted[succeeded] == SUCCESS).mean()) if succeeded.any() else math.nan


def confusion_matrix(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return `(5, 5)` int64 counts, truth down and prediction across; unreadable ones are left out."""
    counts = np.zeros((len(LEVELS), len(LEVELS)), np.int64)
    read = ~np.isnan(predicted)
    np.add.at(counts, (truth[read].astype(int) - 1, predicted[read].astype(int) - 1), 1)
    return counts


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal bins."""
    if len(confidence) == 0:
        return math.nan
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[which == b].mean() - correct[which == b].mean()) * (which == b).mean()
        for b in np.unique(which)
    ]
    return float(sum(gaps))


def summarize(
    predicted: np.ndarray,
    truth: np.ndarray,
    subsets: Sequence[str],
    probabilities: np.ndarray | None = None,
) -> dict[str, Any]:
    """Collect all numbers of one judge on one set of examples.

    Args:
        predicted: `(N,)` float levels, NaN where unreadable.
        truth: `(N,)` levels 1..5.
        subsets: `(N,)` names, such as scene and kind, that the macro error averages over.
        probabilities: `(N, 5)` of the levels if the judge gives them, NaN rows where unreadable.

    Raises:
        InvalidScore: No examples, or arrays of unequal length.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth)
    if not len(predicted) == len(truth) == len(subsets) or len(truth) == 0:
        raise InvalidScore(
            f"Expected as many predictions as truths and subsets, at least one; "
            f"got {len(predicted)}, {len(truth)} and {len(subsets)}."
        )
    macro, parts = macro_mean_absolute_error(predicted, truth, subsets)
    by_level, levels = macro_mean_absolute_error(predicted, truth, [str(t) for t in truth])
    threes = np.full(len(truth), float(ALWAYS_THREE))
    result: dict[str, Any] = {
        "examples": len(truth),
        "mae": mean_absolute_error(predicted, truth),
        "macro_mae": macro,
        "level_macro_mae": by_level,
        "exact": float((predicted == truth).mean()),
        "within_one": float((np.abs(predicted - truth) <= 1).mean()),
        "false_positive_rate": false_positive_rate(predicted, truth),
        "true_positive_rate": true_positive_rate(predicted, truth),
        "unreadable": float(np.isnan(predicted).mean()),
        "always_three_mae": mean_absolute_error(threes, truth),
        "always_three_macro_mae": macro_mean_absolute_error(threes, truth, subsets)[0],
        "mae_by_subset": parts,
        "mae_by_level": levels,
        "confusion": confusion_matrix(predicted, truth).tolist(),
    }
    if probabilities is not None:
        read = ~np.isnan(predicted)
        correct = (predicted == truth)[read].astype(np.float64)
        result["calibration_error"] = calibration_error(probabilities[read].max(1), correct)
    return result
