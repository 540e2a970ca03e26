"""The prompts of the augmentation.

The authors' own were not released. These are ours, written after what is known of theirs: what each role is told to look
at, and the rules for proposed tasks.
"""

import json
from collections.abc import Sequence

from reward_models.augment.roles import Description, Proposal

RUBRIC = """\
1 - No success: the final state shows no change toward the goal.
2 - Minimal progress: a small but insufficient change toward the goal.
3 - Partial completion: good progress, but more than one requirement or a major requirement is violated.
4 - Near completion: correct in region and intent, but a single minor requirement is missed.
5 - Perfect completion: all requirements are satisfied."""

STANDARDISE = """\
Correct grammar, spelling and capitalisation of this instruction to a robot. Do not change its meaning, do not add or leave \
out anything. Reply with the corrected instruction on one line and nothing else.

Instruction: {task}"""

DESCRIBE = """\
These are frames of a video of a robot, in order of time; the last one is the true final state. Describe only what can be \
seen. Do not guess, and do not name objects that are not visible.

The robot was told: {task}

Reply with one JSON object with these keys:
"objects": list of the visible objects, each a short noun phrase;
"initial": the scene in the first frame, in one or two sentences;
"actions": what the robot does, in one to three sentences;
"final": the scene in the last frame, in one or two sentences;
"done_at_start": list of short instructions whose goal is already true in the first frame, such as "close the drawer" \
where it is closed."""

PLAN = """\
A video shows a robot that carries out this instruction perfectly: {task}

What can be seen:
{description}

The same video shall be shown with other instructions, to which it is a worse answer. The levels are:
{rubric}

Think of one way for each of the levels 1, 2, 3 and 4 in which the video could fall short of another instruction, strictly \
ordered: level 1 the furthest from fulfilled, level 4 almost fulfilled. Use visible objects only.
Reply with one JSON object with the keys "1", "2", "3" and "4"; each value is one sentence."""

PROPOSE = """\
Write one new instruction to a robot. A video shows what can be seen below. The video fulfils the instruction "{task}" \
perfectly, and it shall have reached exactly level {level} of the new instruction:
{rubric}

What is wrong with the video, seen from the new instruction: {failure}

What can be seen:
{description}
{lower}{rejected}
Rules:
- stricter than, or different from, the instruction above; never a part of it;
- visible objects only{main};
- its goal is not already true at the start;
- begins with a verb, in the style of the instruction above, plain ASCII, fewer than 25 words;
- does not mention the instruction above, the video or a score.
Reply with the new instruction on one line and nothing else."""

VERIFY = """\
These are frames of a video of a robot, in order of time; the last one is the true final state. Judge only the final state.

Instruction: {task}

Rubric:
{rubric}

Claim: the video has reached level {level}.
Check that all objects of the instruction are visible, that its goal was not already true in the first frame, and that the \
level fits the rubric better than any other level. Explain in one to three sentences, and end with the line
ANSWER: TRUE
or
ANSWER: FALSE"""


def standardise(task: str) -> str:
    """Ask for a clean text of a task."""
    return STANDARDISE.format(task=task)


def describe(task: str) -> str:
    """Ask what can be seen."""
    return DESCRIBE.format(task=task)


def plan(task: str, description: Description) -> str:
    """Ask for four failure modes."""
    return PLAN.format(task=task, description=as_text(description), rubric=RUBRIC)


def propose(proposal: Proposal) -> str:
    """Ask for one task."""
    return PROPOSE.format(
        task=proposal.task,
        level=proposal.level,
        rubric=RUBRIC,
        failure=proposal.failure,
        description=as_text(proposal.description),
        lower=_listed(
            "\nInstructions that have lower levels already; yours must differ:", proposal.lower
        ),
        rejected=_listed(
            "\nRejected, do not repeat them:",
            [f"{task} ({why})" for task, why in proposal.rejected],
        ),
        main="; keep the main object of the instruction above" if proposal.level > 2 else "",
    )


def verify(task: str, level: int) -> str:
    """Ask whether a label is right."""
    return VERIFY.format(task=task, level=level, rubric=RUBRIC)


def as_text(description: Description) -> str:
    """Return a description as JSON without what is empty."""
    known = {key: value for key, value in vars(description).items() if value}
    return json.dumps(known, ensure_ascii=False, indent=1)


def _listed(title: str, lines: Sequence[str]) -> str:
    return (
        "".join(["\n" + title.strip(), *(f"\n- {line}" for line in lines)]) + "\n" if lines else ""
    )
