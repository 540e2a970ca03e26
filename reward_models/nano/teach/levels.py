"""How far an environment says that it came: a number in `info` or a function of its state, as a level of 1..5 for each task."""

import math
import numbers
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from reward_models.nano.teach.config import TeachConfig
from roboreward_gym.errors import InvalidSetting, RoboRewardError
from roboreward_gym.specs import is_function_name, load_function
from roboreward_gym.types import LEVELS, check_task

Levels = Mapping[str, int]
"""Level of each task at one moment; empty where the environment does not say."""


class InvalidLevel(RoboRewardError, ValueError):
    """What the environment says of its level cannot be used."""


class LevelReader:
    """Reads the levels of the present moment.

    Args:
        config: Where they are.

    Raises:
        InvalidSetting: The function cannot be found.
    """

    def __init__(self, config: TeachConfig) -> None:
        self._source, self._thresholds = config.level, config.thresholds
        self._task = config.task
        named = is_function_name(config.level)
        self._function: Callable[..., Any] | None = load_function(config.level) if named else None

    def __call__(self, env: gym.Env[Any, Any], info: Mapping[str, Any]) -> Levels:
        """Return the level of each task; none where the environment does not say it.

        Raises:
            InvalidLevel: No number, or one that is no level.
        """
        found = info.get(self._source) if self._function is None else self._function(env, info)
        if found is None:
            return {}
        if isinstance(found, Mapping):
            return {check_task(task): self._level(value) for task, value in found.items()}
        if not self._task:
            raise InvalidSetting(
                "The level is a number without a task. Say what the robot is told to do: --task TEXT."
            )
        return {self._task: self._level(found)}

    def _level(self, value: object) -> int:
        number = getattr(value, "item", lambda: value)()  # NumPy's numbers as Python's
        if not isinstance(number, numbers.Real) or not math.isfinite(number):
            raise InvalidLevel(
                f"{self._source} is {value!r}, no number. Name a key of info or a function that gives one."
            )
        if self._thresholds is not None:
            return LEVELS[0] + bisect_right(self._thresholds, float(number))
        if number not in LEVELS or isinstance(number, bool):
            raise InvalidLevel(
                f"{self._source} is {value!r}, which is no level of 1 to 5. Say from which values on the "
                "level is 2, 3, 4 and 5: --thresholds A B C D."
            )
        return int(float(number))


def no_levels(config: TeachConfig, keys: list[str]) -> InvalidLevel:
    """What to say where an episode ends without a level.

    Args:
        config: Where levels were looked for.
        keys: Keys of `info` during the episode.
    """
    if is_function_name(config.level):
        return InvalidLevel(
            f"{config.level} says no level at the end of an episode of {config.env}. Return a number there."
        )
    return InvalidLevel(
        f"The info of {config.env} has no {config.level!r} at the end of an episode; during it there was "
        f"{', '.join(keys) or 'nothing'}. Name one of these, or a function of environment and info: --level my.module:level"
    )
