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


def score(scorer: Scorer) -> ProgressScore:
    (result,) = scorer.submit([CLIP]).result()
    if isinstance(result, RewardModelFailure):
        raise result
    return result


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
        score(Scorer(FailingRewardModel(failure)))
    if isinstance(failure, Exception):
        assert caught.value.__cause__ is failure


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_every_failure_is_unreadable_under_nan(failure: object) -> None:
    found = score(Scorer(FailingRewardModel(failure), "nan"))
    assert found.level is None
    assert "FailingRewardModel" in found.text


def test_only_an_answer_without_a_level_is_unreadable_under_nan_unreadable() -> None:
    abstains = FailingRewardModel([ProgressScore(None, text="the robot waves")])
    assert "the robot waves" in score(Scorer(abstains, "nan_unreadable")).text
    for failure in (TimeoutError("10 s"), None, [], [3], RuntimeError("CUDA out of memory")):
        with pytest.raises(RewardModelFailure):
            score(Scorer(FailingRewardModel(failure), "nan_unreadable"))


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_substitute_is_asked_after_every_failure(failure: object) -> None:
    assert score(Scorer(FailingRewardModel(failure), FakeRewardModel(2))).level == 2


def test_a_failing_substitute_raises() -> None:
    with pytest.raises(RewardModelFailure):
        score(Scorer(FailingRewardModel(OSError()), FailingRewardModel(OSError())))


def test_retry_asks_again_a_bounded_number_of_times() -> None:
    patient = FailingRewardModel(OSError("busy"), failures=2)
    assert score(Scorer(patient, "retry", retries=2)).level == 4
    assert patient.calls == 3
    hopeless = FailingRewardModel(OSError("busy"))
    with pytest.raises(RewardModelFailure, match="busy"):
        score(Scorer(hopeless, "retry", retries=3))
    assert hopeless.calls == 4


def test_other_policies_ask_once() -> None:
    for on_failure in ("nan", FakeRewardModel()):
        model = FailingRewardModel(OSError())
        score(Scorer(model, on_failure))
        assert model.calls == 1


def test_failures_that_do_not_raise_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="roboreward_gym"):
        score(Scorer(FailingRewardModel(OSError("gone")), "nan"))
        score(Scorer(FailingRewardModel(OSError("busy"), failures=1), "retry", retries=2))
    assert "gone" in caplog.text
    assert "busy" in caplog.text
    assert "Asking again, 2 times at most." in caplog.text


@pytest.mark.parametrize("bug", [AttributeError("typo"), KeyboardInterrupt(), SystemExit()])
def test_bugs_and_interrupts_pass_as_they_are(bug: BaseException) -> None:
    with pytest.raises(type(bug)):
        score(Scorer(FailingRewardModel(bug), "nan"))


@pytest.mark.parametrize("model", [3, None, FakeRewardModel, object()])
def test_what_cannot_score_is_refused(model: object) -> None:
    with pytest.raises(InvalidRewardModel):
        Scorer(model)
    with pytest.raises(InvalidRewardModel):
        Scorer(FakeRewardModel(), model)


@pytest.mark.parametrize("retries", [-1, 1.5, True, "2"])
def test_impossible_retries_are_refused(retries: object) -> None:
    with pytest.raises(InvalidSetting, match="retries"):
        Scorer(FakeRewardModel(), "retry", retries)
