"""How many bytes a checkpoint needs and how many there are, known before anything is loaded."""

import json
import math
from pathlib import Path

import torch

from roboreward_gym.errors import RewardModelUnavailable, WeightsError

INDEX = "model.safetensors.index.json"
ACTIVATIONS = 1.1
"""Room for activations and the allocator, as a multiple of the weights; 8 frames need little."""
STORED_ITEM_BYTES = 2
"""Checkpoints of this size are published in bfloat16."""
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1}
QUANTIZED_BYTES = {"int8": 1.0, "int4": 0.5}
HEADER_LIMIT = 100_000_000
"""safetensors refuses larger headers too."""


def parameter_count(folder: Path) -> int | None:
    """Count parameters by the headers of the weight files, or by the index if only that is there.

    Raises:
        WeightsError: A file is cut off or is no safetensors file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return sum(_count(path) for path in files)
    index = folder / INDEX
    if not index.is_file():
        return None
    try:
        return json.loads(index.read_text("utf-8"))["metadata"]["total_size"] // STORED_ITEM_BYTES
    except (ValueError, KeyError, TypeError):
        return None  # Not every writer adds the sum; the files will tell once they are here.


def _count(path: Path) -> int:
    header: dict[str, dict[str, list[int]]] = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            if length <= HEADER_LIMIT:
                header = json.loads(file.read(length))
        except ValueError:
            header = {}
    if not header:
        raise WeightsError(
            f"Expected readable weights in {path.parent}, got a cut or foreign file {path.name}. "
            "Fetch it again."
        )
    tensors = [value for key, value in header.items() if key != "__metadata__"]
    end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    if path.stat().st_size < 8 + length + end:
        raise WeightsError(
            f"Expected readable weights in {path.parent}, got {path.stat().st_size} bytes of "
            f"{8 + length + end} in {path.name}: the file is cut off. Fetch it again."
        )
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def bytes_needed(parameters: int, dtype: torch.dtype, quantization: str | None = None) -> int:
    """Estimate what a model of this many parameters takes while it scores, in bytes."""
    per_parameter = QUANTIZED_BYTES[quantization] if quantization else dtype.itemsize
    return int(parameters * per_parameter * ACTIVATIONS)


def bytes_available(device: torch.device) -> int | None:
    """Free memory of a device in bytes; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu":
        return _free_main_memory()
    return None


def _free_main_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    values = {
        key: int(rest.split()[0]) * 1024 for key, _, rest in (x.partition(":") for x in lines)
    }
    free = values.get("MemAvailable")
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text("ascii").strip()
        used = int((group / "memory.current").read_text("ascii"))
    except (OSError, ValueError):
        return free
    return free if limit == "max" or free is None else min(free, max(0, int(limit) - used))


def check_memory(
    name: str,
    parameters: int | None,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str | None = None,
) -> None:
    """Refuse to load what does not fit, instead of letting the system end this process.

    Raises:
        RewardModelUnavailable: It needs more than is free.
    """
    available = bytes_available(device)
    if parameters is None or available is None:
        return
    needed = bytes_needed(parameters, dtype, quantization)
    if needed > available:
        kind = quantization or str(dtype).removeprefix("torch.")
        half = bytes_needed(parameters, torch.bfloat16)
        raise RewardModelUnavailable(
            f"Expected {gigabytes(needed)} free on {device} for {name} ({parameters / 1e9:.1f} billion "
            f"parameters as {kind}), got {gigabytes(available)}. Free memory, take a smaller judge, or "
            f"load it smaller: dtype=torch.bfloat16 needs {gigabytes(half)}, quantization='int8' "
            f"{gigabytes(half // 2)}, quantization='int4' {gigabytes(half // 4)}."
        )


def gigabytes(count: int) -> str:
    """Write a number of bytes for people.

    >>> gigabytes(8_880_000_000)
    '8.9 GB'
    """
    return f"{count / 1e9:.1f} GB"
