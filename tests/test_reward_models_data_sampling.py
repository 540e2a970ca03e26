from collections import Counter

import numpy as np
import pytest

from reward_models.data.sampling import balanced_sample, proportional_sample

GROUPS = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
SAMPLES = (balanced_sample, proportional_sample)


def counts(positions: np.ndarray) -> Counter[str]:
    return Counter(GROUPS[i] for i in positions)


def test_a_balanced_sample_takes_as_many_of_every_group() -> None:
    assert counts(balanced_sample(GROUPS, 24, seed=0)) == {"a": 8, "b": 8, "c": 8}


def test_a_balanced_sample_goes_on_with_others_when_a_group_is_used_up() -> None:
    assert counts(balanced_sample(GROUPS, 50, seed=0)) == {"a": 20, "b": 20, "c": 10}


def test_a_proportional_sample_keeps_the_shares() -> None:
    assert counts(proportional_sample(GROUPS, 20, seed=0)) == {"a": 12, "b": 6, "c": 2}


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_period_of_the_data_does_not_matter(sample: type) -> None:
    # Own task, three others, own task, three others: every fourth or every second would be of one kind.
    groups = ["own", "other", "other", "other"] * 100
    assert set(np.asarray(groups)[sample(groups, 100, seed=0)]) == {"own", "other"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_seed_draws_the_same_and_another_seed_others(sample: type) -> None:
    first, same, other = (sample(GROUPS, 20, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert first.tolist() != other.tolist()
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("count", [100, 1000])
def test_more_than_there_is_draws_everything(sample: type, count: int) -> None:
    np.testing.assert_array_equal(sample(GROUPS, count, seed=0), np.arange(100))
