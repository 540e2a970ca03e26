"""Episodes whose score comes later: a person rates them while the run plays and learns on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from policies.player import EpisodeRecord


@dataclass(frozen=True)
class LateScore:
    """The score of an episode that was played before.

    Attributes:
        reward: Of its last step; NaN without a score.
        logged: Scalars for reports, under `roboreward/`.
    """

    reward: float
    logged: Mapping[str, float]


class LateScores(Protocol):
    """Who is asked about episodes and answers later, in any order."""

    most: int
    """Most episodes that may be without an answer; then the run waits."""

    def ask(self, number: int, record: EpisodeRecord) -> str:
        """Ask about the episode that was played last, and return the name of the question; the same episode has the same name."""
        ...

    def answers(self, questions: Sequence[str], least: int) -> Mapping[str, LateScore]:
        """Wait until at least `least` of the questions are answered, and return all answers that there are."""
        ...


@dataclass(frozen=True, eq=False)
class Played:
    """An episode of training, with its score or before it has one.

    Attributes:
        number: Which episode of the run.
        phase: `warm_up`, `learning` or `validation`.
        env_steps: Steps of the run up to its end.
        record: What the learner needs of it.
        question: Name of the question about it; empty if it was scored when it ended.
    """

    number: int
    phase: str
    env_steps: int
    record: EpisodeRecord
    question: str = ""

    def scored(self, score: LateScore) -> "Played":
        """The same with its score."""
        rewards = self.record.rewards.copy()
        rewards[-1] = score.reward
        logged = {**self.record.logged, **score.logged}
        return replace(self, record=replace(self.record, rewards=rewards, logged=logged))

    def line(self) -> dict[str, Any]:
        """What is logged of it."""
        counts = {"episode": self.number, "phase": self.phase, "env_steps": self.env_steps}
        record = self.record
        return {**counts, "steps": len(record), "reward": record.reward, **record.logged}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        record = vars(self.record) | {
            "executed": torch.from_numpy(self.record.executed),
            "rewards": torch.from_numpy(self.record.rewards),
        }
        return vars(self) | {"record": record}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> "Played":
        """Read what `state` gave."""
        record = dict(state["record"])
        for name in ("executed", "rewards"):
            record[name] = np.asarray(record[name])
        counts = {name: value for name, value in state.items() if name != "record"}
        return cls(record=EpisodeRecord(**record), **counts)


class PendingEpisodes:
    """The episodes of a run that have no score yet.

    Args:
        late: Who answers; None if every episode is scored when it ends.
        played: Those that wait already.
    """

    def __init__(self, late: LateScores | None, played: Sequence[Played] = ()) -> None:
        self._late = late
        self._played = {one.number: one for one in played}

    def __len__(self) -> int:
        return len(self._played)

    def exchange(self, one: Played, *, for_all: bool) -> list[Played]:
        """Ask about the episode that was played last, and take what was answered by now.

        Args:
            one: The episode.
            for_all: Wait until every episode is answered; otherwise while more than `LateScores.most` are not.

        Returns:
            Episodes with their scores, in the order in which they were played.
        """
        if self._late is None:
            return [one]
        question = self._late.ask(one.number, one.record)
        self._played[one.number] = replace(one, question=question)
        questions = sorted({one.question for one in self._played.values()})
        least = len(questions) - (0 if for_all else self._late.most)
        answers = self._late.answers(questions, max(least, 0))
        known = [one for one in self._played.values() if one.question in answers]
        for one in known:
            del self._played[one.number]
        return [one.scored(answers[one.question]) for one in known]

    def state(self) -> list[dict[str, Any]]:
        """For a checkpoint."""
        return [one.state() for one in self._played.values()]
