import math

import numpy as np
import pytest

from roboreward_gym import InvalidScore, ProgressScore, UnknownName, as_reward_map


@pytest.mark.parametrize(
    ("name", "rewards"),
    [
        ("progress", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("expected_progress", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("expected-progress", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("binary", [0.0, 0.0, 0.0, 0.0, 1.0]),
        ("binary@4", [0.0, 0.0, 0.0, 1.0, 1.0]),
        ("minus_one", [-1.0, -1.0, -1.0, -1.0, 0.0]),
        ("minus-one@3", [-1.0, -1.0, 0.0, 0.0, 0.0]),
        ("level", [1.0, 2.0, 3.0, 4.0, 5.0]),
    ],
)
def test_named_maps_give_these_rewards_for_levels_one_to_five(
    name: str, rewards: list[float]
) -> None:
    reward_map = as_reward_map(name)
    assert [reward_map(ProgressScore(level)) for level in (1, 2, 3, 4, 5)] == rewards


def test_expected_progress_reads_the_probabilities() -> None:
    score = ProgressScore(5, np.array([0.0, 0.0, 0.25, 0.25, 0.5]))
    assert as_reward_map("expected_progress")(score) == pytest.approx((4.25 - 1) / 4)
    assert as_reward_map("progress")(score) == 1.0


@pytest.mark.parametrize("name", ["progress", "expected_progress", "binary", "minus_one", "level"])
def test_an_unreadable_score_has_no_reward(name: str) -> None:
    with pytest.raises(InvalidScore, match="no idea"):
        as_reward_map(name)(ProgressScore(None, text="no idea"))


@pytest.mark.parametrize(
    "name", ["binry", "binary@1", "binary@6", "binary@", "progress@5", "", "binary@x", "binary@4.0"]
)
def test_unknown_maps_are_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="reward map"):
        as_reward_map(name)


def test_closest_map_is_suggested() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'binary'"):
        as_reward_map("binry")


def test_a_function_is_its_own_map_and_other_things_are_refused() -> None:
    assert as_reward_map(math.isnan) is math.isnan
    with pytest.raises(UnknownName, match="reward map '3'"):
        as_reward_map(3)
