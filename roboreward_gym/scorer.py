"""Asking a reward model about several clips: one outcome for each, whatever becomes of the others."""

from collections.abc import Sequence

from roboreward_gym.errors import PartialScores, RewardModelFailure, RoboRewardError
from roboreward_gym.types import Clip, ProgressScore, RewardModel

REWARD_MODEL_ERRORS = (
    RoboRewardError,
    RuntimeError,  # out of GPU memory among them
    ValueError,
    LookupError,
    ArithmeticError,
    OSError,  # time-outs and lost connections among them
    MemoryError,
)
"""What a reward model may raise when it fails. Anything else is a bug in it and passes as it is."""

Outcome = ProgressScore | RoboRewardError
"""What became of one clip: a score, readable or not, or why there is none."""


def outcomes(reward_model: RewardModel, clips: Sequence[Clip]) -> list[Outcome]:
    """Score clips in one call; where that fails, the outcome of each is found without scoring any twice.

    `RewardModel.score` returns all scores or raises. What it raises decides what happens next:

    - `PartialScores`, which holds an outcome per clip, is taken at its word. Models behind paid APIs
      raise it, so that no answer is paid for again.
    - Any other error of `REWARD_MODEL_ERRORS` fails the call as a whole: each clip is asked about by
      itself, so that only those fail that cannot be scored.

    Args:
        reward_model: Called once, and once more per clip only if the first call failed as a whole.
        clips: What to ask about.

    Returns:
        A score or an error for each clip, in order.
    """
    if not clips:
        return []
    name = type(reward_model).__name__
    try:
        scores: object = reward_model.score(list(clips))
    except PartialScores as partial:
        return _checked(partial.outcomes, clips, name)
    except REWARD_MODEL_ERRORS as error:
        failure = error if isinstance(error, RoboRewardError) else _as_failure(error, name)
        if len(clips) == 1:
            return [failure]
        return [outcome for clip in clips for outcome in outcomes(reward_model, [clip])]
    return _checked(scores, clips, name)


def _checked(found: object, clips: Sequence[Clip], name: str) -> list[Outcome]:
    if not isinstance(found, list | tuple) or len(found) != len(clips):
        got = f"{len(found)}" if isinstance(found, list | tuple) else type(found).__name__
        failure = RewardModelFailure(
            f"{name} must return a list with one score for each of {len(clips)} clips; it returned "
            f"{got}."
        )
        return [failure for _ in clips]
    return [
        outcome
        if isinstance(outcome, ProgressScore | RoboRewardError)
        else RewardModelFailure(f"{name} returned {type(outcome).__name__}, not a ProgressScore.")
        for outcome in found
    ]


def _as_failure(error: Exception, name: str) -> RewardModelFailure:
    failure = RewardModelFailure(f"{name} failed with {type(error).__name__}: {error}.")
    failure.__cause__ = error
    return failure
