"""The RoboReward prompt, word for word, and the forced start of the answer."""

import hashlib
import re

from roboreward_gym.types import LEVELS, check_task

# Public model card of teetone/RoboReward-4B and -8B; the same text for both sizes.
INSTRUCTION = """\
Given the task, assign a discrete progress score reward (1,2,3,4,5) for the robot in the video in the format: ANSWER: <score>
Rubric for end-of-episode progress (judge only the final state without time limits):
1 - No Success: Final state shows no goal-relevant change for the command.
2 - Minimal Progress: Final state shows a small but insufficient change toward the goal.
3 - Partial Completion: The final state shows good progress toward the goal but violates more than one requirement or a major requirement.
4 - Near Completion: Final state is correct in region and intent but misses a single minor requirement.
5 - Perfect Completion: Final state satisfies all requirements.

Task:"""

ANSWER_PREFIX = "ANSWER: "
"""Forced start of the assistant's turn: the next token is then the digit."""

DIGITS = ("1", "2", "3", "4", "5")

# The published evaluation: the first number after "ANSWER:", else a number that the reply starts with.
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_ANSWER = re.compile(rf"answer:\s*{_NUMBER}", re.IGNORECASE)
_START = re.compile(rf"\s*{_NUMBER}")


def build_prompt(task: str) -> str:
    """Return the text of the user's turn for one command.

    >>> build_prompt("put the duck on the towel").splitlines()[-1]
    'Task: put the duck on the towel'
    """
    return f"{INSTRUCTION} {check_task(task).strip()}"


def prompt_sha256() -> str:
    """Fingerprint of everything that is asked apart from the command."""
    return hashlib.sha256((INSTRUCTION + ANSWER_PREFIX).encode()).hexdigest()


def parse_answer(text: str) -> int | None:
    """Read a level from a generated reply; None if there is none, or it is not one of 1..5.

    >>> parse_answer("Answer: 4 because"), parse_answer("3"), parse_answer("ANSWER: 7")
    (4, 3, None)
    """
    match = _ANSWER.search(text) or _START.match(text)
    if match is None:
        return None
    number = float(match[1])
    return int(number) if number in LEVELS else None
