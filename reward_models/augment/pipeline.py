"""What is made of one episode: describe, plan, propose and verify a task per level, cut short and verify, all on record."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward_models.augment.roles import (
    NEGATIVE_LEVELS,
    Describer,
    Description,
    Episode,
    Plan,
    Planner,
    Proposal,
    Proposer,
    UnusableAnswer,
    Verdict,
    Verifier,
)
from reward_models.augment.rules import Candidate, broken_rule
from reward_models.data.example import Frames, Kind
from reward_models.data.published import KEPT
from roboreward_gym.types import LEVELS

SUCCESS = LEVELS[-1]
MIN_FRAMES = 2
"""Frames of the shortest truncated video: progress is a change between frames."""


@dataclass(frozen=True)
class Roles:
    """Who does what.

    Attributes:
        standardise: Cleans the text of a task.
        describer: Says what can be seen.
        planner: Plans failure modes.
        proposer: Writes tasks.
        verifier: Checks labels.
        verified_by: Name of the verifier.
    """

    standardise: Callable[[str], str]
    describer: Describer
    planner: Planner
    proposer: Proposer
    verifier: Verifier
    verified_by: str


@dataclass(frozen=True)
class Steps:
    """Which steps are taken, and how often a candidate may be replaced."""

    counterfactual: bool = True
    """Propose other tasks for the whole video."""
    truncate: bool = True
    """Cut the video short: 10, 30, 50 and 70 % for the rewards 1 to 4."""
    verify_original: bool = True
    """Leave out an episode whose own task the verifier does not find fulfilled."""
    attempts: int = 3
    """Most candidates per level."""


@dataclass(frozen=True)
class Label:
    """A label that was accepted.

    Attributes:
        kind: Kind of the example.
        task: Its task.
        reward: 1..5.
        count: Frames that its video shows.
        kept: Part of the episode that these are.
        check: What the verifier said.
        checked_by: Name of the verifier.
    """

    kind: Kind
    task: str
    reward: int
    count: int
    kept: float
    check: str
    checked_by: str


@dataclass
class AugmentedEpisode:
    """All that happened with one episode.

    Attributes:
        task: Its task, standardised.
        labels: Accepted labels.
        events: A record per decision: `kind`, `level`, `task`, `accepted`, and `rule` and `why` of a rejection.
        description: What was seen, if it was asked.
        plan: The plan, if there is one.
    """

    task: str
    labels: list[Label] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    description: Description | None = None
    plan: Plan | None = None

    def accept(self, label: Label, **more: Any) -> None:
        """Record an accepted label."""
        self.labels.append(label)
        self._note(label.kind, label.reward, label.task, accepted=True, why=label.check, **more)

    def reject(
        self, kind: str, level: int | None, task: str, rule: str, why: str, **more: Any
    ) -> None:
        """Record a rejection."""
        self._note(kind, level, task, accepted=False, rule=rule, why=why, **more)

    def _note(self, kind: str, level: int | None, task: str, **about: Any) -> None:
        self.events.append({"kind": kind, "level": level, "task": task, **about})


def augment(
    name: str, task: str, video: Frames, roles: Roles, steps: Steps, seed: int
) -> AugmentedEpisode:
    """Make a success into labels of all levels.

    Args:
        name: Source episode.
        task: What the robot was told to do, and did.
        video: The whole episode.
        roles: Who does what.
        steps: Which steps are taken.
        seed: Seed for proposers that draw.

    Raises:
        RewardModelFailure: A model gave no answer.
        BudgetExhausted: A model may not be asked any more.
    """
    clean = standardised(task, roles)
    outcome = AugmentedEpisode(clean)
    episode = Episode(name, clean, video, len(video.frames))
    if steps.verify_original:
        verdict = _verdict(outcome, "original", episode, clean, SUCCESS, roles.verifier)
        if verdict is None:
            return outcome
        check, by = verdict.text, roles.verified_by
    else:
        check = by = ""
    outcome.accept(Label("original", clean, SUCCESS, episode.count, 1.0, check, by))
    if steps.counterfactual:
        _counterfactuals(outcome, episode, roles, steps, seed)
    if steps.truncate:
        _truncations(outcome, episode, roles)
    return outcome


def standardised(task: str, roles: Roles) -> str:
    """Return the clean text of a task, or the text as it was if there is none."""
    try:
        return roles.standardise(task)
    except UnusableAnswer:
        return task


def _counterfactuals(
    outcome: AugmentedEpisode, episode: Episode, roles: Roles, steps: Steps, seed: int
) -> None:
    try:
        outcome.description = roles.describer.describe(episode)
        outcome.plan = roles.planner.plan(episode.task, outcome.description)
    except UnusableAnswer as error:
        outcome.reject("counterfactual", None, episode.task, error.rule, str(error))
        return
    lower: list[str] = []
    # From the lowest level up: each proposer sees the tasks that are further away already.
    for level in NEGATIVE_LEVELS:
        task = _proposed(outcome, episode, roles, level, lower, steps.attempts, seed)
        if task is not None:
            lower.append(task)


def _proposed(
    outcome: AugmentedEpisode,
    episode: Episode,
    roles: Roles,
    level: int,
    lower: Sequence[str],
    attempts: int,
    seed: int,
) -> str | None:
    """Propose until a task passes the rules and the verifier; None if none does."""
    assert outcome.description is not None
    assert outcome.plan is not None
    rejected: list[tuple[str, str]] = []

    def reject(task: str, rule: str, why: str) -> None:
        rejected.append((task[:200], why[:200]))
        more = {"attempt": len(rejected)}
        outcome.reject("counterfactual", level, task[:400], rule, why, **more)

    for attempt in range(attempts):
        proposal = Proposal(
            outcome.description,
            episode.task,
            outcome.plan.failures[level - 1],
            level,
            tuple(lower),
            tuple(rejected),
            _seed(seed, episode.source_episode, level, attempt),
        )
        try:
            task = roles.proposer.propose(proposal)
        except UnusableAnswer as error:
            reject("", error.rule, str(error))
            if error.rule == "no_proposal":  # asking again brings nothing
                return None
            continue
        candidate = Candidate(task, level, episode.task, outcome.description, tuple(lower))
        broken = broken_rule(candidate)
        if broken is not None:
            reject(task, *broken)
            continue
        try:
            verdict = roles.verifier.verify(episode, task, level)
        except UnusableAnswer as error:
            reject(task, error.rule, str(error))
            continue
        if verdict.confirmed:
            label = Label(
                "counterfactual", task, level, episode.count, 1.0, verdict.text, roles.verified_by
            )
            outcome.accept(label, attempt=attempt + 1)
            return task
        reject(task, "not_verified", verdict.text)
    return None


def _truncations(outcome: AugmentedEpisode, episode: Episode, roles: Roles) -> None:
    for level, kept, count in cuts(episode.count):
        if count < MIN_FRAMES:
            why = f"{kept:.0%} of {episode.count} frames are {count}"
            outcome.reject("truncated", level, episode.task, "too_short", why)
            continue
        part = episode.first(count)
        verdict = _verdict(outcome, "truncated", part, episode.task, level, roles.verifier)
        if verdict is not None:
            text, by = verdict.text, roles.verified_by
            outcome.accept(Label("truncated", episode.task, level, count, kept, text, by))


def cuts(total: int) -> Iterator[tuple[int, float, int]]:
    """Yield reward, kept part and number of frames of each truncated video of an episode.

    >>> list(cuts(40))
    [(1, 0.1, 4), (2, 0.3, 12), (3, 0.5, 20), (4, 0.7, 28)]
    """
    for level, kept in KEPT.items():
        yield level, kept, round(kept * total)


def _verdict(
    outcome: AugmentedEpisode,
    kind: Kind,
    episode: Episode,
    task: str,
    level: int,
    verifier: Verifier,
) -> Verdict | None:
    try:
        verdict = verifier.verify(episode, task, level)
    except UnusableAnswer as error:
        outcome.reject(kind, level, task, error.rule, str(error))
        return None
    if not verdict.confirmed:
        outcome.reject(kind, level, task, "not_verified", verdict.text)
        return None
    return verdict


def _seed(*parts: object) -> int:
    """A seed that differs between episodes, levels and attempts, and is the same on every machine."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
