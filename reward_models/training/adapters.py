"""LoRA by peft: adapters in every linear layer that would be trained."""

import importlib.util
import re
from typing import Any

from transformers import Qwen3VLForConditionalGeneration

from reward_models.training.config import LoraSettings
from roboreward_gym.errors import RewardModelUnavailable, install_advice

LINEAR_LAYERS = (
    r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
    r"|.*visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]"
)
"""Those of the language model and of the projector, by their names."""


def is_adapted(name: str) -> bool:
    """Whether a module of this name gets an adapter."""
    return re.fullmatch(LINEAR_LAYERS, name) is not None


def add_adapters(
    model: Qwen3VLForConditionalGeneration, settings: LoraSettings, *, one_type: bool
) -> Any:
    """Wrap a model so that only its adapters are trained.

    Args:
        model: The model.
        settings: Size of the adapters.
        one_type: Keep adapters in the precision of the weights, as FSDP wants it; else in float32.

    Raises:
        RewardModelUnavailable: peft is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise RewardModelUnavailable(f"LoRA needs peft. {install_advice('train')}")
    from peft import LoraConfig, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=LINEAR_LAYERS,
        ),
        autocast_adapter_dtype=not one_type,
    )
