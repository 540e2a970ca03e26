"""How many bytes a model needs and how many there are, known before any weight is read or fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from reward_models.model_options import Quantization
from roboreward_gym.errors import RewardModelUnavailable

ACTIVATIONS = 1.1
"""Room for activations and the allocator, as a multiple of the weights; 8 frames need little."""
QUANTIZED_BYTES: Mapping[str, float] = {"int8": 1.0, "int4": 0.5 + 4 / 64}
"""Bytes of a quantized weight; in 4 bits every 64 weights share a scale of 4 bytes."""
KEPT_PRECISE = ("model.visual", "lm_head")
"""Modules that quantization leaves as they are: a small part of the weights and a large part of the answer."""


class TooLittleMemory(RewardModelUnavailable):
    """A model that does not fit into the memory that is free.

    Attributes:
        needs: What it needs and how much is free, in a sentence; the message also says how to score with less.
    """

    def __init__(self, needs: str, advice: str = "") -> None:
        super().__init__(f"{needs} {advice}".rstrip())
        self.needs = needs


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model.

    Attributes:
        total: All of them, those that two modules share counted once.
        quantizable: Those that 8 or 4 bits can hold: weights of linear layers outside of `KEPT_PRECISE`.
    """

    total: int
    quantizable: int

    def bytes_needed(self, dtype: torch.dtype, quantize: Quantization | None = None) -> int:
        """Return what the model takes while it scores, in bytes.

        Embeddings, norms, the output layer and the vision tower stay in `dtype`.
        """
        few_bits = self.quantizable if quantize else 0
        size = (self.total - few_bits) * dtype.itemsize
        if quantize:
            size += few_bits * QUANTIZED_BYTES[quantize]
        return int(size * ACTIVATIONS)


def count_parameters(config: Qwen3VLConfig) -> ParameterCount:
    """Count parameters from the configuration alone, by building the model without memory for it."""
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    model.tie_weights()
    total = sum(parameter.numel() for parameter in model.parameters())
    return ParameterCount(total, sum(weight.numel() for weight in _quantizable(model)))


def _quantizable(model: nn.Module) -> Iterator[nn.Parameter]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.startswith(KEPT_PRECISE):
            yield module.weight


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
    count: ParameterCount,
    device: torch.device,
    dtype: torch.dtype,
    quantize: Quantization | None = None,
) -> None:
    """Refuse to load what does not fit, instead of letting the system end this process.

    Raises:
        TooLittleMemory: It needs more than is free.
    """
    available = bytes_available(device)
    needed = count.bytes_needed(dtype, quantize)
    if available is None or needed <= available:
        return
    smaller: dict[str, Any] = {
        "dtype=bfloat16": count.bytes_needed(torch.bfloat16),
        "quantize=int8": count.bytes_needed(torch.bfloat16, "int8"),
        "quantize=int4": count.bytes_needed(torch.bfloat16, "int4"),
    }
    ways = ", ".join(f"{way} needs {gigabytes(size)}" for way, size in smaller.items())
    kind = quantize or str(dtype).removeprefix("torch.")
    raise TooLittleMemory(
        f"{name} ({count.total / 1e9:.1f} billion parameters as {kind}) needs {gigabytes(needed)} on "
        f"{device}, where {gigabytes(available)} are free.",
        f"Free memory, take a smaller model, or load it smaller: {ways} (for example "
        "checkpoint:FOLDER?quantize=int8, or --quantize int8).",
    )


def gigabytes(count: int) -> str:
    """Write a number of bytes for people.

    >>> gigabytes(8_880_000_000)
    '8.9 GB'
    """
    return f"{count / 1e9:.1f} GB"
