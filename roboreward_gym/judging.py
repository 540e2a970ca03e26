"""Asking a judge about one clip, and what happens when it fails: never a silent number."""

import logging

from roboreward_gym.errors import InvalidSetting, RewardModelFailure, RoboRewardError, UnknownName
from roboreward_gym.registry import as_reward_model, reward_model_names
from roboreward_gym.scoring import Clip, ProgressScore, RewardModel

logger = logging.getLogger(__name__)

JUDGE_ERRORS = (
    RoboRewardError,
    RuntimeError,  # out of GPU memory among them
    ValueError,
    LookupError,
    ArithmeticError,
    OSError,  # time-outs and lost connections among them
    MemoryError,
)
"""What a judge may raise when it fails. Anything else is a bug in it and passes as it is."""

POLICIES = ("raise", "nan", "retry")


class Judging:
    """One judge and the policy for its failures.

    Args:
        judge: A reward model or its name; a name is loaded here, once.
        on_failure: `"raise"`; `"nan"` for an unreadable score; `"retry"` to ask again and then
            raise; or another reward model, or its name, to ask instead.
        retries: How often `"retry"` asks again.
    """

    def __init__(
        self,
        judge: RewardModel | str,
        on_failure: RewardModel | str = "raise",
        retries: int = 2,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InvalidSetting(f"Expected retries as a whole number >= 0, got {retries!r}.")
        self._on_failure = on_failure
        self._retries = retries
        self._substitute = None if _is_policy(on_failure) else _as_substitute(on_failure)
        self._model = as_reward_model(judge)

    def by(self, judge: RewardModel | str) -> "Judging":
        """The same policy with another judge."""
        return Judging(judge, self._on_failure, self._retries)

    def score(self, clip: Clip) -> ProgressScore:
        """Judge the clip under the policy; unreadable only under `"nan"`.

        Raises:
            RewardModelFailure: The judge failed and the policy has no answer to that.
        """
        try:
            return self._ask_patiently(clip)
        except RewardModelFailure as failure:
            if self._substitute is not None:
                logger.warning("%s Asking %s.", failure, type(self._substitute).__name__)
                return ask(self._substitute, clip)
            if self._on_failure == "nan":
                logger.warning("%s The reward of this episode is NaN.", failure)
                return ProgressScore(level=None, text=str(failure))
            raise

    def _ask_patiently(self, clip: Clip) -> ProgressScore:
        for left in range(self._retries if self._on_failure == "retry" else 0, 0, -1):
            try:
                return ask(self._model, clip)
            except RewardModelFailure as failure:
                logger.warning("%s Asking again, %d times at most.", failure, left)
        return ask(self._model, clip)


def ask(model: RewardModel, clip: Clip) -> ProgressScore:
    """Return one readable score.

    Raises:
        RewardModelFailure: The model raised, or answered anything else.
    """
    name = type(model).__name__
    try:
        scores = model.score([clip])
    except JUDGE_ERRORS as error:
        raise RewardModelFailure(
            f"Expected a score from {name}, got {type(error).__name__}: {error}. "
            "The episode is kept: VLMRewardWrapper.rescore() judges it again."
        ) from error
    if not isinstance(scores, (list, tuple)) or len(scores) != 1:
        got = (
            f"{len(scores)} scores" if isinstance(scores, (list, tuple)) else type(scores).__name__
        )
        raise RewardModelFailure(
            f"Expected a list of one score for one clip from {name}, got {got}."
        )
    (score,) = scores
    if not isinstance(score, ProgressScore):
        raise RewardModelFailure(
            f"Expected a ProgressScore from {name}, got {type(score).__name__}."
        )
    if not score.readable:
        raise RewardModelFailure(
            f"Expected a level of 1..5 from {name}, got the unreadable answer {score.text!r}."
        )
    return score


def _is_policy(on_failure: RewardModel | str) -> bool:
    return isinstance(on_failure, str) and on_failure in POLICIES


def _as_substitute(on_failure: RewardModel | str) -> RewardModel:
    if isinstance(on_failure, str) and on_failure not in reward_model_names():
        raise UnknownName("failure policy", on_failure, [*POLICIES, *reward_model_names()])
    return as_reward_model(on_failure)
