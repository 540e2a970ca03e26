"""What a proposed task must satisfy before anybody is asked to verify it: the paper's rules as code.

Rules read words, not meaning: they reject what is certainly wrong, and the verifier sees the rest. The published rules are
known in words only, so how strictly they were enforced is not known.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reward_models.augment.roles import Description
from reward_models.augment.words import VERBS, content, phrases, singular, words
from reward_models.data.truth import plain
from reward_models.protocol.prompt import check_task_text
from roboreward_gym.errors import InvalidClip

MAX_WORDS = 25
"""A task has fewer words."""
SAME_OBJECT_FROM = 3
"""From this level on the task keeps the main object of the original."""

_MENTIONS = re.compile(
    r"\b(originals?|instructions?|previous|earlier|score[sd]?|reward\w*|rubric|rating|grade[sd]?|success\w*|fail\w*|"
    r"counterfactual|level \d|task|video|robot should|plan|step \d)\b|\b[1-5]\s*(/|out of)\s*5\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Candidate:
    """A proposed task and all that the rules look at.

    Attributes:
        task: The proposal.
        level: 1..4.
        original: The task that the video fulfils.
        description: What can be seen.
        lower: Tasks accepted for lower levels.
    """

    task: str
    level: int
    original: str
    description: Description
    lower: tuple[str, ...] = ()


def ascii_line(it: Candidate) -> str | None:
    """Plain ASCII on one line."""
    if it.task.isascii() and it.task.isprintable():
        return None
    return "it is not one line of plain ASCII"


def no_control_tokens(it: Candidate) -> str | None:
    """Holds nothing that a chat model takes for the end of a turn."""
    try:
        check_task_text(it.task)
    except InvalidClip as error:
        return str(error)
    return None


def short(it: Candidate) -> str | None:
    """Fewer than 25 words."""
    count = len(it.task.split())
    return f"it has {count} words" if count >= MAX_WORDS else None


def verb_first(it: Candidate) -> str | None:
    """Begins with a verb."""
    first = next(iter(words(it.task)), "")
    if first in VERBS or first == next(iter(words(it.original)), None):
        return None
    return f"it begins with {first!r}, which is not a verb that robots are told"


def no_mention(it: Candidate) -> str | None:
    """Says nothing about the original task, the score or the video."""
    found = _MENTIONS.search(it.task)
    return f"it mentions {found[0]!r}" if found else None


def grounded(it: Candidate) -> str | None:
    """Names visible objects only."""
    seen = {singular(w) for text in (*it.description.objects, it.original) for w in words(text)}
    # "the blue cup" is a cup; in "turn lever vertical" either word may be the thing.
    unseen = [
        phrase[-1]
        for phrase, determined in phrases(it.task)
        if seen.isdisjoint(phrase[-1:] if determined else phrase)
    ]
    return f"{', '.join(unseen)} cannot be seen" if unseen else None


def ordered(it: Candidate) -> str | None:
    """Differs from the original and from the tasks of all lower levels: no task has two levels."""
    for other in (it.original, *it.lower):
        if plain(other) == plain(it.task):
            return f"it is the same as {other!r}, which has another level"
    return None


def not_easier(it: Candidate) -> str | None:
    """Is no part of the original: a sub-goal is fulfilled, too."""
    if content(it.task) < content(it.original):
        return "it asks for a part of the original only"
    return None


def not_done_at_start(it: Candidate) -> str | None:
    """Is not true from the start."""
    done = {plain(task) for task in it.description.done_at_start}
    parts = plain(it.task).split(" and ")
    if plain(it.task) in done or all(part in done for part in parts):
        return "its goal is true from the start"
    return None


def keeps_object(it: Candidate) -> str | None:
    """Levels 3 and 4 keep the main object of the original."""
    main = next(iter(phrases(it.original)), None)
    if it.level < SAME_OBJECT_FROM or main is None:
        return None
    phrase, determined = main
    wanted = phrase[-1:] if determined else phrase
    kept = not {singular(word) for word in words(it.task)}.isdisjoint(wanted)
    return None if kept else f"level {it.level} must be about the {' '.join(wanted)}"


RULES: Mapping[str, Callable[[Candidate], str | None]] = {
    rule.__name__: rule
    for rule in (
        ascii_line,
        no_control_tokens,
        short,
        verb_first,
        no_mention,
        grounded,
        ordered,
        not_easier,
        not_done_at_start,
        keeps_object,
    )
}


def broken_rule(candidate: Candidate) -> tuple[str, str] | None:
    """Return the name of the first rule that a candidate breaks, and how; None if it keeps all."""
    for name, rule in RULES.items():
        why = rule(candidate)
        if why is not None:
            return name, why
    return None
