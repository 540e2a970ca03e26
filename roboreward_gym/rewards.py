"""From a score of 1..5 to the number that the learner sees.

Named maps are text, so that they travel through configs and environment specs:
`progress`, `expected_progress`, `binary` or `binary@4`, `minus_one` or `minus_one@4`, `level`,
`calibrated:FILE` or `calibrated_minus_one:FILE`, `guarded:MAP?endings=3` (see `roboreward_gym.guard`). Hyphens may stand for
underscores.
"""

import math
from collections.abc import Callable
from functools import partial

from roboreward_gym.errors import InvalidScore, InvalidSetting, UnknownName
from roboreward_gym.guard import Guard, parse
from roboreward_gym.operating_point import OperatingPoint
from roboreward_gym.specs import FUNCTION_NAME, load_function
from roboreward_gym.types import LEVELS, ProgressScore, RewardModel

RewardMap = Callable[[ProgressScore], float]
GuardOver = Callable[[RewardModel], RewardModel]
"""Puts a guard around a reward model."""

SPAN = LEVELS[-1] - LEVELS[0]
SUCCESS = LEVELS[-1]


def progress(score: ProgressScore) -> float:
    """Level 1..5 as 0, 0.25, 0.5, 0.75, 1."""
    return (level(score) - LEVELS[0]) / SPAN


def expected_progress(score: ProgressScore) -> float:
    """Mean level under the model's probabilities, as 0..1; finer than `progress`."""
    level(score)
    return (score.expected - LEVELS[0]) / SPAN


def binary(score: ProgressScore, threshold: int = SUCCESS) -> float:
    """1 from level `threshold` on, else 0."""
    return float(level(score) >= threshold)


def minus_one(score: ProgressScore, threshold: int = SUCCESS) -> float:
    """0 from level `threshold` on, else -1, as DSRL's robot experiments use it."""
    return binary(score, threshold) - 1.0


def calibrated(score: ProgressScore, point: OperatingPoint) -> float:
    """1 where the score counts as success at an operating point, else 0."""
    return float(point.is_success(score))


def calibrated_minus_one(score: ProgressScore, point: OperatingPoint) -> float:
    """0 where the score counts as success at an operating point, else -1."""
    return calibrated(score, point) - 1.0


def level(score: ProgressScore) -> float:
    """The level itself, 1..5."""
    if score.level is None:
        raise InvalidScore(f"An unreadable answer has no reward: {score.text!r}.")
    return float(score.level)


_PLAIN: dict[str, RewardMap] = {
    "progress": progress,
    "expected_progress": expected_progress,
    "level": level,
}
_AT_THRESHOLD: dict[str, Callable[..., float]] = {"binary": binary, "minus_one": minus_one}
_AT_POINT: dict[str, Callable[..., float]] = {
    "calibrated": calibrated,
    "calibrated_minus_one": calibrated_minus_one,
}
"""Maps that take the file of an operating point behind a colon."""
GUARDED = "guarded"


def as_reward_map(name: str | RewardMap) -> RewardMap:
    """Return the map of that name, or the function `module:function`; a function as it is.

    Raises:
        UnknownName: No such map, or a threshold that is not in 2..5.
        InvalidSetting: The file of an operating point is missing or something else.
    """
    if not isinstance(name, str):
        if callable(name):
            return name
        raise UnknownName("reward map", repr(name), _names())
    kind, colon, file = name.partition(":")
    if colon and kind == GUARDED:
        return _guarded(file)
    if colon and kind.replace("-", "_") in _AT_POINT:
        return partial(_AT_POINT[kind.replace("-", "_")], point=OperatingPoint.load(file))
    if FUNCTION_NAME.fullmatch(name):
        return load_function(name)
    base, at, threshold = name.replace("-", "_").partition("@")
    if not at and base in _PLAIN:
        return _PLAIN[base]
    if base not in _AT_THRESHOLD or (at and threshold not in map(str, LEVELS[1:])):
        raise UnknownName("reward map", name, _names())
    return partial(_AT_THRESHOLD[base], threshold=int(threshold or SUCCESS))


def _guarded(text: str) -> Guard:
    """Read `MAP?endings=3`, the part behind `guarded:`."""
    name, _, options = text.partition("?")
    _, at, threshold = name.partition("@")
    kind = name.partition(":")[0].replace("-", "_")
    if kind in (*_AT_POINT, GUARDED) or (at and threshold != str(SUCCESS)):
        raise InvalidSetting(
            f"A guard makes level 4 of a success, which {name!r} may still call one. Use progress, expected_progress, "
            "level, binary or minus_one inside, and write an operating point as ?point=FILE."
        )
    return parse(options, as_reward_map(name))


def guard_of(reward_map: RewardMap) -> GuardOver | None:
    """What a reward map puts around the reward model; None for a map that is not a guard."""
    return reward_map.over if isinstance(reward_map, Guard) else None


def reward_of(score: ProgressScore, reward_map: RewardMap) -> float:
    """The finite reward of a readable score; NaN, never a number, for an unreadable one.

    Raises:
        InvalidScore: The map gives no finite number.
    """
    if score.level is None:
        return math.nan
    reward = float(reward_map(score))
    if not math.isfinite(reward):
        raise InvalidScore(
            f"The reward map gives {reward} for level {score.level}, no finite number. Correct it; the "
            "score is kept, and step() returns it with its reward."
        )
    return reward


def _names() -> list[str]:
    thresholds = [f"{name}@{n}" for name in _AT_THRESHOLD for n in LEVELS[1:]]
    return [
        *_PLAIN,
        *_AT_THRESHOLD,
        *thresholds,
        *(f"{name}:FILE" for name in _AT_POINT),
        f"{GUARDED}:MAP?OPTIONS",
    ]
