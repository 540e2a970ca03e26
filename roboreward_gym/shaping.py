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

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from roboreward_gym.errors import InvalidSetting
from roboreward_gym.rewards import expected_progress
from roboreward_gym.types import Clip, ProgressScore

Shaping = Literal["none", "progress", "potential"]

DISCOUNT = 0.99


@dataclass(frozen=True)
class PrefixSettings:
    """Which prefixes of an episode are scored, and what becomes of their scores.

    Attributes:
        every: Score after every so many steps; None: not so.
        at: Score after these steps.
        shaping: What the rewards between the ends are.
        discount: gamma of the learner, in (0, 1].
        success_from: Probability of level 5 from which on a prefix is a success; None: none ends the
            episode.
        hold: So many successes in a row end the episode.
    """

    every: int | None = None
    at: frozenset[int] = frozenset()
    shaping: Shaping = "none"
    discount: float = DISCOUNT
    success_from: float | None = None
    hold: int = 1

    def __bool__(self) -> bool:
        """Whether any prefix is scored."""
        return self.every is not None or bool(self.at)

    def is_due(self, step: int) -> bool:
        """Whether the prefix that ends with this step, of 1 or more, is scored."""
        return step in self.at or (self.every is not None and step % self.every == 0)


def check_prefix_settings(
    every: int | None,
    at: Iterable[int] | None,
    shaping: Shaping,
    discount: float,
    success_from: float | None,
    hold: int,
    *,
    deferred: bool,
) -> PrefixSettings:
    """Return the settings as `VLMRewardWrapper` takes them.

    Raises:
        InvalidSetting: One is out of its range, or needs another.
    """
    steps = [] if at is None else list(at)
    for name, value in [("score_every", every), *(("score_at", step) for step in steps)]:
        if value is not None and not _is_count(value):
            raise InvalidSetting(f"{name} counts steps, 1 or more; {value!r} is none.")
    if every is not None and steps:
        raise InvalidSetting("Pass score_every or score_at, not both.")
    if shaping not in get_args(Shaping):
        raise InvalidSetting(
            f"shaping is {shaping!r}. Choose one of {', '.join(get_args(Shaping))}."
        )
    if not 0.0 < discount <= 1.0:
        raise InvalidSetting(f"discount is in (0, 1], as the learner's, not {discount!r}.")
    if success_from is not None and not 0.0 < success_from <= 1.0:
        raise InvalidSetting(
            f"terminate_on_success is a probability of level 5 in (0, 1], not {success_from!r}."
        )
    if not _is_count(hold):
        raise InvalidSetting(f"success_hold counts scores in a row, 1 or more, not {hold!r}.")
    found = PrefixSettings(every, frozenset(steps), shaping, discount, success_from, hold)
    if not found and (shaping != "none" or success_from is not None):
        raise InvalidSetting(
            "Nothing is scored before the end. Pass score_every= or score_at= with shaping and "
            "terminate_on_success."
        )
    if deferred and success_from is not None:
        raise InvalidSetting(
            "A deferred score comes too late to end its episode. Use scoring='immediate' with "
            "terminate_on_success."
        )
    return found


@dataclass(eq=False)
class ProgressTrack:
    """What is known of one episode's prefixes.

    Attributes:
        progress: Expected progress in [0, 1] by the step that the prefix ends with, where there is one.
        clips: Prefixes that were not scored yet, by step; deferred scoring only.
        is_terminal: Whether the episode's end is a termination to the learner.
        successes: Successful prefixes in a row.
    """

    progress: dict[int, float] = field(default_factory=dict)
    clips: dict[int, Clip] = field(default_factory=dict)
    is_terminal: bool = True
    successes: int = 0

    @property
    def known(self) -> float:
        """Phi after the last prefix that got a score."""
        return next(reversed(self.progress.values()), 0.0)


def potential(score: ProgressScore) -> float:
    """Phi of a score; NaN for an unreadable one."""
    return math.nan if score.level is None else expected_progress(score)


def end_potential(score: ProgressScore, track: ProgressTrack, shaping: Shaping) -> float:
    """Phi(T), with the score of the whole episode."""
    return 0.0 if shaping == "potential" and track.is_terminal else potential(score)


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
