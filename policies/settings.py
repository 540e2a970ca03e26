"""Checks of settings, with errors that say what to change."""

from typing import Any

import torch

from roboreward_gym.errors import InvalidSetting


def require_positive(config: Any, *names: str) -> None:
    """Raise `InvalidSetting` for the first of these settings that is not above 0."""
    for name in names:
        if getattr(config, name) <= 0:
            raise InvalidSetting(f"{name} must be above 0, got {getattr(config, name)}.")


def available_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        InvalidSetting: No such device on this machine.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
        reason = str(error).partition("\n")[0]
        raise InvalidSetting(
            f"The device {name!r} is not available on this machine ({reason}). Choose cpu, or another."
        ) from error
