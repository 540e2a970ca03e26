"""Entry points of the reward models by name, `openai:MODEL` and the others; each imports what it needs when it is loaded."""

from importlib import import_module
from types import ModuleType

from reward_models.judges.null import FULL_S, ClockReward, ConstantReward, RandomReward
from roboreward_gym.errors import InvalidSetting, install_advice
from roboreward_gym.types import RewardModel


def openai(argument: str) -> RewardModel:
    """Make `openai:MODEL` or `openai:MODEL@http://HOST:PORT/v1`."""
    return _module("reward_models.judges.openai_compatible", "openai", "api").load(argument)


def gemini(argument: str) -> RewardModel:
    """Make `gemini:MODEL`."""
    return _module("reward_models.judges.gemini", "gemini", "api").load(argument)


def remote(argument: str) -> RewardModel:
    """Make `remote:http://HOST:PORT`."""
    return _module("reward_models.serving.remote", "remote", "remote").load(argument)


def human(argument: str) -> RewardModel:
    """Make `human:FOLDER` or `human:http://HOST:PORT`."""
    return _module("reward_models.labeling.human", "human", "data,remote").load(argument)


def robometer(argument: str = "lerobot/Robometer-4B") -> RewardModel:
    """Make `robometer` or `robometer:FOLDER_OR_HUB_ID`."""
    return _module("reward_models.judges.lerobot", "robometer", "lerobot").load_robometer(argument)


def topreward(argument: str = "Qwen/Qwen3-VL-8B-Instruct") -> RewardModel:
    """Make `topreward` or `topreward:FOLDER_OR_HUB_ID` of a Qwen3-VL."""
    return _module("reward_models.judges.lerobot", "topreward", "lerobot").load_topreward(argument)


def constant(argument: str = "3") -> ConstantReward:
    """Make `constant:LEVEL`."""
    return ConstantReward(_whole(argument, "constant:LEVEL, for example constant:3"))


def random(argument: str = "0") -> RandomReward:
    """Make `random` or `random:SEED`."""
    return RandomReward(_whole(argument, "random:SEED, for example random:0"))


def clock(argument: str = str(FULL_S)) -> ClockReward:
    """Make `clock` or `clock:SECONDS`, the duration of a complete episode."""
    try:
        full_s = float(argument)
    except ValueError as error:
        raise InvalidSetting(
            f"{argument!r} is not a number of seconds. Write clock:SECONDS, for example clock:8."
        ) from error
    return ClockReward(full_s)


def _whole(argument: str, form: str) -> int:
    try:
        return int(argument)
    except ValueError as error:
        raise InvalidSetting(f"{argument!r} is not a whole number. Write {form}.") from error


def _module(module: str, name: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs {error.name}, which is not installed. {install_advice(extra)}"
        ) from error
