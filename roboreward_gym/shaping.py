"""From the progress of an episode's prefixes to rewards in each step.

The potential of step t is the progress that is known there, of the last prefix that got a score:
Phi(t) = (expected level - 1) / 4 in [0, 1], and Phi(0) = 0. The reward of step t is then

    F(t) = gamma Phi(t) - Phi(t - 1),    t = 1 ... T,

which is 0 between two scores if gamma = 1, and the small price (gamma - 1) Phi of standing still if not. It
telescopes, however far the scores are apart and whichever of them failed:

    sum over t of gamma^(t - 1) F(t) = gamma^T Phi(T) - Phi(0)

`"potential"` has Phi(T) = 0 in a terminal state (Ng, Harada and Russell, Policy Invariance Under Reward
Transformations, 1999): over an episode the sum is 0, and the best policy is the one of the terminal
reward alone. `"progress"` keeps Phi(T), the progress of the whole episode, as a reward of its own.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from roboreward_gym.errors import InvalidSetting, RoboRewardError
from roboreward_gym.info import PREFIX_FAILED, PROGRESS
from roboreward_gym.rewards import expected_progress
from roboreward_gym.scorer import ScoreOrError
from roboreward_gym.types import Clip, ProgressScore

logger = logging.getLogger(__name__)

Scoring = Literal["immediate", "deferred"]
Shaping = Literal["none", "progress", "potential"]

DISCOUNT = 0.99


@dataclass(frozen=True)
class ScoringSettings:
    """When an episode is scored, and what becomes of scores before its end.

    Attributes:
        scoring: Whether a step waits for its score.
        score_every: Steps between two scored prefixes; None: not at a fixed interval.
        score_at: Score the prefix after these steps.
        shaping: What the rewards between the ends are.
        discount: gamma of the learner, in (0, 1].
        terminate_on_success: Probability of level 5 from which on a prefix is a success; None: none ends
            the episode.
        success_hold: So many successes in a row end the episode.

    Raises:
        InvalidSetting: One is out of its range, or needs another.
    """

    scoring: Scoring = "immediate"
    score_every: int | None = None
    score_at: Sequence[int] = ()
    shaping: Shaping = "none"
    discount: float = DISCOUNT
    terminate_on_success: float | None = None
    success_hold: int = 1

    def __post_init__(self) -> None:
        if self.scoring not in get_args(Scoring):
            raise InvalidSetting(f"scoring is 'immediate' or 'deferred', not {self.scoring!r}.")
        every = () if self.score_every is None else (self.score_every,)
        for name, steps in (("score_every", every), ("score_at", self.score_at)):
            if wrong := [step for step in steps if not _is_count(step)]:
                raise InvalidSetting(f"{name} counts steps, 1 or more; {wrong[0]!r} is not one.")
        if every and self.score_at:
            raise InvalidSetting("Pass score_every or score_at, not both.")
        if self.shaping not in get_args(Shaping):
            raise InvalidSetting(
                f"shaping is {self.shaping!r}. Choose one of {', '.join(get_args(Shaping))}."
            )
        if not 0.0 < self.discount <= 1.0:
            raise InvalidSetting(f"discount is in (0, 1], as the learner's, not {self.discount!r}.")
        success = self.terminate_on_success
        if success is not None and not 0.0 < success <= 1.0:
            raise InvalidSetting(
                f"terminate_on_success is a probability of level 5 in (0, 1], not {success!r}."
            )
        if not _is_count(self.success_hold):
            raise InvalidSetting(
                f"success_hold counts scores in a row, 1 or more, not {self.success_hold!r}."
            )
        if not self.has_prefixes and (self.shaping != "none" or success is not None):
            raise InvalidSetting(
                "Nothing is scored before the end. Pass score_every= or score_at= with shaping and "
                "terminate_on_success."
            )
        if self.is_deferred and success is not None:
            raise InvalidSetting(
                "A deferred score comes too late to end its episode. Use scoring='immediate' with "
                "terminate_on_success."
            )

    @property
    def is_deferred(self) -> bool:
        """Whether scores come later."""
        return self.scoring == "deferred"

    @property
    def has_prefixes(self) -> bool:
        """Whether any prefix is scored."""
        return self.score_every is not None or bool(self.score_at)

    def is_due(self, step: int) -> bool:
        """Whether the prefix that ends with this step, of 1 or more, is scored."""
        return step in self.score_at or (
            self.score_every is not None and step % self.score_every == 0
        )


@dataclass(eq=False)
class ProgressTrack:
    """What is known of one episode's prefixes.

    A prefix without a score has no value: the potential stays where it was, and the next score makes up
    for it.

    Attributes:
        progress: Expected progress in [0, 1] by the step that the prefix ends with, where there is one.
        clips: Prefixes that were not scored yet, by step; deferred scoring only.
        successes: Successful prefixes in a row.
    """

    progress: dict[int, float] = field(default_factory=dict)
    clips: dict[int, Clip] = field(default_factory=dict)
    successes: int = 0

    @property
    def known(self) -> float:
        """Phi after the last prefix that got a score."""
        return next(reversed(self.progress.values()), 0.0)

    def note(self, step: int, clip: Clip, result: ScoreOrError) -> dict[str, Any]:
        """Note the progress of a prefix, if it got a score; returns what comes into `info`."""
        if isinstance(result, ProgressScore) and result.level is not None:
            self.progress[step] = potential(result)
            return {PROGRESS: self.progress[step]}
        why = result if isinstance(result, RoboRewardError) else "Its score is unreadable."
        logger.warning(
            "The first %d steps of an episode (%s) got no score, and no reward for progress: the next score makes up "
            "for it. %s",
            step,
            clip.task,
            why,
        )
        return {PREFIX_FAILED: True}


def potential(score: ProgressScore) -> float:
    """Phi of a score; NaN for an unreadable one."""
    return math.nan if score.level is None else expected_progress(score)


def shaping_reward(before: float, after: float, discount: float) -> float:
    """F = gamma Phi(t) - Phi(t - 1)."""
    return discount * after - before


def shaping_rewards(
    num_steps: int, progress: Mapping[int, float], end: float, discount: float
) -> list[float]:
    """F of each step of an episode.

    Args:
        num_steps: T.
        progress: Phi by step, where it became known; steps after T - 1 are not looked at.
        end: Phi(T).
        discount: gamma.
    """
    rewards, before = [], 0.0
    for step in range(1, num_steps + 1):
        after = end if step == num_steps else progress.get(step, before)
        rewards.append(shaping_reward(before, after, discount))
        before = after
    return rewards


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
