"""Find a checkpoint and load it, by transformers or by our own forward pass of small ones; the imports follow the choice."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from reward_models.model_options import Quantization
from reward_models.qwen3vl.checkpoint import (
    Checkpoint,
    check_folder,
    choose_dtype,
    find_checkpoint,
)
from reward_models.qwen3vl.plain import PlainQwen3VL, is_plain, load_plain
from roboreward_gym.errors import InvalidSetting

if TYPE_CHECKING:
    from transformers import Qwen3VLForConditionalGeneration

Library = Literal["transformers", "torch"]
"""What computes: transformers' Qwen3-VL, or `reward_models.qwen3vl.plain`, which needs torch alone."""


def open_checkpoint(
    source: Path | str,
    device: torch.device,
    dtype: torch.dtype | str | None,
    *,
    revision: str | None = None,
    offline: bool = False,
    attention: str | None = None,
    quantize: Quantization | None = None,
    library: Library = "transformers",
) -> "tuple[Checkpoint, Qwen3VLForConditionalGeneration | PlainQwen3VL]":
    """Return where a checkpoint lies, and its model; see `RoboReward` for the arguments.

    Raises:
        WeightsError: There is no such checkpoint, or it is incomplete or of another kind.
        RewardModelUnavailable: Too little memory for it.
        InvalidSetting: `torch` cannot compute this one, or not so.
    """
    if library == "torch":
        return _open_plain(source, device, dtype, attention, quantize)
    from reward_models.qwen3vl.loading import load_model, read_config
    from reward_models.qwen3vl.memory import check_memory, count_parameters

    # Its size is looked at before gigabytes of it are fetched.
    small = find_checkpoint(source, revision=revision, offline=offline, weights=False)
    check_folder(small.folder)
    count = count_parameters(read_config(small.folder))
    check_memory(small.name, count, device, choose_dtype(dtype, device, small.folder), quantize)
    checkpoint = find_checkpoint(source, revision=revision, offline=offline)
    model = load_model(
        checkpoint.folder, dtype, device=device, attention=attention, quantize=quantize
    )
    return checkpoint, model


def _open_plain(
    source: Path | str,
    device: torch.device,
    dtype: torch.dtype | str | None,
    attention: str | None,
    quantize: Quantization | None,
) -> tuple[Checkpoint, PlainQwen3VL]:
    checkpoint = find_checkpoint(source)
    check_folder(checkpoint.folder)
    if attention is not None or quantize is not None or not is_plain(checkpoint.folder):
        raise InvalidSetting(
            f"library='torch' computes small checkpoints without attention= or quantize=, and {checkpoint.name} is not "
            "loaded so. Pass library='transformers'."
        )
    precision = choose_dtype(dtype, device, checkpoint.folder)
    return checkpoint, load_plain(checkpoint.folder, precision, device)
