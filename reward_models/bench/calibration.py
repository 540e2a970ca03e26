"""Find the operating point of a reward model for one task from a few labelled episodes, and say how far to trust it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score, roc_curve

from reward_models.bench.intervals import resamples
from reward_models.bench.questions import InvalidBenchmark
from roboreward_gym.operating_point import Statistic, tempered
from roboreward_gym.types import LEVELS

CONFIDENCE = 0.95
FEW = 10
"""Below so many successes or failures a warning says so."""
DRAWS = 500
LOG_TEMPERATURES = (-3.0, 3.0)
Choice = Literal["auto", "expected", "success_probability"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Answers about labelled episodes.

    Attributes:
        levels: `(N,)` float64 predicted levels, NaN where unreadable.
        probabilities: `(N, 5)`, NaN rows where the model gives none.
        truth: `(N,)` true levels.
        units: `(N,)` rows of one episode share one.

    Raises:
        InvalidBenchmark: No success, or no failure.
    """

    levels: np.ndarray
    probabilities: np.ndarray
    truth: np.ndarray
    units: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.success.all() or not self.success.any():
            raise InvalidBenchmark(
                f"The data has {int(self.success.sum())} successes (level 5) and {int((~self.success).sum())} "
                "failures. Label episodes of both kinds: 15 of each are a start."
            )

    @property
    def success(self) -> np.ndarray:
        """`(N,)` bool."""
        return self.truth == LEVELS[-1]

    def values(self, statistic: Statistic, temperature: float) -> np.ndarray:
        """`(N,)` numbers to compare with a threshold; an unreadable answer lies below every threshold."""
        certain = np.where(np.isnan(self.levels)[:, None], np.nan, np.eye(5)[self._places])
        p = np.where(np.isnan(self.probabilities), certain, self.probabilities)
        if temperature != 1.0:
            p = tempered(p, temperature)
        found = p @ np.array(LEVELS, np.float64) if statistic == "expected" else p[:, -1]
        return np.where(np.isnan(self.levels), -math.inf, found)

    @property
    def _places(self) -> np.ndarray:
        return np.nan_to_num(self.levels, nan=1).astype(int) - 1


@dataclass(frozen=True)
class Fit:
    """A threshold and what it does on the data that it was fitted on."""

    statistic: Statistic
    threshold: float
    true_positive_rate: float
    false_positive_rate: float
    roc_auc: float


def fit_temperature(data: Labelled) -> float:
    """The temperature under which the true levels are likeliest.

    Raises:
        InvalidBenchmark: The model gives no probabilities.
    """
    given = ~np.isnan(data.probabilities).any(1) & ~np.isnan(data.levels)
    if not given.any():
        raise InvalidBenchmark(
            "The model gives no probabilities, so it has no temperature. Leave out --temperature."
        )
    p, truth = data.probabilities[given], data.truth[given].astype(int) - 1

    def loss(log_temperature: float) -> float:
        q = tempered(p, math.exp(log_temperature))
        return -float(np.log(np.maximum(q[np.arange(len(q)), truth], 1e-12)).mean())

    return float(math.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def fit(
    data: Labelled, max_false_positive_rate: float, choice: Choice, temperature: float
) -> Fit | None:
    """The threshold with the best true-positive rate at the chosen false-positive rate; None if none finds a success.

    With `auto` it is the number, mean level or P(5), that finds more successes; then the one with the larger ROC-AUC.
    """
    names: tuple[Statistic, ...] = ("expected", "success_probability")
    chosen = names if choice == "auto" else (choice,)
    fits = [
        _fit_one(data.values(name, temperature), data.success, max_false_positive_rate, name)
        for name in chosen
    ]
    found = [fit for fit in fits if fit is not None]
    return max(found, key=lambda f: (f.true_positive_rate, f.roc_auc), default=None)


def _fit_one(values: np.ndarray, success: np.ndarray, limit: float, name: Statistic) -> Fit | None:
    finite = np.where(np.isinf(values), -1.0, values)  # below every mean level and probability
    fpr, tpr, thresholds = roc_curve(success, finite, drop_intermediate=False)
    allowed = np.flatnonzero((fpr <= limit + 1e-12) & (thresholds > -1.0))
    best = max(allowed, key=lambda i: (tpr[i], -fpr[i]))
    if tpr[best] == 0:
        return None
    # In the middle of the gap below: episodes to come will not have the very same values.
    below = finite[finite < thresholds[best]].max(initial=-math.inf)
    floor = below if below > -1.0 else thresholds[best]
    return Fit(
        statistic=name,
        threshold=float((thresholds[best] + floor) / 2),
        true_positive_rate=float(tpr[best]),
        false_positive_rate=float(fpr[best]),
        roc_auc=float(roc_auc_score(success, finite)),
    )


def trust(
    data: Labelled,
    found: Fit,
    max_false_positive_rate: float,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Rates with intervals, what the same rule does on episodes that it was not fitted on, and warnings.

    The intervals at the threshold are Clopper-Pearson's. Those out of the bag are percentiles over draws of episodes: the rule
    is fitted on a draw and tested on the episodes that the draw left out.
    """
    success, n = data.success, len(data.truth)
    predicted = data.values(found.statistic, temperature) >= found.threshold
    rates = {
        "true_positive_rate": _rate(predicted[success]),
        "false_positive_rate": _rate(predicted[~success]),
    }
    held_out = _out_of_bag(data, max_false_positive_rate, found.statistic, temperature, seed)
    counts = {"successes": int(success.sum()), "failures": int(n - success.sum())}
    unreadable = int(np.isnan(data.levels).sum())
    report = {
        **counts,
        "unreadable": unreadable,
        "max_false_positive_rate": max_false_positive_rate,
        "roc_auc": round(found.roc_auc, 4),
        **rates,
        "out_of_bag": held_out,
    }
    return {**report, "warnings": _warnings(report)}


def failures_needed(max_false_positive_rate: float) -> int:
    """Fewest failures, none of them taken for a success, whose interval lies below the rate.

    >>> failures_needed(0.05)
    72
    """
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(1 - max_false_positive_rate))


def _rate(hits: np.ndarray) -> dict[str, Any]:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(CONFIDENCE)
    return {
        "estimate": round(float(hits.mean()), 4),
        "interval": [round(float(interval.low), 4), round(float(interval.high), 4)],
    }


def _out_of_bag(
    data: Labelled, limit: float, choice: Statistic, temperature: float, seed: int
) -> dict[str, Any]:
    values, success = data.values(choice, temperature), data.success
    rates: dict[str, list[float]] = {"true_positive_rate": [], "false_positive_rate": []}
    thresholds = []
    for drawn in resamples(data.units, DRAWS, seed):
        if success[drawn].all() or not success[drawn].any():
            continue
        left = np.setdiff1d(np.arange(len(values)), drawn)
        found = _fit_one(values[drawn], success[drawn], limit, choice)
        threshold = math.inf if found is None else found.threshold
        if found is not None:
            thresholds.append(threshold)
        for name, is_success in (("true_positive_rate", True), ("false_positive_rate", False)):
            rows = left[success[left] == is_success]
            if len(rows):
                rates[name].append(float((values[rows] >= threshold).mean()))
    report: dict[str, Any] = {
        name: {"estimate": round(float(np.mean(found)), 4), "interval": _percentiles(found)}
        for name, found in rates.items()
        if found
    }
    return {**report, "threshold_interval": _percentiles(thresholds) if thresholds else None}


def _percentiles(values: Sequence[float]) -> list[float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    return [round(float(v), 4) for v in np.percentile(values, (tail, 100 - tail))]


def _warnings(report: dict[str, Any]) -> list[str]:
    found, limit = [], report["max_false_positive_rate"]
    upper = report["false_positive_rate"]["interval"][1]
    if upper > limit:
        how_many = (
            f"{failures_needed(limit)} failures, none of them taken for a success, would show it."
            if limit > 0
            else "No number of failures can show 0."
        )
        found.append(
            f"{report['failures']} failures cannot show a false-positive rate of {limit:g}: it may be up to "
            f"{upper:.2f}. {how_many}"
        )
    for name in ("successes", "failures"):
        if report[name] < FEW:
            found.append(f"There are {report[name]} {name} only. Label {FEW} or more.")
    held_out = report["out_of_bag"].get("false_positive_rate")
    if held_out is not None and held_out["estimate"] > limit:
        found.append(
            f"On episodes that it was not fitted on, this rule has a false-positive rate of {held_out['estimate']:.2f}, "
            f"above {limit:g}."
        )
    if report["roc_auc"] < 0.7:
        found.append(
            f"The score hardly tells success from failure (ROC-AUC {report['roc_auc']:.2f}). Use another reward model."
        )
    if report["unreadable"]:
        found.append(
            f"{report['unreadable']} answers were unreadable. They count as failures here, but give no reward."
        )
    return found
