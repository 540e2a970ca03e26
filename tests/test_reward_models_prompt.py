import pytest

from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt, prompt_sha256
from roboreward_gym.errors import InvalidClip

CARD = (
    "Given the task, assign a discrete progress score reward (1,2,3,4,5) for the robot in the video in the "
    "format: ANSWER: <score>\n"
    "Rubric for end-of-episode progress (judge only the final state without time limits):\n"
    "1 - No Success: Final state shows no goal-relevant change for the command.\n"
    "2 - Minimal Progress: Final state shows a small but insufficient change toward the goal.\n"
    "3 - Partial Completion: The final state shows good progress toward the goal but violates more than one "
    "requirement or a major requirement.\n"
    "4 - Near Completion: Final state is correct in region and intent but misses a single minor requirement.\n"
    "5 - Perfect Completion: Final state satisfies all requirements.\n"
    "\n"
    "Task: close the drawer"
)


def test_prompt_is_that_of_the_model_card() -> None:
    assert build_prompt("close the drawer") == CARD


def test_spaces_around_the_command_are_dropped() -> None:
    assert build_prompt("  close the drawer\n") == CARD


def test_empty_command_is_refused() -> None:
    with pytest.raises(InvalidClip, match="empty task"):
        build_prompt(" ")


def test_the_digit_comes_right_after_the_prefix() -> None:
    assert ANSWER_PREFIX == "ANSWER: "
    assert len(prompt_sha256()) == 64
