"""The RoboReward prompt, word for word, and the forced start of the answer."""

import hashlib
import re
from collections.abc import Iterable

from roboreward_gym.errors import InvalidClip
from roboreward_gym.types import check_task

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

# Text that tokenizers of chat models turn into control tokens: `<|im_end|>`, `<\uff5cend\u2581of\u2581sentence\uff5c>`, `</s>`,
# `<end_of_turn>`, `<think>`, `[INST]`. Which of them a model behind an API reserves is not known here, so all are.
_RESERVED = re.compile(
    r"<[|\uff5c][^|\uff5c<>]*[|\uff5c]>|<[|\uff5c]|[|\uff5c]>|</?\w+/?>|\[/?(?:INST|IMG|SYSTEM_PROMPT)\w*\]"
)


def check_task_text(task: str, reserved: Iterable[str] = ()) -> str:
    """Return the task if it can stand in a prompt as plain text, whichever model reads the prompt.

    Args:
        task: The task.
        reserved: Further tokens that the tokenizer at hand reserves.

    Raises:
        InvalidClip: The task is empty, is not Unicode, or holds a reserved token: the model would
            read the rest of it as another turn of the conversation, or as its own answer.
    """
    check_task(task)
    found = _RESERVED.search(task)
    token = found[0] if found else next((token for token in reserved if token in task), None)
    if token is not None:
        raise InvalidClip(
            f"The task {task!r} holds the reserved token {token!r}, which would change the layout "
            "of the prompt. Remove it."
        )
    try:
        task.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidClip(
            f"The task {task!r} is not Unicode text: {error.reason}. Decode it as UTF-8."
        ) from error
    return task


def build_prompt(task: str) -> str:
    """Return the text of the user's turn for one task.

    >>> build_prompt("put the duck on the towel").splitlines()[-1]
    'Task: put the duck on the towel'

    Raises:
        InvalidClip: The task cannot stand in a prompt, see `check_task_text`.
    """
    return f"{INSTRUCTION} {check_task_text(task).strip()}"


def prompt_sha256() -> str:
    """Fingerprint of everything that is asked apart from the command."""
    return hashlib.sha256((INSTRUCTION + ANSWER_PREFIX).encode()).hexdigest()


def render_chat(question: str) -> tuple[str, str]:
    """Return what stands before and after the video: one turn of the user, text then video, and no system prompt.

    The same as Qwen3-VL's own chat template writes, whatever template lies beside a checkpoint.
    """
    return f"<|im_start|>user\n{question}", "<|im_end|>\n<|im_start|>assistant\n"
