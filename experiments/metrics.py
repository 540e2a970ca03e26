"""The metrics of an experiment: success with its interval, reward against truth."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap

LEVELS = 5
RESAMPLES = 5_000
"""Of each bootstrap interval."""
Interval = tuple[float, float]
UNKNOWN = "unknown"
"""In place of a rate of no episode whose end is known."""


@dataclass(frozen=True)
class Rate:
    """A share of successes, with the 95 % Wilson score interval; NaN where the end of no episode is known.

    Wilson and not the textbook interval, because ours are shares near 0 or 1 of few episodes.
    """

    successes: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.total:
            raise ValueError(f"{self.successes} of {self.total} is not a rate.")

    @property
    def known(self) -> bool:
        """Whether there is any episode whose end is known."""
        return self.total > 0

    @property
    def value(self) -> float:
        """Share in [0, 1]."""
        return self.successes / self.total if self.known else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval, in [0, 1]."""
        if not self.known:
            return math.nan, math.nan
        found = binomtest(self.successes, self.total).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        if not self.known:
            return UNKNOWN
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def success_rate(successes: Iterable[bool]) -> Rate:
    """Count successes."""
    flags = list(successes)
    return Rate(sum(map(bool, flags)), len(flags))


def paired_gain(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, Interval]:
    """Mean difference of paired successes, and its 95 % paired bootstrap interval."""
    difference = np.asarray(after, float) - np.asarray(before, float)
    gain = float(difference.mean())
    if len(difference) < 2 or np.ptp(difference) == 0:  # nothing to resample
        return gain, (gain, gain)
    found = bootstrap(
        (difference,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )  # fmt: skip
    return gain, (float(found.confidence_interval.low), float(found.confidence_interval.high))


def confusion(truth: Sequence[float], predicted: Sequence[float]) -> np.ndarray:
    """Count episodes by true level (row) and predicted level (column).

    Episodes without both numbers (NaN: not scored, or the truth is hidden) are left out, so the
    sum tells how many were compared.

    Returns:
        `(5, 5)` int64.
    """
    counts = np.zeros((LEVELS, LEVELS), dtype=np.int64)
    for true_level, predicted_level in zip(truth, predicted, strict=True):
        if math.isfinite(true_level) and math.isfinite(predicted_level):
            counts[round(true_level) - 1, round(predicted_level) - 1] += 1
    return counts


def false_positive_rate(counts: np.ndarray) -> float:
    """Share of the episodes of true level below 5 that were predicted 5, by the `(5, 5)` counts of `confusion`.

    NaN when every episode was a true success: then nothing could have been a false positive.
    """
    negatives = int(counts[:-1].sum())
    return float(counts[:-1, -1].sum()) / negatives if negatives else math.nan


def false_negative_rate(counts: np.ndarray) -> float:
    """Share of the episodes of true level 5 that were predicted below 5, by `(5, 5)` counts; NaN without any."""
    positives = int(counts[-1].sum())
    return float(counts[-1, :-1].sum()) / positives if positives else math.nan


def mean_absolute_error(counts: np.ndarray) -> float:
    """Mean distance of predicted from true level over the episodes in `(5, 5)` counts; NaN without any."""
    total = int(counts.sum())
    distance = np.abs(np.subtract.outer(np.arange(LEVELS), np.arange(LEVELS)))
    return float((counts * distance).sum()) / total if total else math.nan


def even_width(count: int) -> int:
    """Width of 12 to 20 blocks whose last one is as full as can be: a short one jumps in a curve."""
    widths = range(max(5, -(-count // 20)), max(5, count // 12) + 1)
    return min(widths, key=lambda width: (-count % width, width))


def binned_mean(values: Sequence[float], width: int) -> list[tuple[int, float]]:
    """Means of consecutive blocks, for a learning curve one can read.

    Args:
        values: One number per episode; NaN is left out of its block.
        width: Episodes per block; the last block may be shorter.

    Returns:
        `(episodes so far, mean)` per block; the mean is NaN if the block holds no number.
    """
    blocks = []
    for start in range(0, len(values), width):
        block = np.asarray(values[start : start + width], dtype=np.float64)
        finite = block[np.isfinite(block)]
        blocks.append((start + len(block), float(finite.mean()) if len(finite) else math.nan))
    return blocks
