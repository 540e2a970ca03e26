"""Intervals and tests of a study, by the libraries that the field uses: rliable, SciPy and statsmodels.

Evaluation episodes are paired: both policies play the same starts with noise of the same seeds.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import numpy as np
from rliable import library, metrics
from scipy.stats import bootstrap, pearsonr
from statsmodels.stats.contingency_tables import mcnemar

from experiments.metrics import RESAMPLES, Interval


def mean_interval(values: np.ndarray) -> Interval:
    """95 % interval of the mean of `(starts, seeds)`: rliable's stratified bootstrap, over starts and over seeds.

    With one seed it is over the starts alone.
    """
    return _interval(values, lambda x: np.array([x.mean()]), seeds_too=values.shape[1] > 1)


def iqm_interval(scores: np.ndarray) -> tuple[float, Interval]:
    """Interquartile mean of `(seeds, tasks)`, and its 95 % interval by rliable's stratified bootstrap over seeds."""
    interval = _interval(scores, lambda x: np.array([metrics.aggregate_iqm(x)]), seeds_too=False)
    return float(metrics.aggregate_iqm(scores)), interval


def _interval(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], *, seeds_too: bool
) -> Interval:
    with _global_seed(0):
        _, intervals = library.get_interval_estimates(
            {"": scores.astype(float)}, statistic, task_bootstrap=seeds_too, reps=RESAMPLES
        )
    low, high = intervals[""][:, 0]
    return float(low), float(high)


@contextmanager
def _global_seed(seed: int) -> Generator[None]:
    """NumPy's global generator starts from this seed, and goes on as before afterwards.

    rliable 1.2 takes a generator but draws from the global one all the same.
    """
    before = np.random.get_state()
    np.random.seed(seed)  # noqa: TID251
    try:
        yield
    finally:
        np.random.set_state(before)


def mcnemar_p(before: Sequence[bool], after: Sequence[bool]) -> float:
    """p-value of McNemar's exact test: are as many starts won as lost?"""
    first, second = np.asarray(before, bool), np.asarray(after, bool)
    table = [[int(((first == a) & (second == b)).sum()) for b in (True, False)] for a in (True, False)]  # fmt: skip
    return float(mcnemar(table, exact=True).pvalue)


def gain_share(ours: np.ndarray, oracle: np.ndarray) -> tuple[float, Interval | None]:
    """Mean gain over the mean gain of the oracle, and its 95 % interval: bootstrap over starts that both played.

    Args:
        ours: `(starts, seeds)` differences of success.
        oracle: The same of the oracle's runs with the same seeds.

    Returns:
        NaN where the oracle gained nothing; no interval where it may have gained nothing.
    """
    mean = float(oracle.mean())
    if mean <= 0:
        return float("nan"), None
    if mean_interval(oracle)[0] <= 0:
        return float(ours.mean()) / mean, None
    found = bootstrap(
        (ours.mean(1), oracle.mean(1)),
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        paired=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    ends = found.confidence_interval
    return float(ours.mean()) / mean, (float(ends.low), float(ends.high))


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, Interval]:
    """Pearson's r, and its 95 % interval by Fisher's transformation; NaN where it is not defined."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), (float("nan"), float("nan"))
    found = pearsonr(x, y)
    ends = found.confidence_interval()  # of three points: -1 to 1
    return float(found.statistic), (float(ends.low), float(ends.high))
