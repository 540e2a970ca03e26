"""One outcome per clip: a clip that cannot be scored costs the others nothing, and no clip is paid for twice."""

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from roboreward_gym import Clip, ProgressScore, registry
from roboreward_gym.errors import BudgetExhausted, InvalidClip, PartialScores, RewardModelFailure
from roboreward_gym.scorer import ScoreOrError, Scorer, outcomes


class Scripted:
    """Scores each clip by its task: a level, or an error; counts what it was asked."""

    def __init__(self, answer: Callable[[str], ScoreOrError], *, partial: bool = False) -> None:
        self.answer = answer
        self.partial = partial
        self.asked: list[str] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.asked += [clip.task for clip in clips]
        found = [self.answer(clip.task) for clip in clips]
        errors = [outcome for outcome in found if isinstance(outcome, Exception)]
        if errors and self.partial:
            raise PartialScores(found)
        if errors:
            raise errors[0]
        return [outcome for outcome in found if isinstance(outcome, ProgressScore)]


def clips(tasks: str) -> list[Clip]:
    return [Clip(np.zeros((2, 8, 8, 3), np.uint8), task, 5.0) for task in tasks]


def answer(task: str) -> ScoreOrError:
    return InvalidClip("no such task") if task == "x" else ProgressScore(int(task))


def levels(found: list[ScoreOrError]) -> list[object]:
    return [o.level if isinstance(o, ProgressScore) else type(o) for o in found]


@pytest.mark.parametrize(("partial", "asked"), [(False, 16), (True, 8)])
def test_a_clip_that_is_refused_costs_the_others_nothing(*, partial: bool, asked: int) -> None:
    model = Scripted(answer, partial=partial)
    assert levels(outcomes(model, clips("1234x321"))) == [1, 2, 3, 4, InvalidClip, 3, 2, 1]
    assert len(model.asked) == asked


def test_scores_that_were_paid_for_are_kept_when_the_budget_ends() -> None:
    def until_empty(task: str) -> ScoreOrError:
        return BudgetExhausted("7 requests") if task == "x" else ProgressScore(int(task))

    found = outcomes(Scripted(until_empty, partial=True), clips("1234512x"))
    assert levels(found) == [1, 2, 3, 4, 5, 1, 2, BudgetExhausted]


def test_an_unreadable_score_is_an_outcome() -> None:
    assert levels(outcomes(Scripted(lambda _: ProgressScore(None)), clips("12"))) == [None, None]


def test_no_clips_are_no_call() -> None:
    model = Scripted(answer)
    assert outcomes(model, []) == []
    assert model.asked == []


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TimeoutError("slow")])
def test_what_a_library_raises_becomes_a_failure_of_the_model(error: Exception) -> None:
    class Raising:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            raise error

    (failure,) = outcomes(Raising(), clips("1"))
    assert isinstance(failure, RewardModelFailure)
    assert f"Raising failed with {type(error).__name__}: {error}" in str(failure)
    assert failure.__cause__ is error


def test_a_bug_in_a_model_passes_as_it_is() -> None:
    class Buggy:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            raise AttributeError("typo")

    with pytest.raises(AttributeError, match="typo"):
        outcomes(Buggy(), clips("1"))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([ProgressScore(1)], "one score for each of 2 clips; it returned 1"),
        (None, "it returned NoneType"),
        ([ProgressScore(1), 2], "returned int, not a ProgressScore"),
    ],
)
def test_what_is_no_list_of_scores_is_a_failure(
    returned: list[ProgressScore], message: str
) -> None:
    class Wrong:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            return returned

    last = outcomes(Wrong(), clips("12"))[-1]
    assert isinstance(last, RewardModelFailure)
    assert message in str(last)


def test_partial_scores_survive_the_way_from_another_process() -> None:
    sent = PartialScores([ProgressScore(3), InvalidClip("no")])
    received = copy.copy(sent)
    assert levels(received.outcomes) == [3, InvalidClip]
    assert str(received) == str(sent) == "1 of 2 clips got no score. The first: no"


class Held:
    """Begins a call, and returns from it once it is released."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun, self.released = threading.Event(), threading.Event()

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.calls += [clip.task for clip in clips]
        self.begun.set()
        assert self.released.wait(60)
        return [ProgressScore(3) for _ in clips]


def test_close_cancels_the_calls_that_have_not_begun() -> None:
    model = Held()
    scorer = Scorer(model)
    first, second = scorer.submit(clips("1"), in_thread=True), scorer.submit(clips("2"))
    assert model.begun.wait(60)
    scorer.close()
    model.released.set()
    assert len(first.result(60)) == 1
    with pytest.raises(CancelledError):
        second.result(60)
    assert model.calls == ["1"]


@pytest.mark.parametrize("name", ["second?device=cpu", "second:3", "second"])
def test_a_substitute_may_be_named_with_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    substitute = Scripted(answer)
    monkeypatch.setattr(registry, "_factories", {"second": lambda options="": substitute})
    monkeypatch.setattr(registry, "_loaded", {})
    failing = Scripted(lambda _: RewardModelFailure("no"))
    assert levels(Scorer(failing, name).submit(clips("4")).result()) == [4]
