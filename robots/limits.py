"""Safety limits in a JSON file: what a table needs otherwise than the defaults."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.errors import UnreachablePose
from robots.safety import SafetyLimits

FIELDS = tuple(field.name for field in dataclasses.fields(SafetyLimits))


def load_limits(path: Path, default: SafetyLimits | None = None) -> SafetyLimits:
    """Read limits such as `{"box_low": [0.15, -0.2, 0.03]}`.

    Args:
        path: JSON file of fields of `SafetyLimits`.
        default: What the fields are that the file does not name.

    Raises:
        InvalidSetting: The file is missing or no JSON object, or a value is not what its field needs.
        UnknownName: A limit that there is not.
    """
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"{path} is not a file of limits: {error}. Write a JSON object of fields of SafetyLimits."
        ) from error
    return limits_from_json(plain, str(path), default)


def limits_from_json(plain: Any, where: str, default: SafetyLimits | None = None) -> SafetyLimits:
    """Limits from what `limits_to_json` returned, or from a part of it; raises as `load_limits`."""
    if not isinstance(plain, Mapping):
        raise InvalidSetting(f"Limits are a JSON object, {where} holds {type(plain).__name__}.")
    default = default or SafetyLimits()
    values: dict[str, Any] = {}
    for name, value in plain.items():
        if name not in FIELDS:
            raise UnknownName("limit", name, FIELDS)
        values[name] = _like(getattr(default, name), value, f"{name} in {where}")
    try:
        return dataclasses.replace(default, **values)
    except UnreachablePose as error:
        raise InvalidSetting(f"{where}: {error}") from error


def limits_to_json(limits: SafetyLimits) -> dict[str, Any]:
    """All limits, JSON-serialisable."""
    return {name: np.asarray(getattr(limits, name)).tolist() for name in FIELDS}


def _like(default: Any, value: Any, what: str) -> Any:
    """The value as an array or number of the same shape as the default."""
    shape = np.shape(default)
    wanted = f"{shape[0]} numbers" if shape else "a number"
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidSetting(f"{what} must be {wanted}, got {value!r}.") from error
    if array.shape != shape or not np.isfinite(array).all() or isinstance(value, bool):
        raise InvalidSetting(f"{what} must be {wanted}, got {value!r}.")
    return array if shape else float(array)
