"""Splits do not leak, whatever depends on whatever, and every subset is divided alike."""

from collections import Counter

import numpy as np
import pytest

from reward_models.data.card import card
from reward_models.data.published import read, source_of
from reward_models.data.published_writer import sha256
from reward_models.data.sources import ReadOptions
from reward_models.data.splits import Fractions, Membership, assign_splits
from roboreward_gym.errors import InvalidSetting
from tests.split_leaks import leaks
from tests.test_reward_models_data_rlds import shared


def random_members(seed: int, count: int = 400) -> list[Membership]:
    rng = np.random.default_rng(seed)
    return [
        Membership(f"subset{rng.integers(3)}", f"e{rng.integers(120)}", f"v{rng.integers(300)}")
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_no_episode_and_no_video_is_in_two_splits(seed: int) -> None:
    members = random_members(seed)
    assert leaks(members, assign_splits(members, Fractions(0.6, 0.2, 0.2), seed)) == []


def test_a_leak_is_noticed() -> None:
    members = [Membership("a", "1", "x"), Membership("a", "1", "y"), Membership("a", "2", "y")]
    assert leaks(members, ["train", "train", "test"]) == ["video y in test, train"]
    assert leaks(members, ["train", "test", "test"]) == ["episode a/1 in test, train"]


def test_a_chain_of_shared_videos_and_episodes_stays_together() -> None:
    members = [
        Membership("a", "1", "x"),
        Membership("a", "2", "x"),
        Membership("a", "2", "y"),
        Membership("b", "9", "y"),
    ]
    for seed in range(10):
        assert len(set(assign_splits(members, Fractions(0.4, 0.3, 0.3), seed))) == 1


def test_every_subset_is_divided_in_the_same_proportions() -> None:
    members = [
        Membership(s, f"{s}{i}", f"{s}{i}{k}") for s in "abc" for i in range(100) for k in "xy"
    ]
    splits = assign_splits(members, Fractions(0.8, 0.1, 0.1))
    for subset in "abc":
        counts = Counter(s for m, s in zip(members, splits, strict=True) if m.subset == subset)
        assert counts == {"train": 160, "val": 20, "test": 20}


def test_the_seed_decides_and_the_order_of_the_examples_does_not() -> None:
    members = [Membership("a", str(i), str(i)) for i in range(60)]
    splits = dict(zip(members, assign_splits(members, seed=1), strict=True))
    again = dict(zip(members[::-1], assign_splits(members[::-1], seed=1), strict=True))
    assert splits == again
    assert splits != dict(zip(members, assign_splits(members, seed=2), strict=True))


def test_real_splits_that_hold_the_same_episodes_are_found_out() -> None:
    root = shared("roboreward_layout")
    members, old = [], []
    for split in ("train", "val", "test"):
        for item in read(root, ReadOptions(split=split)):
            file = item.video.file  # type: ignore[union-attr]
            members.append(
                Membership(
                    file.parent.name, source_of(f"{file.parent.name}/{file.name}"), sha256(file)
                )
            )
            old.append(split)
    assert len(leaks(members, old)) > 10
    assert leaks(members, assign_splits(members)) == []


@pytest.mark.parametrize("parts", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1)])
def test_fractions_sum_to_one(parts: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidSetting):
        Fractions(*parts)


def test_the_card_counts_rows_and_episodes() -> None:
    about = {"kind": "original", "source_episode": "1", "licence": "MIT"}
    rows = [
        {"file_name": "a/1.mp4", "reward": 5, **about},
        {"file_name": "a/1_1.mp4", "reward": 2, **about},
    ]
    text = card(
        "mine",
        {"train": rows, "val": []},
        {"short": 3},
        {"verifier": "person"},
        "7 for all",
        "csv:x",
    )
    assert "| a | 2 | 0 | 1 | 0 | 0 | 1 | 1 |" in text
    assert "MIT (2)" in text
    assert "short 3" in text
    assert "| verifier | `person` |" in text
    assert "Seeds: 7 for all." in text
    assert "validation" not in text
