"""Asking a judge about clips, and what happens when it fails: never a silent number."""

import logging
from collections.abc import Mapping, Sequence

from roboreward_gym.errors import InvalidSetting, RewardModelFailure, RoboRewardError, UnknownName
from roboreward_gym.registry import as_reward_model, reward_model_names
from roboreward_gym.types import Clip, ProgressScore, RewardModel

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

Outcome = ProgressScore | RewardModelFailure
"""What became of one clip."""

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
        (outcome,) = self.outcomes([clip])
        if isinstance(outcome, RewardModelFailure):
            raise outcome
        return outcome

    def outcomes(self, clips: Sequence[Clip]) -> list[Outcome]:
        """Judge several clips in one call; a failure stands in the place of its clip only."""
        outcomes = ask(self._model, clips)
        for left in range(self._retries if self._on_failure == "retry" else 0, 0, -1):
            outcomes = self._ask_again(self._model, clips, outcomes, f"{left} times at most")
        if self._substitute is not None:
            name = type(self._substitute).__name__
            outcomes = self._ask_again(self._substitute, clips, outcomes, f"this time {name}")
        if self._on_failure == "nan":
            return [_unreadable(o) if isinstance(o, RewardModelFailure) else o for o in outcomes]
        return outcomes

    def _ask_again(
        self, model: RewardModel, clips: Sequence[Clip], outcomes: list[Outcome], how: str
    ) -> list[Outcome]:
        failed = [i for i, o in enumerate(outcomes) if isinstance(o, RewardModelFailure)]
        if not failed:
            return outcomes
        for i in failed:
            logger.warning("%s Asking again, %s.", outcomes[i], how)
        answers = ask(model, [clips[i] for i in failed])
        again = dict(zip(failed, answers, strict=True))
        return [again.get(i, outcome) for i, outcome in enumerate(outcomes)]


def ask(model: RewardModel, clips: Sequence[Clip]) -> list[Outcome]:
    """Return a readable score for each clip, or why there is none.

    Where a call about several clips fails as a whole, each clip is asked about by itself, so that
    only those fail that cannot be judged.
    """
    try:
        scores = _call(model, clips)
    except RewardModelFailure as failure:
        if len(clips) == 1:
            return [failure]
        logger.warning("%s Asking about each of the %d episodes by itself.", failure, len(clips))
        return [outcome for clip in clips for outcome in ask(model, [clip])]
    return [_check(score, type(model).__name__) for score in scores]


def raise_failures(failures: Mapping[int, BaseException]) -> None:
    """Raise what the judge failed with, by environment; a bug in it as it is."""
    if not failures:
        return
    first = next(iter(failures.values()))
    for failure in failures.values():
        if not isinstance(failure, RewardModelFailure):
            raise failure
    raise RewardModelFailure(
        f"Expected scores of all episodes that ended, got none for environments "
        f"{sorted(failures)}; the scores of the others are kept. {first}"
    ) from first


def _call(model: RewardModel, clips: Sequence[Clip]) -> Sequence[object]:
    name = type(model).__name__
    try:
        scores: object = model.score(list(clips))
    except JUDGE_ERRORS as error:
        raise RewardModelFailure(
            f"Expected a score from {name}, got {type(error).__name__}: {error}. "
            "The episode is kept: rescore() of the wrapper judges it again."
        ) from error
    if isinstance(scores, (list, tuple)) and len(scores) == len(clips):
        return scores
    got = f"{len(scores)} scores" if isinstance(scores, (list, tuple)) else type(scores).__name__
    raise RewardModelFailure(
        f"Expected a list of one score per clip from {name} for {len(clips)} clips, got {got}."
    )


def _check(score: object, name: str) -> Outcome:
    if not isinstance(score, ProgressScore):
        return RewardModelFailure(
            f"Expected a ProgressScore from {name}, got {type(score).__name__}."
        )
    if not score.readable:
        return RewardModelFailure(
            f"Expected a level of 1..5 from {name}, got the unreadable answer {score.text!r}."
        )
    return score


def _unreadable(failure: RewardModelFailure) -> ProgressScore:
    logger.warning("%s The reward of this episode is NaN.", failure)
    return ProgressScore(level=None, text=str(failure))


def _is_policy(on_failure: RewardModel | str) -> bool:
    return isinstance(on_failure, str) and on_failure in POLICIES


def _as_substitute(on_failure: RewardModel | str) -> RewardModel:
    if isinstance(on_failure, str) and on_failure not in reward_model_names():
        raise UnknownName("failure policy", on_failure, [*POLICIES, *reward_model_names()])
    return as_reward_model(on_failure)
