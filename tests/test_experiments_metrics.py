import math

import numpy as np
import pytest

from experiments.metrics import (
    Rate,
    binned_mean,
    confusion,
    even_width,
    false_negative_rate,
    false_positive_rate,
    mean_absolute_error,
    success_rate,
)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3 (Wilson score).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_interval_is_that_of_the_literature(
    successes: int, total: int, low: float, high: float
) -> None:
    assert Rate(successes, total).interval == pytest.approx((low, high), abs=5e-5)


def test_rate_without_episodes_is_unknown() -> None:
    rate = success_rate([])
    assert str(rate) == "unknown"
    assert np.isnan([rate.value, *rate.interval]).all()


def test_more_successes_than_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 of 2 is not a rate"):
        Rate(3, 2)


def test_rate_prints_share_and_interval() -> None:
    assert str(Rate(50, 100)) == "50.0 % [40.4, 59.6]"


def test_rows_of_the_confusion_are_true_levels() -> None:
    counts = confusion([2.0, 2.0, 5.0], [5.0, 1.0, 5.0])
    assert counts[1, 4] == counts[1, 0] == counts[4, 4] == 1
    assert counts.sum() == 3


def test_episodes_without_truth_or_score_are_not_compared() -> None:
    assert confusion([math.nan, 3.0, 4.0], [5.0, math.nan, 4.0]).sum() == 1


def test_false_positives_are_counted_among_the_unfinished() -> None:
    counts = confusion([1, 2, 3, 4, 5, 5], [5, 2, 3, 4, 5, 5])
    assert false_positive_rate(counts) == 0.25


def test_false_negatives_are_counted_among_the_finished() -> None:
    counts = confusion([5, 5, 1], [5, 4, 1])
    assert false_negative_rate(counts) == 0.5


def test_rates_without_a_denominator_are_nan_and_not_zero() -> None:
    assert math.isnan(false_positive_rate(confusion([5.0], [5.0])))
    assert math.isnan(false_negative_rate(confusion([4.0], [5.0])))
    assert math.isnan(mean_absolute_error(np.zeros((5, 5), int)))


def test_mean_absolute_error_counts_levels() -> None:
    assert mean_absolute_error(confusion([1, 5], [4, 4])) == 2.0


def test_last_block_of_a_curve_may_be_short() -> None:
    assert binned_mean([0.0, 1.0, 1.0, 1.0, 0.0], 2) == [(2, 0.5), (4, 1.0), (5, 0.0)]


def test_nan_is_left_out_of_its_block() -> None:
    (first, second) = binned_mean([math.nan, 1.0, math.nan, math.nan], 2)
    assert first == (2, 1.0)
    assert math.isnan(second[1])


@pytest.mark.parametrize(
    ("count", "width"), [(1, 5), (30, 5), (60, 5), (160, 8), (200, 10), (400, 20), (203, 12)]
)
def test_blocks_of_a_curve_are_even(count: int, width: int) -> None:
    assert even_width(count) == width
    if count >= 60:
        last = count % width or width
        assert last > 0.8 * width
        assert 12 <= -(-count // width) <= 20
