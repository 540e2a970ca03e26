"""Scoring beside the loop: the step returns at once, one thread asks the judge, in order."""

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from typing import Any

from roboreward_gym.errors import InvalidSetting, NoEpisode, RewardModelFailure
from roboreward_gym.judging import Judging, Outcome
from roboreward_gym.types import Clip

IMMEDIATE, DEFERRED = "immediate", "deferred"


def is_deferred(scoring: str) -> bool:
    """Whether scores come later, or raise `InvalidSetting`."""
    if scoring not in (IMMEDIATE, DEFERRED):
        raise InvalidSetting(
            f"Expected scoring={IMMEDIATE!r} or {DEFERRED!r}, got {scoring!r}. "
            "Deferred scores come with the next reset(), or by collect()."
        )
    return scoring == DEFERRED


class PendingScore:
    """What becomes of one clip, once the judge has spoken."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._lock = threading.Lock()
        self._answer: Future[Outcome] = Future()

    @property
    def settled(self) -> bool:
        """Whether `outcome` would return at once."""
        return self._answer.done()

    @property
    def failure(self) -> BaseException | None:
        """Why there is no score, as far as is known."""
        if not self.settled:
            return None
        error = self._answer.exception()
        if error is None and isinstance(outcome := self._answer.result(), RewardModelFailure):
            return outcome
        return error

    def settle(self, outcome: Outcome) -> None:
        """Say what became of it; the first word counts."""
        with self._lock:
            if not self.settled:
                self._answer.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Say what `outcome` raises; the first word counts."""
        with self._lock:
            if not self.settled:
                self._answer.set_exception(error)

    def wait(self) -> None:
        """Return once it is settled; Ctrl-C gets through."""
        wait([self._answer])

    def outcome(self) -> Outcome:
        """Wait, and return the score or the failure; a bug in the judge is raised as it is."""
        return self._answer.result()


class BackgroundScoring:
    """Asks judges in one thread, in the order of `submit`.

    The thread lives while there is something to judge and never keeps the process from ending.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[tuple[Judging, list[PendingScore]]] = deque()
        self._asked: list[PendingScore] = []
        self._running = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies of an environment score in threads of their own."""
        return BackgroundScoring, ()

    def submit(self, judging: Judging, clips: Sequence[Clip]) -> list[PendingScore]:
        """Have clips judged in one call, after all that was submitted before."""
        pending = [PendingScore(clip) for clip in clips]
        with self._lock:
            self._queue.append((judging, pending))
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name="roboreward-scoring", daemon=True).start()
        return pending

    def close(self) -> int:
        """Give up what is not judged yet, without waiting; returns how many clips that were.

        A judge that is at work is not interrupted, but what it says is no longer heard.
        """
        with self._lock:
            given_up = [score for _, batch in self._queue for score in batch]
            given_up += [score for score in self._asked if not score.settled]
            self._queue.clear()
            for score in given_up:
                score.fail(NoEpisode("Expected a score, got close() before it was known."))
        return len(given_up)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            judge(*job)

    def _next(self) -> tuple[Judging, list[PendingScore]] | None:
        with self._lock:
            self._asked = []
            if not self._queue:
                self._running = False
                return None
            job = self._queue.popleft()
            self._asked = job[1]
            return job


def judge(judging: Judging, pending: Sequence[PendingScore]) -> None:
    """Settle all of them, with one call of the judge."""
    with _RaisedWhereAwaited(pending):
        outcomes = judging.outcomes([score.clip for score in pending])
        for score, outcome in zip(pending, outcomes, strict=True):
            score.settle(outcome)


class _RaisedWhereAwaited:
    """Hands what is raised inside to those who wait, instead of ending the thread with it."""

    def __init__(self, pending: Sequence[PendingScore]) -> None:
        self._pending = pending

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        if error is not None:
            for score in self._pending:
                score.fail(error)
        return True
