"""Planner and proposer for the simulated scenes, by rules instead of a language model.

They know the tasks of the scenes and what counts as which failure, but not the state at the end: like a language model they
are now and then wrong, and the verifier has to notice. Levels follow the published examples: another object (1), the right
object with another end point (2), a further requirement of equal weight (3), a minor further requirement (4).
"""

from collections.abc import Sequence

import numpy as np

from reward_models.augment.roles import Description, Plan, Proposal, UnusableAnswer
from reward_models.data.truth import plain

TOYS, TARGETS, DRAWERS = ("duck", "block"), ("towel", "plate"), ("left", "right")
PLAN = Plan(
    (
        "The task is about another object, which the robot does not move.",
        "The task wants the right object at another end point, or several things more.",
        "The task has a second requirement of the same weight, which is not met.",
        "The task has a minor requirement about the gripper, which the final state misses.",
    )
)


class SceneGrammar:
    """Proposes tasks of the toy and of the drawer scene."""

    def plan(self, task: str, description: Description) -> Plan:
        """Return the one plan that it has."""
        del task, description
        return PLAN

    def propose(self, proposal: Proposal) -> str:
        """Draw a task that was not rejected yet.

        Raises:
            UnusableAnswer: The grammar has no (further) task of this level.
        """
        known = {
            plain(task) for task in (*proposal.lower, *(task for task, _ in proposal.rejected))
        }
        choices = [t for t in _tasks(proposal) if plain(t) not in known]
        if not choices:
            raise UnusableAnswer(
                "no_proposal", f"the grammar has no task left for level {proposal.level}"
            )
        rng = np.random.default_rng(proposal.seed)
        task = str(rng.choice(choices))
        return task[0].upper() + task[1:] + ("." if proposal.task.endswith(".") else "")


def _tasks(proposal: Proposal) -> Sequence[str]:
    task = plain(proposal.task)
    words = task.split()
    seen = set(proposal.description.objects)
    minor = [f"{task} and leave the gripper {state}" for state in ("open", "closed")]
    if words[0] in ("open", "close") and ("drawer" in words or "drawers" in words):
        levels = _drawer_tasks(task, words, minor)
    elif (words[:1] == ["put"] and len(words) == 6) or words[:2] == ["pick", "up"]:
        levels = _toy_tasks(task, words, minor)
    else:
        raise UnusableAnswer("no_proposal", f"the grammar does not know the task {proposal.task!r}")
    named = {name for name in (*TOYS, *TARGETS) if name not in seen}
    return [t for t in levels[proposal.level - 1] if named.isdisjoint(t.split())]


def _toy_tasks(task: str, words: Sequence[str], minor: list[str]) -> tuple[list[str], ...]:
    toy = words[2]
    others = [t for t in TOYS if t != toy]
    elsewhere = [t for t in TARGETS if t != words[-1]]
    second = [f"put the {o} on the {target}" for o in others for target in TARGETS]
    second += [f"pick up the {o}" for o in others]
    return (
        second,
        [f"put the {toy} on the {target}" for target in elsewhere],
        [f"{task} and {other}" for other in second],
        minor,
    )


def _drawer_tasks(task: str, words: Sequence[str], minor: list[str]) -> tuple[list[str], ...]:
    verb = words[0]
    other_verb = "close" if verb == "open" else "open"
    duck = "pick up the duck"
    if "both" in words:
        opposite = [f"{other_verb} the {d} drawer" for d in DRAWERS]
        return [duck, *opposite], [f"{other_verb} both drawers"], [f"{task} and {duck}"], minor
    other = next(d for d in DRAWERS if d not in words)
    there = f"{verb} the {other} drawer"
    return (
        [duck, there],
        [f"{verb} both drawers and {duck}", f"{other_verb} the {words[2]} drawer"],
        [f"{verb} both drawers", f"{task} and {duck}"],
        minor,
    )
