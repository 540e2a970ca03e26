"""Confidence intervals by a bootstrap over units: rows that share an episode or a video are drawn together.

scipy's bootstrap draws single observations; here whole groups of rows are drawn. The intervals are its percentile ones.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from tqdm import tqdm

LEVEL = 0.95
Statistic = Callable[[np.ndarray], Mapping[str, float]]
"""Named numbers of the rows with these positions, which may repeat."""


def resamples(units: Sequence[str], count: int, seed: int) -> Iterator[np.ndarray]:
    """Draw as many units as there are, with replacement, `count` times; yields the positions of their rows."""
    _, unit = np.unique(units, return_inverse=True)
    members = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([members[u] for u in rng.integers(len(members), size=len(members))])


def intervals(
    statistic: Statistic, units: Sequence[str], count: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of named numbers.

    Args:
        statistic: The numbers of some rows. What is NaN in a draw is left out of its interval.
        units: `(N,)` unit of each row.
        count: Draws; 0 gives no intervals.
        seed: Seed of the draws: the same one draws the same rows, so that differences of two models are paired.
    """
    if count == 0:
        return {}
    bar = tqdm(resamples(units, count, seed), total=count, desc="intervals", leave=False)
    drawn = [statistic(rows) for rows in bar]
    bounds = (100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all draws may be NaN
        for name in drawn[0]:
            low, high = np.nanpercentile([numbers[name] for numbers in drawn], bounds)
            found[name] = (float(low), float(high))
    return found
