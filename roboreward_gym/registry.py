"""Reward models by name, each loaded once in a process.

A name travels where a model of some gigabytes must not: through `gym.make(env.spec)`, configs and
result files. Any installed package can add one, as an entry point that names a function (or a class)
in its `pyproject.toml`::

    [project.entry-points."roboreward_gym.reward_models"]
    my-model = "my_package.model:load"

`my-model` calls it without arguments, `my-model:some text` with the text after the first colon, and
`my-model?option=value` with the text from the question mark on.
"""

import inspect
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from roboreward_gym.errors import InvalidRewardModel, RewardModelUnavailable, UnknownName
from roboreward_gym.types import RewardModel

GROUP = "roboreward_gym.reward_models"

RewardModelFactory = Callable[..., RewardModel]
"""Takes nothing, or the text that follows the first colon of a name."""

# Reentrant, because one model's factory may ask for another one by name.
_lock = threading.RLock()
_factories: dict[str, RewardModelFactory] = {}
_loaded: dict[str, RewardModel] = {}


def register_reward_model(name: str, factory: RewardModelFactory, *, replace: bool = False) -> None:
    """Make a reward model known by name in this process; it is loaded when first asked for.

    Args:
        name: The name, without a colon; it wins over an entry point of the same name.
        factory: Called at most once for each argument, or once if the name is asked for without.
        replace: Allow that the name is taken, and forget the models loaded under it.

    Raises:
        InvalidRewardModel: The name is taken, or the factory cannot be called.
    """
    if not isinstance(name, str) or split_name(name) != (name, None) or not name:
        raise InvalidRewardModel(
            f"{name!r} is not a name for a reward model. Choose one of at least one letter, without a colon "
            "or question mark: what follows them is the argument of the factory."
        )
    if not callable(factory):
        raise InvalidRewardModel(
            f"The factory of {name!r} is a {type(factory).__name__}, which cannot be called. Pass a function "
            "that makes the reward model; for a model at hand pass `lambda: model`."
        )
    with _lock:
        if name in _factories and not replace:
            raise InvalidRewardModel(
                f"The name {name!r} is already registered. Choose another, or pass replace=True."
            )
        _factories[name] = factory
        for loaded in [key for key in _loaded if split_name(key)[0] == name]:
            del _loaded[loaded]


def reward_model_names() -> list[str]:
    """Every name that can be asked for, sorted."""
    with _lock:
        return sorted({*_factories, *(point.name for point in entry_points(group=GROUP))})


def load_reward_model(name: str) -> RewardModel:
    """Return the reward model of that name, the same object each time.

    Args:
        name: `name`, `name:argument` or `name?options`; each argument is a model of its own.

    Raises:
        UnknownName: Nobody offers it; suggests the closest.
        RewardModelUnavailable: It is offered, but what it needs is not installed.
        InvalidRewardModel: Its factory made something that cannot score, takes no argument but got
            one, or needs one and got none.
    """
    with _lock:
        if name not in _loaded:
            _loaded[name] = check_reward_model(_make(name))
        return _loaded[name]


def release_reward_model(name: str) -> None:
    """Drop the model cached under `name` or `name:argument`; the name stays known.

    Its memory is free once nobody uses it.
    """
    with _lock:
        _loaded.pop(name, None)


def as_reward_model(reward_model: RewardModel | str) -> RewardModel:
    """Resolve a name, or check that an object can score."""
    if isinstance(reward_model, str):
        return load_reward_model(reward_model)
    return check_reward_model(reward_model)


def check_reward_model(candidate: object) -> RewardModel:
    """Return the object, or raise `InvalidRewardModel` if it has no `score` method."""
    if isinstance(candidate, type):
        raise InvalidRewardModel(
            f"{candidate.__name__} is a class, not a reward model. Pass an instance of it."
        )
    if not isinstance(candidate, RewardModel):
        raise InvalidRewardModel(
            f"An object of type {type(candidate).__name__} is not a reward model. Pass a name, or an object with "
            "score(clips) -> list[ProgressScore]."
        )
    return candidate


def split_name(full_name: str) -> tuple[str, str | None]:
    """Split a reward model's name into the registered name and the argument of its factory.

    >>> split_name("constant:3"), split_name("roboreward-8b?dtype=bfloat16"), split_name("random")
    (('constant', '3'), ('roboreward-8b', '?dtype=bfloat16'), ('random', None))
    """
    ends = [place for place in (full_name.find(":"), full_name.find("?")) if place >= 0]
    if not ends:
        return full_name, None
    end = min(ends)
    return full_name[:end], full_name[end + 1 if full_name[end] == ":" else end :]


def _make(full_name: str) -> object:
    name, argument = split_name(full_name)
    point = None if name in _factories else _entry_point(name)
    try:
        factory = _factories[name] if point is None else point.load()
        arguments = _arguments(factory, name, argument)
        return factory(*arguments)
    except (ImportError, AttributeError) as error:
        place = "its factory" if point is None else repr(point.value)
        raise RewardModelUnavailable(
            f"The reward model {name!r} of {place} failed to load with {type(error).__name__}: {error}. "
            "Install what it needs, or reinstall the package that offers it."
        ) from error


def _arguments(factory: Callable[..., object], name: str, argument: str | None) -> tuple[str, ...]:
    """Return what to call the factory with, checked first: its own TypeErrors stay its own."""
    if argument == "":
        raise InvalidRewardModel(
            f"'{name}:' has no argument after the colon. Write it behind the colon, or ask for {name!r}."
        )
    arguments = () if argument is None else (argument,)
    try:
        inspect.signature(factory).bind(*arguments)
    except TypeError as error:
        message = (
            f"{name!r} takes no argument ({error}). Write {name!r} instead of '{name}:{argument}'."
            if arguments
            else f"{name!r} needs an argument ({error}). Write it after a colon: '{name}:ARGUMENT'."
        )
        raise InvalidRewardModel(message) from error
    except ValueError:
        pass  # Some built-in callables have no signature; calling them shows what is wrong.
    return arguments


def _entry_point(name: str) -> EntryPoint:
    points = {point.value: point for point in entry_points(group=GROUP) if point.name == name}
    if not points:
        raise UnknownName("reward model", name, reward_model_names())
    if len(points) > 1:
        raise RewardModelUnavailable(
            f"Several packages offer a reward model {name!r}: {', '.join(sorted(points))}. "
            "Uninstall one of the packages, or call register_reward_model with the one you mean."
        )
    return next(iter(points.values()))
