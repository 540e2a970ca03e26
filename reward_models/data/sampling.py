"""Which examples to look at when there is no time for all of them; the same seed draws the same ones."""

from collections.abc import Sequence

import numpy as np


def balanced_sample(groups: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Draw the same number from every group, as far as a group goes: for means over groups.

    Args:
        groups: `(N,)` name of the group of each example.
        count: How many to draw; all if there are fewer.
        seed: Seed of the draw.

    Returns:
        `(min(count, N),)` int64 positions, increasing.
    """
    place = np.empty(len(groups), np.int64)
    for members in _shuffled_groups(groups, seed):
        place[members] = np.arange(len(members))
    # The first of every group, then the second of every group, and so on.
    return np.sort(np.argsort(place, kind="stable")[:count])


def proportional_sample(groups: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Draw from every group in proportion to its size: for means over examples.

    Args:
        groups: `(N,)` name of the group of each example.
        count: How many to draw; all if there are fewer.
        seed: Seed of the draw.

    Returns:
        `(min(count, N),)` int64 positions, increasing.
    """
    if count >= len(groups):
        return np.arange(len(groups))
    order = np.concatenate(_shuffled_groups(groups, seed))
    # The middles of `count` equal stretches of the shuffled groups laid end to end.
    middles = (np.arange(count) + 0.5) * len(order) / count
    return np.sort(order[middles.astype(np.int64)])


def _shuffled_groups(groups: Sequence[str], seed: int) -> list[np.ndarray]:
    """Positions of the members of each group, in random order."""
    rng = np.random.default_rng(seed)
    names = np.asarray(groups)
    return [rng.permutation(np.flatnonzero(names == name)) for name in np.unique(names)]
