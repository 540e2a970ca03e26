import math

import numpy as np
import pytest

from reward_models.bench.metrics import (
    calibration_error,
    confusion_matrix,
    false_positive_rate,
    kendall_tau,
    success_roc_auc,
    summarize,
    true_positive_rate,
)
from roboreward_gym.errors import InvalidScore

TRUTH = np.array([5, 5, 1, 1, 1, 4])
PREDICTED = np.array([5, 4, 1, 5, 3, 4], float)
SUBSETS = ["a", "a", "a", "a", "b", "b"]


def test_errors_equal_those_by_hand() -> None:
    numbers = summarize(PREDICTED, TRUTH, SUBSETS)
    assert numbers["mae"] == pytest.approx(7 / 6)
    # Subset a: (0 + 1 + 0 + 4) / 4, subset b: (2 + 0) / 2; the mean does not weigh by size.
    assert numbers["mae_by_subset"] == {"a": 1.25, "b": 1.0}
    assert numbers["macro_mae"] == pytest.approx(1.125)
    # Level 1: 6 / 3, level 4: 0, level 5: 1 / 2.
    assert numbers["level_macro_mae"] == pytest.approx(2.5 / 3)
    assert numbers["exact"] == pytest.approx(3 / 6)
    assert numbers["within_one"] == pytest.approx(4 / 6)
    assert numbers["always_three_mae"] == pytest.approx((2 + 2 + 2 + 2 + 2 + 1) / 6)
    assert numbers["always_three_macro_mae"] == pytest.approx((2 + 1.5) / 2)


def test_false_positives_count_among_failures_only() -> None:
    assert false_positive_rate(PREDICTED, TRUTH) == pytest.approx(1 / 4)
    assert summarize(PREDICTED, TRUTH, SUBSETS)["true_positive_rate"] == pytest.approx(1 / 2)
    assert math.isnan(false_positive_rate(np.array([5.0]), np.array([5])))


def test_rates_of_one_sided_data_are_undefined_or_exact() -> None:
    success, failure = np.array([5, 5]), np.array([1, 4])
    assert math.isnan(false_positive_rate(success.astype(float), success))
    assert true_positive_rate(np.array([5.0, 1.0]), success) == 0.5
    assert math.isnan(true_positive_rate(failure.astype(float), failure))
    assert false_positive_rate(np.array([5.0, 1.0]), failure) == 0.5
    assert false_positive_rate(np.array([1.0, 1.0]), failure) == 0.0
    assert true_positive_rate(np.array([5.0, 5.0]), success) == 1.0


def test_bias_is_signed() -> None:
    # One is a level too low, one four and one two levels too high, among six.
    assert summarize(PREDICTED, TRUTH, SUBSETS)["bias"] == pytest.approx(5 / 6)
    assert summarize(np.array([1.0, np.nan]), np.array([3, 1]), ["a", "a"])["bias"] == -2.0


def test_unreadable_answers_cost_four_and_are_counted() -> None:
    numbers = summarize(np.array([np.nan, 3.0]), np.array([2, 3]), ["a", "a"])
    assert numbers["mae"] == 2.0
    assert numbers["unreadable"] == 0.5
    assert numbers["unreadable_count"] == 1
    assert numbers["false_positive_rate"] == 0.0
    assert numbers["within_one"] == 0.5


def test_only_unreadable_answers_leave_an_error_of_four() -> None:
    numbers = summarize(np.full(2, np.nan), np.array([3, 5]), ["a", "b"], np.full((2, 5), np.nan))
    assert (numbers["mae"], numbers["macro_mae"], numbers["unreadable_count"]) == (4.0, 4.0, 2)
    assert numbers["true_positive_rate"] == 0.0
    assert not np.any(numbers["confusion"])
    for name in ("bias", "kendall_tau_b", "calibration_error", "success_roc_auc"):
        assert math.isnan(numbers[name])


def test_kendall_tau_equals_that_by_hand() -> None:
    predicted, truth = np.array([1.0, 1.0, 3.0, 2.0]), np.array([1, 2, 3, 3])
    # (1,1)-(1,2) ties in prediction; (3,3)-(2,3) in truth; the other four agree.
    assert kendall_tau(predicted, truth) == pytest.approx(4 / math.sqrt(5 * 5))
    assert kendall_tau(np.array([1.0, 2.0, np.nan]), np.array([2, 1, 5])) == -1.0
    assert math.isnan(kendall_tau(np.array([3.0, 3.0]), np.array([1, 5])))


def test_roc_auc_counts_pairs_in_the_right_order() -> None:
    # Successes 0.9 and 0.4 against failures 0.5 and 0.1: three of four pairs are right.
    auc = success_roc_auc(np.array([0.9, 0.4, 0.5, 0.1]), np.array([5, 5, 4, 1]))
    assert auc == pytest.approx(3 / 4)
    assert math.isnan(success_roc_auc(np.array([0.9]), np.array([5])))


def test_confusion_has_truth_down_and_prediction_across() -> None:
    counts = confusion_matrix(np.array([5.0, 2.0, 2.0, np.nan]), np.array([1, 2, 2, 3]))
    expected = np.zeros((5, 5), int)
    expected[0, 4], expected[1, 1] = 1, 2
    np.testing.assert_array_equal(counts, expected)


def test_calibration_error_equals_that_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([1.0, 1.0, 1.0, 0.0])
    assert calibration_error(confidence, correct) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert calibration_error(np.array([1.0]), np.array([0.0])) == 1.0


def test_perfect_and_sure_is_perfectly_calibrated() -> None:
    numbers = summarize(TRUTH.astype(float), TRUTH, SUBSETS, np.eye(5)[TRUTH - 1])
    assert numbers["calibration_error"] == 0.0
    assert numbers["macro_mae"] == 0.0
    assert numbers["success_roc_auc"] == 1.0


@pytest.mark.parametrize("n", [0, 1])
def test_lengths_that_do_not_fit_are_refused(n: int) -> None:
    with pytest.raises(InvalidScore, match="as many predictions"):
        summarize(np.ones(n), np.ones(0, int), [])
