"""What stands in an environment's spec: text that works anywhere, objects that work in this process."""

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from roboreward_gym.errors import InvalidSetting, NotPortable

OBJECT_MARK = "<object "
FUNCTION_NAME = re.compile(r"([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*)*):[A-Za-z_]\w*")
BY_NAME = {
    "reward_model": "its name; register_reward_model gives an object one",
    "on_failure": "a policy or the name of a reward model",
    "task": "the task as text, or the name 'module:function' of a function",
    "frame_source": "'render', an observation key, or the name 'module:function' of a function",
    "reward_map": "the name of a reward map, or the name 'module:function' of a function",
}


class SharedObject(str):
    """An argument that is not JSON: in this process the object itself, elsewhere only its type's name.

    Gymnasium copies recorded arguments deeply, which for a model on a GPU would mean a second one.
    """

    value: Any

    def __new__(cls, value: object) -> "SharedObject":
        """Stand for `value`."""
        mark = super().__new__(cls, f"{OBJECT_MARK}{_type_name(value)}>")
        mark.value = value
        return mark

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedObject":
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def record_arguments(
    wrapper: gym.utils.RecordConstructorArgs, arguments: Mapping[str, object]
) -> dict[str, Any]:
    """Record the arguments for `env.spec`, and return them as they are to be used.

    Args:
        wrapper: Whose arguments these are.
        arguments: `locals()` as the first line of its `__init__(self, env, ...)` has them.

    Raises:
        NotPortable: The spec came from another process, where an argument was an object.
    """
    used: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in ("self", "env", "__class__"):
            continue
        used[name] = value.value if isinstance(value, SharedObject) else value
        if isinstance(used[name], str) and used[name].startswith(OBJECT_MARK):
            raise NotPortable(
                f"The process that wrote this spec passed {name} as an object, {value}, which is "
                f"not here. Pass {BY_NAME.get(name, 'text')} there."
            )
    recorded = {
        name: value if _is_json(value) else SharedObject(value) for name, value in used.items()
    }
    gym.utils.RecordConstructorArgs.__init__(wrapper, **recorded)  # ty: ignore[invalid-argument-type]
    return used


def is_function_name(text: str) -> bool:
    """Whether the text has the form `module:function` and there is such a module, or its package.

    Nothing is imported. Text of that form without one, such as the key `camera:top`, is plain text.
    """
    match = FUNCTION_NAME.fullmatch(text)
    if match is None:
        return False
    package, submodules = match.groups()
    if package in sys.modules:
        return True
    spec = importlib.util.find_spec(package)
    # A mere folder is a package without a file of its own (no origin): it has no functions itself.
    return spec is not None and (bool(submodules) or spec.origin is not None)


def load_function(name: str) -> Callable[..., Any]:
    """Import what `module:function` names.

    Raises:
        InvalidSetting: There is no such function.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidSetting(
            f"{name!r} has the form 'module:function', but cannot be imported: {error}. "
            "Correct it, or pass the function itself."
        ) from error
    if not callable(function):
        raise InvalidSetting(f"{name!r} names a {type(function).__name__}. Name a function.")
    return function


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _type_name(value: object) -> str:
    named = value if callable(value) and not isinstance(value, type) else type(value)
    return getattr(named, "__qualname__", type(value).__qualname__)
