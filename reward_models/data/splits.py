"""Splits that cannot leak: all that shares a source episode, or a byte-identical video, goes to one of them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from roboreward_gym.errors import InvalidSetting


@dataclass(frozen=True)
class Fractions:
    """How large the splits are, in parts of all examples of each subset; at least one is above 0."""

    train: float = 0.8
    """Training."""
    val: float = 0.1
    """Validation."""
    test: float = 0.1
    """Test."""

    def __post_init__(self) -> None:
        parts = vars(self).values()
        if any(not 0 <= part <= 1 for part in parts) or abs(sum(parts) - 1) > 1e-6:
            raise InvalidSetting(f"The fractions of the splits must sum to 1, not {self}.")


@dataclass(frozen=True)
class Membership:
    """What decides where an example goes.

    Attributes:
        subset: Its subset; each is divided in the same proportions.
        source_episode: Its episode.
        video_sha256: Hash of its video file.
    """

    subset: str
    source_episode: str
    video_sha256: str


def assign_splits(
    members: Sequence[Membership],
    fractions: Fractions = Fractions(),
    seed: int = 0,
) -> list[str]:
    """Assign each example to a split, by whole groups of examples that depend on one another.

    In each subset the groups are taken in a random order, and each goes to the split that lacks the
    most examples, as a part of what it should have.

    Args:
        members: One per example.
        fractions: Sizes of the splits.
        seed: Seed of the order.

    Returns:
        Name of the split of each example, in order.
    """
    group_of = _groups(members)
    sizes = Counter(group_of)
    first: dict[int, Membership] = {}
    for group, member in zip(group_of, members, strict=True):
        first.setdefault(group, member)
    by_subset: dict[str, list[int]] = defaultdict(list)
    for group, member in first.items():
        by_subset[member.subset].append(group)
    split_of: dict[int, str] = {}
    for subset, groups in by_subset.items():
        total = sum(sizes[group] for group in groups)
        lacking = {name: part * total for name, part in vars(fractions).items() if part > 0}
        wanted = dict(lacking)
        for group in sorted(groups, key=lambda g: _draw(seed, subset, first[g].source_episode)):
            name = max(lacking, key=lambda split: lacking[split] / wanted[split])
            lacking[name] -= sizes[group]
            split_of[group] = name
    return [split_of[group] for group in group_of]


def _groups(members: Sequence[Membership]) -> list[int]:
    """Number of the group of each example: connected by episodes and by videos."""
    parent = list(range(len(members)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halve the path, so that later walks are short
            i = parent[i]
        return i

    known: dict[Hashable, int] = {}
    for i, member in enumerate(members):
        for key in ((member.subset, member.source_episode), member.video_sha256):
            parent[root(i)] = root(known.setdefault(key, i))
    return [root(i) for i in range(len(members))]


def _draw(seed: int, *names: str) -> str:
    return hashlib.sha256("\0".join((str(seed), *names)).encode()).hexdigest()
