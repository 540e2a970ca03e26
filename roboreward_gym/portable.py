"""Recording constructor arguments, so that `gym.make(env.spec)` works by name and refuses clearly."""

import json
from typing import Any

import gymnasium as gym

from roboreward_gym.errors import NotPortable

OBJECT_MARK = "<object "


def record_arguments(wrapper: gym.utils.RecordConstructorArgs, **arguments: object) -> None:
    """Record the arguments for `env.spec`; objects only as a mark.

    Gymnasium copies recorded arguments deeply, which for a judge on a GPU means a second one. A mark
    keeps the spec printable, and is refused with a reason by whoever makes an environment of it.
    """
    recorded: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, str) and value.startswith(OBJECT_MARK):
            raise NotPortable(
                f"Expected {name}, got {value}, which the writer of this spec passed as an object. "
                "Pass a name instead; register_reward_model gives a judge one."
            )
        recorded[name] = value if _is_json(value) else f"{OBJECT_MARK}{_type_name(value)}>"
    gym.utils.RecordConstructorArgs.__init__(wrapper, **recorded)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _type_name(value: object) -> str:
    named = value if callable(value) and not isinstance(value, type) else type(value)
    return getattr(named, "__qualname__", type(value).__qualname__)
