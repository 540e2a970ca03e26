"""Deferred scores of a vector environment: which episode each belongs to, and who has heard of it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from roboreward_gym.deferred import BackgroundScoring, PendingScore
from roboreward_gym.judging import Judging, raise_failures
from roboreward_gym.types import Clip, ProgressScore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScoredEpisode:
    """An episode whose score has come.

    Attributes:
        env: Index of its environment.
        episode: How many episodes of that environment had ended before.
        reward: What the step that ended it would have paid; NaN under `on_failure="nan"`.
        score: What the judge said.
    """

    env: int
    episode: int
    reward: float
    score: ProgressScore


@dataclass(eq=False)
class Waiting:
    """An episode that has ended and whose score was not handed out yet."""

    env: int
    episode: int
    pending: PendingScore
    raised: bool = False
    """Why it has no reward was raised already."""

    @property
    def unscored(self) -> bool:
        """Whether its clip is still needed."""
        return not self.pending.settled or self.pending.failure is not None


class Backlog:
    """Episodes in the order in which they ended, until their scores are handed out, each once.

    Args:
        judging: The judge and the policy for its failures.
        reward_of: From score to reward.
        num_envs: Environments; a step waits while more clips than that are without a score.
    """

    def __init__(
        self, judging: Judging, reward_of: Callable[[ProgressScore], float], num_envs: int
    ) -> None:
        self._judging = judging
        self._reward_of = reward_of
        self._background = BackgroundScoring()
        self._waiting: list[Waiting] = []
        self._ended = [0] * num_envs

    def add(self, envs: Sequence[int], clips: Sequence[Clip]) -> None:
        """Have the episodes that ended in one step judged, in one call."""
        pending = self._background.submit(self._judging, clips)
        for env, score in zip(envs, pending, strict=True):
            self._waiting.append(Waiting(env, self._ended[env], score))
            self._ended[env] += 1

    def make_room(self) -> None:
        """Wait for the oldest scores while more clips are held than there are environments.

        Raises:
            RewardModelFailure: Those failed, so that waiting does not help.
        """
        unscored = [waiting for waiting in self._waiting if waiting.unscored]
        _wait(unscored[: max(0, len(unscored) - len(self._ended))])

    def take(self, *, wait: bool) -> list[ScoredEpisode]:
        """Hand out all scores, or without waiting those before the first that is unknown.

        Raises:
            RewardModelFailure: The judge failed on some of them; all are kept.
        """
        unknown = (i for i, w in enumerate(self._waiting) if not wait and not w.pending.settled)
        return self._take(self._waiting[: next(unknown, None)])

    def take_last(self, reset: np.ndarray) -> list[ScoredEpisode]:
        """Hand out the score of the last episode of each environment in the mask `reset`.

        Episodes of these environments whose failure was raised before are given up.

        Raises:
            RewardModelFailure: As of `take`.
        """
        given_up = [w for w in self._waiting if w.raised and reset[w.env]]
        if given_up:
            logger.warning("%d episodes stay without a score: reset() gave them up.", len(given_up))
        self._remove(given_up)
        return self._take(list({w.env: w for w in self._waiting if reset[w.env]}.values()))

    def ask_again(self, judging: Judging | None) -> None:
        """Put episodes on which the judge failed, and that was raised, to it or another again."""
        again = [w for w in self._waiting if w.raised and w.pending.failure is not None]
        if not again:
            return
        clips = [w.pending.clip for w in again]
        for waiting, pending in zip(
            again, self._background.submit(judging or self._judging, clips), strict=True
        ):
            waiting.pending, waiting.raised = pending, False

    def close(self) -> None:
        """Give up what has no score yet, without waiting for the judge."""
        lost = self._background.close()
        if lost:
            logger.warning("Closed while %d scores were pending: there is none for these.", lost)
        self._waiting.clear()

    def _take(self, ready: list[Waiting]) -> list[ScoredEpisode]:
        _wait(ready)
        scored = [self._pay(waiting) for waiting in ready]
        self._remove(ready)
        return scored

    def _pay(self, waiting: Waiting) -> ScoredEpisode:
        score = waiting.pending.outcome()
        assert isinstance(score, ProgressScore)
        waiting.raised = True  # by the reward map, unless it gives a number
        reward = self._reward_of(score)
        waiting.raised = False
        return ScoredEpisode(waiting.env, waiting.episode, reward, score)

    def _remove(self, gone: Sequence[Waiting]) -> None:
        gone_ids = set(map(id, gone))
        self._waiting = [w for w in self._waiting if id(w) not in gone_ids]


def _wait(episodes: Sequence[Waiting]) -> None:
    for waiting in episodes:
        waiting.pending.wait()
    failures: dict[int, BaseException] = {}
    for waiting in episodes:
        if waiting.pending.failure is not None:
            waiting.raised = True
            failures.setdefault(waiting.env, waiting.pending.failure)
    raise_failures(failures)
