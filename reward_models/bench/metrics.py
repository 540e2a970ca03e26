"""How right a reward model is: the metric of RoboRewardBench, and the rates that matter to a learner.

Predicted levels are compared with true ones. A reward model that answers 5 too easily is what a learner exploits, so
the false-positive rate stands beside the error.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn import metrics as sk

from roboreward_gym.errors import InvalidScore
from roboreward_gym.types import LEVELS

SUCCESS = LEVELS[-1]
UNREADABLE_ERROR = 4.0
"""RoboRewardBench counts an answer that cannot be read as the largest possible error."""

ALWAYS_THREE = 3


def mean_absolute_error(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of predicted and true level; NaN predictions are unreadable and cost `UNREADABLE_ERROR`.

    >>> mean_absolute_error(np.array([5, np.nan]), np.array([3, 3]))
    3.0
    """
    return float(sk.mean_absolute_error(truth, _with_unreadable_errors(predicted, truth)))


def macro_mean_absolute_error(
    predicted: np.ndarray, truth: np.ndarray, subsets: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """Plain mean of the errors of the subsets, whatever their sizes, and the error of each."""
    names, subset = np.unique(subsets, return_inverse=True)
    errors = np.abs(_with_unreadable_errors(predicted, truth) - truth)
    means = np.bincount(subset, errors) / np.bincount(subset)
    parts = {str(name): float(mean) for name, mean in zip(names, means, strict=True)}
    return float(np.mean(list(parts.values()))), parts


def false_positive_rate(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of the clips below level 5 that are predicted 5; NaN if there are none."""
    recall_of_failure = sk.recall_score(
        truth == SUCCESS, predicted == SUCCESS, pos_label=False, zero_division=math.nan
    )
    return 1.0 - float(recall_of_failure)


def true_positive_rate(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Share of the clips at level 5 that are predicted 5; NaN if there are none."""
    return float(sk.recall_score(truth == SUCCESS, predicted == SUCCESS, zero_division=math.nan))


def success_roc_auc(success_probability: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve of P(5) against true success; NaN if only one of the two occurs."""
    succeeded = truth == SUCCESS
    if succeeded.all() or not succeeded.any():
        return math.nan
    return float(sk.roc_auc_score(succeeded, success_probability))


def success_curve(success_probability: np.ndarray, truth: np.ndarray) -> dict[str, list[float]]:
    """False- and true-positive rate for every threshold on P(5) that changes one of them; empty for one-sided data."""
    succeeded = truth == SUCCESS
    if len(truth) == 0 or succeeded.all() or not succeeded.any():
        return {"threshold": [], "false_positive_rate": [], "true_positive_rate": []}
    false_positive, true_positive, threshold = sk.roc_curve(succeeded, success_probability)
    return {
        # scikit-learn begins with an infinite threshold, which JSON cannot hold: above every probability is the same.
        "threshold": [min(float(t), 1.0 + 1e-6) for t in threshold],
        "false_positive_rate": false_positive.tolist(),
        "true_positive_rate": true_positive.tolist(),
    }


def reliability(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 10
) -> list[dict[str, float]]:
    """Mean confidence, accuracy and count of each of the equal bins that hold something."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "confidence": float(confidence[which == b].mean()),
            "accuracy": float(correct[which == b].mean()),
            "count": int((which == b).sum()),
        }
        for b in np.unique(which)
    ]


def preference_accuracy(expected: np.ndarray, truth: np.ndarray, subsets: Sequence[str]) -> float:
    """Share of the pairs of one subset with different true levels whose scores are in the same order; a tie counts half.

    Unreadable answers are left out. NaN if there is no such pair. Within one subset it is (1 + Somers' D) / 2.
    """
    names, right, pairs = np.asarray(subsets), 0.0, 0
    for name in np.unique(names):
        rows = (names == name) & ~np.isnan(expected)
        score, level = expected[rows], truth[rows]
        above = level[:, None] > level[None]
        order = np.sign(score[:, None] - score[None])[above]
        right += float((order + 1).sum()) / 2
        pairs += len(order)
    return right / pairs if pairs else math.nan


def kendall_tau(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b over the readable predictions; NaN if either side is constant."""
    read = ~np.isnan(predicted)
    if read.sum() < 2:
        return math.nan
    return float(kendalltau(predicted[read], truth[read], variant="b").statistic)


def confusion_matrix(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return `(5, 5)` int64 counts, truth down and prediction across; unreadable ones are left out."""
    read = ~np.isnan(predicted)
    if not read.any():
        return np.zeros((len(LEVELS), len(LEVELS)), np.int64)
    return sk.confusion_matrix(truth[read].astype(int), predicted[read].astype(int), labels=LEVELS)


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over equal bins.

    scikit-learn's curve is for two classes. torchmetrics has it for several, but needs torch, which models behind an API
    do without.
    """
    if len(confidence) == 0:
        return math.nan
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    # n_b / N * |confidence_b - accuracy_b| is |sum over the bin of (confidence - correct)| / N.
    return float(np.abs(np.bincount(which, confidence - correct)).sum() / len(confidence))


def summarize(
    predicted: np.ndarray,
    truth: np.ndarray,
    subsets: Sequence[str],
    probabilities: np.ndarray | None = None,
) -> dict[str, Any]:
    """Collect all numbers of one reward model on one set of examples.

    Args:
        predicted: `(N,)` float levels, NaN where unreadable.
        truth: `(N,)` levels 1..5.
        subsets: `(N,)` names, such as scene and kind, that the macro error averages over.
        probabilities: `(N, 5)` of the levels if the reward model gives them, NaN rows where it does not.

    Raises:
        InvalidScore: No examples, or arrays of unequal length.
    """
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth)
    if not len(predicted) == len(truth) == len(subsets) or len(truth) == 0:
        raise InvalidScore(
            "Pass as many predictions as truths and subsets, at least one: these are "
            f"{len(predicted)}, {len(truth)} and {len(subsets)}."
        )
    macro, parts = macro_mean_absolute_error(predicted, truth, subsets)
    by_level, levels = macro_mean_absolute_error(predicted, truth, [str(t) for t in truth])
    threes = np.full(len(truth), float(ALWAYS_THREE))
    unreadable = np.isnan(predicted)
    expected = predicted if probabilities is None else expected_levels(predicted, probabilities)
    result: dict[str, Any] = {
        "examples": len(truth),
        "mae": mean_absolute_error(predicted, truth),
        "macro_mae": macro,
        "level_macro_mae": by_level,
        "bias": float((predicted - truth)[~unreadable].mean())
        if not unreadable.all()
        else math.nan,
        "kendall_tau_b": kendall_tau(predicted, truth),
        "exact": float((predicted == truth).mean()),
        "within_one": float((np.abs(predicted - truth) <= 1).mean()),
        "false_positive_rate": false_positive_rate(predicted, truth),
        "true_positive_rate": true_positive_rate(predicted, truth),
        "preference_accuracy": preference_accuracy(expected, truth, subsets),
        "unreadable": float(unreadable.mean()),
        "unreadable_count": int(unreadable.sum()),
        "always_three_mae": mean_absolute_error(threes, truth),
        "always_three_macro_mae": macro_mean_absolute_error(threes, truth, subsets)[0],
        "mae_by_subset": parts,
        "mae_by_level": levels,
        "confusion": confusion_matrix(predicted, truth).tolist(),
    }
    if probabilities is not None:
        given = ~unreadable & ~np.isnan(probabilities).any(1)
        correct = (predicted == truth)[given].astype(np.float64)
        result["calibration_error"] = calibration_error(probabilities[given].max(1), correct)
        result["success_roc_auc"] = success_roc_auc(probabilities[given, -1], truth[given])
    return result


def expected_levels(predicted: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Mean levels `(N,)` under the probabilities; the level itself where there are none, NaN where it is unreadable."""
    mean = probabilities @ np.array(LEVELS, np.float64)
    return np.where(np.isnan(predicted) | np.isnan(mean), predicted, mean)


def curves(predicted: np.ndarray, truth: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """What plots are drawn from: the ROC curve of P(5) and the reliability of the likeliest level."""
    given = ~np.isnan(predicted) & ~np.isnan(probabilities).any(1)
    correct = (predicted == truth)[given].astype(np.float64)
    return {
        "success_curve": success_curve(probabilities[given, -1], truth[given]),
        "reliability": reliability(probabilities[given].max(1), correct),
    }


def _with_unreadable_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Put a prediction that is off by `UNREADABLE_ERROR` in the place of each NaN."""
    return np.where(np.isnan(predicted), truth + UNREADABLE_ERROR, predicted)
