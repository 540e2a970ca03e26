"""The forward pass of Qwen3-VL in plain torch, for small checkpoints: nano answers before transformers is imported.

Importing transformers' Qwen3-VL takes several times as long as torch itself. These modules have the same names, hence the same
weight files, and compute the same operations in the same order, so that scores are the same; the tests compare both. What is
left out: training, generation, caches, quantization, attention other than torch's own, and every variant that no Qwen3-VL of
ours has. `is_plain` says which checkpoints qualify; all others go through transformers.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from reward_models.protocol.frames import MERGE, PATCH, TEMPORAL_PATCH
from reward_models.qwen3vl.checkpoint import ADVICE, check_weight_files, read_json
from reward_models.qwen3vl.plain_text import TextModel
from reward_models.qwen3vl.plain_vision import VisionModel
from roboreward_gym.errors import WeightsError

LARGEST_BYTES = 100_000_000
"""Weight files above this take longer to read than transformers to import."""
WEIGHTS = "model.safetensors"
VISION_KEYS = ("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size",
               "num_position_embeddings", "in_channels")  # fmt: skip
TEXT_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
             "head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps")  # fmt: skip


def is_plain(folder: Path) -> bool:
    """Whether a checkpoint is small, in one file, and of the one variant that is written here."""
    file = folder / WEIGHTS
    if not file.is_file() or file.stat().st_size > LARGEST_BYTES:
        return False
    config = read_json(folder / "config.json")
    vision, text = config.get("vision_config") or {}, config.get("text_config") or {}
    rope = text.get("rope_parameters") or {}
    return (
        all(isinstance(vision.get(key), int) for key in VISION_KEYS)
        and all(isinstance(text.get(key), int | float) for key in TEXT_KEYS)
        and (vision.get("patch_size"), vision.get("temporal_patch_size"), vision.get("spatial_merge_size"))
        == (PATCH, TEMPORAL_PATCH, MERGE)
        and vision.get("deepstack_visual_indexes") == []
        and (vision.get("hidden_act"), text.get("hidden_act")) == ("gelu_pytorch_tanh", "silu")
        and text.get("attention_bias") is False
        and (rope.get("rope_type"), rope.get("mrope_interleaved")) == ("default", True)
        and len(rope.get("mrope_section") or ()) == 3
        and isinstance(config.get("video_token_id"), int)
    )  # fmt: skip


def load_plain(folder: Path, dtype: torch.dtype, device: torch.device) -> "PlainQwen3VL":
    """Load a checkpoint that `is_plain`.

    Raises:
        WeightsError: Weights are missing, cut off, or of another shape.
    """
    check_weight_files(folder)
    # On the device `meta` nothing would be drawn, but torch imports its compiler to do so.
    with torch.random.fork_rng(devices=[]):
        model = PlainQwen3VL(_namespace(read_json(folder / "config.json")))
    weights = {name: w.to(device, dtype) for name, w in load_file(folder / WEIGHTS).items()}
    try:
        missing = set(model.load_state_dict(weights, strict=False, assign=True).missing_keys)
    except RuntimeError as error:  # shapes that do not fit
        raise WeightsError(f"The weights in {folder} cannot be read: {error}. {ADVICE}") from error
    if model.config.tie_word_embeddings:
        model.lm_head.weight = model.model.language_model.embed_tokens.weight
        missing.discard("lm_head.weight")
    if missing:
        raise WeightsError(
            f"{folder} has no weights for {sorted(missing)[:3]} ({len(missing)} missing). {ADVICE}"
        )
    return model


class PlainQwen3VL(nn.Module):
    """Both halves and the output layer.

    Args:
        config: That of the checkpoint.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        config.text_config._attn_implementation = "sdpa"
        text = config.text_config
        self.model = Halves(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Their precision."""
        return self.lm_head.weight.dtype


class Halves(nn.Module):
    """The vision tower and the language model."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.visual = VisionModel(config.vision_config)
        self.language_model = TextModel(config.text_config)


def _namespace(config: Any) -> SimpleNamespace:
    """The configuration with attributes, as transformers' has them; rotary settings stay a mapping."""
    halves = {k: SimpleNamespace(**config[k]) for k in ("vision_config", "text_config")}
    tied = bool(config.get("tie_word_embeddings"))
    return SimpleNamespace(**{**config, **halves, "tie_word_embeddings": tied})
