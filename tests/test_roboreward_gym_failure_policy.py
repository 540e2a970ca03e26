import logging

import numpy as np
import pytest

from roboreward_gym import (
    Clip,
    InvalidRewardModel,
    InvalidSetting,
    ProgressScore,
    RewardModelFailure,
)
from roboreward_gym.scorer import Scorer
from tests.fakes import FailingRewardModel, FakeRewardModel

CLIP = Clip(np.zeros((2, 4, 4, 3), np.uint8), "lift the cup", 5.0)

FAILURES = [
    RuntimeError("CUDA out of memory"),
    TimeoutError("10 s"),
    ConnectionResetError("peer"),
    ValueError("no JSON"),
    KeyError("choices"),
    ZeroDivisionError("0"),
    MemoryError("full"),
    None,
    3,
    [],
    [ProgressScore(3), ProgressScore(3)],
    [3],
    [None],
    [ProgressScore(None, text="the robot waves")],
    {"level": 3},
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_every_failure_raises_by_default(failure: object) -> None:
    with pytest.raises(RewardModelFailure, match="FailingRewardModel") as caught:
        Scorer(FailingRewardModel(failure)).score(CLIP)
    if isinstance(failure, Exception):
        assert caught.value.__cause__ is failure


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_every_failure_is_unreadable_under_nan(failure: object) -> None:
    score = Scorer(FailingRewardModel(failure), "nan").score(CLIP)
    assert score.level is None
    assert "FailingRewardModel" in score.text


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_substitute_is_asked_after_every_failure(failure: object) -> None:
    assert Scorer(FailingRewardModel(failure), FakeRewardModel(2)).score(CLIP).level == 2


def test_a_failing_substitute_raises() -> None:
    with pytest.raises(RewardModelFailure):
        Scorer(FailingRewardModel(OSError()), FailingRewardModel(OSError())).score(CLIP)


def test_retry_asks_again_a_bounded_number_of_times() -> None:
    patient = FailingRewardModel(OSError("busy"), failures=2)
    assert Scorer(patient, "retry", retries=2).score(CLIP).level == 4
    assert patient.calls == 3
    hopeless = FailingRewardModel(OSError("busy"))
    with pytest.raises(RewardModelFailure, match="busy"):
        Scorer(hopeless, "retry", retries=3).score(CLIP)
    assert hopeless.calls == 4


def test_other_policies_ask_once() -> None:
    for on_failure in ("nan", FakeRewardModel()):
        judge = FailingRewardModel(OSError())
        Scorer(judge, on_failure).score(CLIP)
        assert judge.calls == 1


def test_failures_that_do_not_raise_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="roboreward_gym"):
        Scorer(FailingRewardModel(OSError("gone")), "nan").score(CLIP)
    assert "gone" in caplog.text


@pytest.mark.parametrize("bug", [AttributeError("typo"), KeyboardInterrupt(), SystemExit()])
def test_bugs_and_interrupts_pass_as_they_are(bug: BaseException) -> None:
    with pytest.raises(type(bug)):
        Scorer(FailingRewardModel(bug), "nan").score(CLIP)


@pytest.mark.parametrize("judge", [3, None, FakeRewardModel, object()])
def test_what_cannot_score_is_refused(judge: object) -> None:
    with pytest.raises(InvalidRewardModel, match="Expected"):
        Scorer(judge)
    with pytest.raises(InvalidRewardModel, match="Expected"):
        Scorer(FakeRewardModel(), judge)


@pytest.mark.parametrize("retries", [-1, 1.5, True, "2"])
def test_impossible_retries_are_refused(retries: object) -> None:
    with pytest.raises(InvalidSetting, match="retries"):
        Scorer(FakeRewardModel(), "retry", retries)
