import math
import mmap
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import bootstrap

from reward_models.bench.answers import Answer, AnswerLog
from reward_models.bench.intervals import intervals, resamples
from reward_models.bench.measure import difference, summarize_answers
from reward_models.bench.metrics import (
    calibration_error,
    macro_mean_absolute_error,
    preference_accuracy,
    reliability,
    success_curve,
    summarize,
)
from reward_models.bench.peak_memory import main_memory_mb
from reward_models.bench.questions import Question, Questions
from tests.tiny_vlm import random_clip


def mean_of(values: np.ndarray) -> object:
    return lambda rows: {"mean": float(values[rows].mean())}


def test_rows_of_a_unit_are_drawn_together() -> None:
    units = ["a", "b", "a", "c", "c", "c"]
    for rows in resamples(units, 50, seed=1):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2]
        assert counts[3] == counts[4] == counts[5]
        assert sum(counts[[0, 1, 3]]) == 3


def test_with_single_rows_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(size=80)
    found = intervals(mean_of(values), [str(i) for i in range(80)], 4000)["mean"]  # ty: ignore
    theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=1)
    np.testing.assert_allclose(found, theirs.confidence_interval, atol=0.02)


def test_repeated_rows_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=40)
    units = [str(i) for i in range(40)]
    once = intervals(mean_of(values), units, 1000)["mean"]  # ty: ignore
    ten_times = intervals(mean_of(np.repeat(values, 10)), np.repeat(units, 10), 1000)["mean"]  # ty: ignore
    np.testing.assert_allclose(once, ten_times, atol=1e-9)


def test_what_is_undefined_in_some_draws_is_left_out() -> None:
    found = intervals(
        lambda rows: {"a": math.nan if rows[0] == 0 else 2.0, "b": math.nan}, ["x", "y"], 40
    )
    assert found["a"] == (2.0, 2.0)
    assert all(map(math.isnan, found["b"]))
    assert intervals(lambda _: {"a": 1.0}, ["x"], 0) == {}


def _log(levels: list[int | None]) -> AnswerLog:
    log = AnswerLog(None, "", "")
    for i, level in enumerate(levels):
        log.add(Answer(str(i), level, None, 0.0, 0.1))
    return log


def test_differences_are_paired() -> None:
    truth = [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]
    rows = [Question(str(i), str(i), str(i), "s", "k", "t", level) for i, level in enumerate(truth)]
    questions = Questions(tuple(rows), lambda _: random_clip(2))
    # Errors 0 and 2 of the first, 1 and 3 of the second: one level apart in every video, whichever are drawn.
    first: list[int | None] = [1, 4] * 5
    second: list[int | None] = [2, 5] * 5
    found = difference(questions, _log(first), _log(second), bootstrap=40)
    assert found["mae"] == -1.0
    assert found["intervals"]["mae"] == pytest.approx((-1.0, -1.0))
    same = difference(questions, _log(first), _log(first), bootstrap=10)
    assert same["intervals"]["mae"] == (0.0, 0.0)
    # Other draws for each of the two would see how much each varies.
    errors = [np.abs(np.subtract(levels, truth)) for levels in (first, second)]
    alone = [
        intervals(mean_of(e), [str(i) for i in range(10)], 300, seed=s)["mean"]  # ty: ignore
        for s, e in enumerate(errors)
    ]
    assert alone[0][1] > alone[1][0]


def test_differences_are_those_of_questions_that_both_answered() -> None:
    truth = [1, 2, 3]
    rows = [Question(str(i), str(i), str(i), "s", "k", "t", level) for i, level in enumerate(truth)]
    questions = Questions(tuple(rows), lambda _: random_clip(2))
    second = _log([2, 2, 5])
    del second.answers["2"]
    found = difference(questions, _log([1, 2, 1]), second, bootstrap=0)
    assert (found["examples"], found["mae"], found["exact"]) == (2, -0.5, 0.5)


def test_speed_is_that_of_the_calls() -> None:
    rows = [Question(str(i), str(i), str(i), "s", "k", "t", 3) for i in range(4)]
    questions = Questions(tuple(rows), lambda _: random_clip(2))
    log = AnswerLog(None, "", "")
    for i, seconds in enumerate((0.1, 0.2, 0.3)):
        log.add(Answer(str(i), 3, None, 0.0, seconds))
    numbers = summarize_answers(questions, log)
    assert numbers["latency_ms"] == 200.0
    assert numbers["latency_p95_ms"] == pytest.approx(290.0)
    assert numbers["clips_per_s"] == 5.0
    assert (numbers["coverage"], numbers["failed_count"]) == (0.75, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere the peak is that of getrusage.")
def test_the_peak_of_memory_is_not_that_of_whoever_started_the_program() -> None:
    large = np.ones(200_000_000, np.uint8)
    code = "from reward_models.bench.peak_memory import main_memory_mb; print(main_memory_mb())"
    shown = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert large.any()
    assert 0 < float(shown) < 150


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell.")
def test_the_peak_of_memory_stays_when_memory_is_given_back() -> None:
    with mmap.mmap(-1, 200_000_000) as large:
        large.write(b"1" * len(large))
        peak = main_memory_mb()
    assert peak is not None
    assert main_memory_mb() == pytest.approx(peak, abs=50)


def test_preference_accuracy_counts_pairs_of_a_subset() -> None:
    truth = np.array([1, 3, 5, 5, 1])
    expected = np.array([1.0, 4.0, 3.0, np.nan, 2.0])
    # Subset a: (1,3) right, (1,5) right, (3,5) wrong; the unreadable one is out. Subset b has one readable row.
    assert preference_accuracy(expected, truth, ["a", "a", "a", "b", "b"]) == pytest.approx(2 / 3)
    assert preference_accuracy(np.ones(2), np.array([1, 5]), ["a", "a"]) == 0.5
    assert math.isnan(preference_accuracy(np.ones(2), np.array([5, 5]), ["a", "a"]))


def test_the_success_curve_holds_the_rates_of_every_threshold() -> None:
    curve = success_curve(np.array([0.9, 0.4, 0.5, 0.1]), np.array([5, 5, 4, 1]))
    points = list(zip(curve["false_positive_rate"], curve["true_positive_rate"], strict=True))
    assert points == [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]
    assert curve["threshold"][1] == 0.9
    assert success_curve(np.array([0.9]), np.array([5]))["threshold"] == []


def test_reliability_bins_add_up_to_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1.0, 300)
    correct = (rng.uniform(size=300) < confidence**2).astype(float)
    bins = reliability(confidence, correct)
    assert sum(b["count"] for b in bins) == 300
    gaps = [b["count"] / 300 * abs(b["confidence"] - b["accuracy"]) for b in bins]
    assert sum(gaps) == pytest.approx(calibration_error(confidence, correct))


def test_calibration_error_equals_that_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    import torch

    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 200)
    truth = rng.integers(5, size=200)
    theirs = functional.multiclass_calibration_error(
        torch.tensor(p), torch.tensor(truth), num_classes=5, n_bins=10, norm="l1"
    )
    ours = calibration_error(p.max(1), (p.argmax(1) == truth).astype(float))
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_macro_error_is_that_of_the_subsets() -> None:
    predicted, truth = np.array([1.0, np.nan, 5.0]), np.array([3, 1, 5])
    macro, parts = macro_mean_absolute_error(predicted, truth, ["a", "b", "b"])
    assert parts == {"a": 2.0, "b": 2.0}
    assert macro == 2.0
    assert summarize(predicted, truth, ["a", "b", "b"])["mae"] == pytest.approx(6 / 3)
