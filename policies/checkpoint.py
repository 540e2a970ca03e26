"""Everything a run needs to go on, in one safetensors file: tensors as such, the rest as JSON.

No pickle: a checkpoint can be read by anyone without running code. One file, renamed into place, so
that an interruption leaves the previous checkpoint whole.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file

from policies.errors import RunMismatch
from roboreward_gym.errors import WeightsError

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(path: Path, state: Any) -> None:
    """Write nested dicts and lists of tensors, numbers, texts and None, whole or not at all."""
    tensors: dict[str, torch.Tensor] = {}
    structure = json.dumps(_pack(state, tensors))
    partial = path.with_name(f"{path.name}.partial")
    save_file(tensors, partial, metadata={"structure": structure})
    partial.replace(path)


def load_checkpoint(path: Path) -> Any:
    """Read what `save_checkpoint` wrote, bit-exactly.

    Raises:
        WeightsError: The file is missing, cut short or no checkpoint.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            structure = json.loads((file.metadata() or {})["structure"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path} is not a complete checkpoint ({error}). Delete the run folder and start again."
        ) from error
    return _unpack(structure, tensors)


def state_of(parts: Any) -> Any:
    """Everything that `restore` needs to go on bit-exactly.

    Args:
        parts: Modules, optimisers, schedules, torch's generators and tensors, in dicts.
    """
    match parts:
        case dict():
            return {name: state_of(part) for name, part in parts.items()}
        case torch.Generator():
            return parts.get_state()
        case torch.Tensor():
            return parts
    return parts.state_dict()


def restore(parts: Any, state: Any) -> None:
    """Bring parts to the state that `state_of` gave."""
    match parts:
        case dict():
            for name, part in parts.items():
                restore(part, state[name])
        case torch.Generator():
            parts.set_state(state)
        case torch.Tensor():
            parts.copy_(state)
        case _:
            parts.load_state_dict(state)


def _pack(node: Any, tensors: dict[str, torch.Tensor]) -> list[Any]:
    name = str(len(tensors))
    match node:
        case torch.Tensor():
            tensors[name] = node.detach().clone().contiguous()
            return ["tensor", name]
        case dict():
            return ["dict", [[key, _pack(value, tensors)] for key, value in node.items()]]
        case list() | tuple():
            return [type(node).__name__, [_pack(value, tensors) for value in node]]
        case None | bool() | int() | float() | str():
            return ["value", node]
    raise TypeError(
        f"A {type(node).__name__} cannot be saved: pass tensors, numbers, texts, None, or dicts and lists of them."
    )


def _unpack(node: list[Any], tensors: dict[str, torch.Tensor]) -> Any:
    kind, content = node
    match kind:
        case "tensor":
            return tensors[content]
        case "dict":
            return {key: _unpack(value, tensors) for key, value in content}
        case "list":
            return [_unpack(value, tensors) for value in content]
        case "tuple":
            return tuple(_unpack(value, tensors) for value in content)
    return content


def open_run(run_dir: Path, config: Mapping[str, Any], *, resume: bool) -> Any | None:
    """Make or re-enter a run folder; the checkpoint to go on from, if there is one.

    Args:
        run_dir: Folder of the run.
        config: All that the outcome depends on, saved as `config.json` in a new folder.
        resume: Go on with the run that is there.

    Returns:
        What `save_checkpoint` wrote, or None for a fresh start.

    Raises:
        RunMismatch: The folder holds a run, and `resume` is False or its config is another.
        WeightsError: The checkpoint is corrupt.
    """
    wanted = json.loads(json.dumps(config, default=str))
    path = run_dir / CONFIG
    if path.exists():
        found = json.loads(path.read_text())
        different = sorted(k for k in wanted | found if wanted.get(k) != found.get(k))
        if different:
            pairs = ", ".join(f"{k} {found.get(k)!r} (now {wanted.get(k)!r})" for k in different)
            raise RunMismatch(
                f"{run_dir} was made with another config: {pairs}. Choose another run folder, or the old config."
            )
        if not resume:
            raise RunMismatch(f"{run_dir} holds a run already. Resume it, or choose a new folder.")
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(path, wanted)
    checkpoint = run_dir / CHECKPOINT
    return load_checkpoint(checkpoint) if checkpoint.exists() else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that appears whole or not at all."""
    _write(path, json.dumps(value, indent=2) + "\n")


def keep_lines(path: Path, count: int) -> None:
    """Cut a metrics file back to its first `count` lines, those that the checkpoint knows about."""
    lines = path.read_text().splitlines(keepends=True)[:count] if path.exists() else []
    _write(path, "".join(lines))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a metrics file that appears whole or not at all."""
    _write(path, "".join(json.dumps(finite(row)) + "\n" for row in rows))


def append_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Add one JSON line."""
    with path.open("a") as file:
        file.write(json.dumps(finite(metrics)) + "\n")


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with None for NaN and infinity, which JSON lacks."""
    return {
        k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in values.items()
    }


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)  # not in place: a kill in this moment must not take the old file along
