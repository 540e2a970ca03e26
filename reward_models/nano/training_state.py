"""Training state on disk without pickle: safetensors for numbers, written whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from roboreward_gym.errors import WeightsError


def save_state(
    path: Path,
    step: int,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Write parameters, optimizer moments if there is an optimizer, and the step."""
    tensors = {
        f"{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    moments = {} if optimizer is None else optimizer.state_dict()["state"]
    for index, state in moments.items():
        tensors |= {
            f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in state.items()
        }
    partial = path.with_suffix(".partial")
    # Copies, because safetensors refuses tied weights that share their memory.
    copies = {key: value.detach().clone() for key, value in tensors.items()}
    save_file(copies, partial, {"step": str(step)})
    partial.replace(path)


def load_state(
    path: Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Read what `save_state` wrote into the given objects and return its step.

    Raises:
        WeightsError: The file is missing or corrupt, or belongs to a model of another size.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            step = int(file.metadata()["step"])
        for name, module in modules.items():
            prefix = f"{name}/"
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        if optimizer is not None:
            optimizer.load_state_dict(_optimizer_state(tensors, optimizer))
    except (OSError, RuntimeError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"The training state {path} cannot be used: {error}. "
            "Train into another folder, or delete this file."
        ) from error
    return step


def _optimizer_state(
    tensors: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            states.setdefault(int(index), {})[name] = value
    return {"state": states, "param_groups": optimizer.state_dict()["param_groups"]}
