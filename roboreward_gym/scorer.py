"""Having a reward model score clips: what happens when it fails, and scores that come later.

A failure never becomes a number. `outcomes` finds one outcome for each clip, whatever becomes of the
others; `Scorer` adds a policy for failures, and a thread for scores that come later.
"""

import logging
import numbers
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

from roboreward_gym.errors import (
    InvalidSetting,
    PartialScores,
    RewardModelFailure,
    RoboRewardError,
    UnknownName,
    UnreadableAnswer,
)
from roboreward_gym.registry import (
    as_reward_model,
    reward_model_names,
    split_name,
)
from roboreward_gym.types import Clip, ProgressScore, RewardModel

logger = logging.getLogger(__name__)

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

ScoreOrError = ProgressScore | RoboRewardError
"""What became of one clip: a score, readable or not, or why there is none."""


FailurePolicy = Literal["raise", "nan", "nan_unreadable", "retry"]
POLICIES: tuple[FailurePolicy, ...] = ("raise", "nan", "nan_unreadable", "retry")


AWAITED = "awaited"
"""Entry of the manifest of a score without a level that is not a failure: the answer comes another way, later."""


class Scorer:
    """A reward model and the policy for its failures.

    Args:
        reward_model: A reward model or its name. A name is loaded here, and looked up again in each
            process that gets a copy, so that no copy carries the model.
        on_failure: `"raise"`; `"nan"` for an unreadable score; `"nan_unreadable"` for one only where the model
            answered without a level, and to raise where it failed; `"retry"` to ask again and then raise; or
            another reward model, or its name, to ask instead.
        retries: How often `"retry"` asks again.
        guard: Puts something around each reward model that is asked, such as `roboreward_gym.guard.Guard.over`.
    """

    def __init__(
        self,
        reward_model: RewardModel | str,
        on_failure: RewardModel | FailurePolicy | str = "raise",
        retries: int = 2,
        guard: Callable[[RewardModel], RewardModel] | None = None,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise InvalidSetting(f"retries must be a whole number >= 0, got {retries!r}.")
        self._on_failure = on_failure
        self._retries = retries
        self._substitute = None if on_failure in POLICIES else _check_substitute(on_failure)
        self._reward_model = reward_model
        self._guard = guard
        self._executor: ThreadPoolExecutor | None = None
        as_reward_model(reward_model)

    def __getstate__(self) -> dict[str, Any]:
        """A copy has a thread of its own, once it needs one."""
        return {**self.__dict__, "_executor": None}

    @property
    def sampling_fps(self) -> float | None:
        """Frames per second that its models sample, in [Hz]; None where one has no `protocol`."""
        models = [m for m in (self._reward_model, self._substitute) if m is not None]
        rates = [sampling_fps(as_reward_model(model)) for model in models]
        known = [rate for rate in rates if rate is not None]
        return max(known) if len(known) == len(models) else None

    def submit(
        self,
        clips: Sequence[Clip],
        reward_model: RewardModel | str | None = None,
        *,
        in_thread: bool = False,
    ) -> "Future[list[ScoreOrError]]":
        """Score the clips in one call, by another reward model if one is given.

        A failure to which the policy has no answer stands in place of its clip only. A score is
        unreadable only under the policies `"nan"` and `"nan_unreadable"`. A bug in the reward model is raised, by the future's
        `result` if it is scored in the thread.

        Args:
            clips: What to score.
            reward_model: Instead of the one of this scorer.
            in_thread: Return at once, and score in a thread after all that was submitted before. From
                then on everything is scored there: a model need not bear calls from two threads.
                Python waits at its exit for what was submitted: a process that ended inside of torch
                would abort.
        """
        if in_thread and self._executor is None:
            self._executor = ThreadPoolExecutor(1, "roboreward-scoring")
        if self._executor is not None:
            return self._executor.submit(self._score, list(clips), reward_model)
        done: Future[list[ScoreOrError]] = Future()
        done.set_result(self._score(clips, reward_model))
        return done

    def close(self) -> None:
        """Cancel what has not begun, without waiting for a call that has."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def _score(
        self, clips: Sequence[Clip], reward_model: RewardModel | str | None
    ) -> list[ScoreOrError]:
        model = self._guarded(self._reward_model if reward_model is None else reward_model)
        attempts = [(model, "")]
        if self._on_failure == "retry":
            attempts += [(model, f"{left} times at most") for left in range(self._retries, 0, -1)]
        if self._substitute is not None:
            name = type(as_reward_model(self._substitute)).__name__
            attempts.append((self._guarded(self._substitute), f"this time {name}"))
        found: dict[int, ScoreOrError] = {}
        failed = list(range(len(clips)))
        for attempt, how in attempts:
            for i in failed if found else ():
                logger.warning("%s Asking again, %s.", found[i], how)
            for i, outcome in zip(
                failed, outcomes(attempt, [clips[i] for i in failed]), strict=True
            ):
                found[i] = (
                    outcome if _is_fine(outcome) else _failure(outcome, type(attempt).__name__)
                )
            failed = [i for i in failed if isinstance(found[i], RoboRewardError)]
        results = list(found.values())
        if self._on_failure == "nan":
            return [_unreadable(v) if isinstance(v, RoboRewardError) else v for v in results]
        if self._on_failure == "nan_unreadable":
            return [_unreadable(v) if isinstance(v, UnreadableAnswer) else v for v in results]
        return results

    def _guarded(self, reward_model: RewardModel | str) -> RewardModel:
        model = as_reward_model(reward_model)
        return model if self._guard is None else self._guard(model)


def sampling_fps(reward_model: RewardModel) -> float | None:
    """The `fps` of a reward model's attribute `protocol`, in [Hz]; None without one."""
    rate = getattr(getattr(reward_model, "protocol", None), "fps", None)
    return float(rate) if isinstance(rate, numbers.Real) and rate > 0 else None


def outcomes(reward_model: RewardModel, clips: Sequence[Clip]) -> list[ScoreOrError]:
    """Score clips in one call; where that fails, the outcome of each is found without scoring any twice.

    `RewardModel.score` returns all scores or raises. What it raises decides what happens next:

    - `PartialScores`, which holds an outcome per clip, is used as it is. Models behind paid APIs
      raise it, so that no answer is paid for again.
    - Any other error of `REWARD_MODEL_ERRORS` fails the call as a whole: each clip is scored by
      itself, so that only those fail that cannot be scored.

    Args:
        reward_model: Called once, and once more per clip only if the first call failed as a whole.
        clips: What to score.

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


def _checked(found: object, clips: Sequence[Clip], name: str) -> list[ScoreOrError]:
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


def _is_fine(outcome: ScoreOrError) -> bool:
    """Whether there is a level, or one is still to come."""
    return isinstance(outcome, ProgressScore) and (outcome.readable or AWAITED in outcome.manifest)


def _failure(outcome: ScoreOrError, name: str) -> RewardModelFailure:
    """What `on_failure` is for: an unreadable answer, or any error."""
    if isinstance(outcome, ProgressScore):
        return UnreadableAnswer(f"The answer of {name} is unreadable: {outcome.text!r}.")
    if isinstance(outcome, RewardModelFailure):
        return outcome
    refusal = RewardModelFailure(f"{type(outcome).__name__}: {outcome}")
    refusal.__cause__ = outcome
    return refusal


def _unreadable(failure: RoboRewardError) -> ProgressScore:
    logger.warning("%s It has no score.", failure)
    return ProgressScore(level=None, text=str(failure))


def _check_substitute(on_failure: RewardModel | str) -> RewardModel | str:
    if isinstance(on_failure, str) and split_name(on_failure)[0] not in reward_model_names():
        raise UnknownName("failure policy", on_failure, [*POLICIES, *reward_model_names()])
    as_reward_model(on_failure)
    return on_failure
