"""How much memory a fine-tuning needs on each GPU, from shapes alone: `roboreward train NAME --plan`.

Weights, gradients and moments are counted. Activations are estimated from the shapes of a layer; `benchmarks/train_step.py`
compares the sum with what a step takes.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from reward_models.training.adapters import is_adapted
from reward_models.training.config import LoraSettings, SftConfig
from reward_models.training.projector import is_of_tower

GPUS = (1, 2, 8)
CARDS_GB = (24, 40, 80, 141)
"""Memory of usual cards in [GB]."""
TOKENS = 620
"""Tokens of an example of 8 frames of 320x192: 240 visual ones, the prompt, the times of four pairs and the answer."""
PATCHES = 960
"""Patches of the same example."""
ANSWER_TOKENS = 6
"""Positions at which logits are computed: those of the answer and one before."""
OVERHEAD_BYTES = 1_500_000_000
"""CUDA's context, its libraries and fragments."""


@dataclass(frozen=True)
class Parts:
    """Parameters of a model.

    Attributes:
        tower: The frozen vision tower.
        trained: Language model and projector.
        root: Those of embedding and output, which FSDP gathers as a whole.
        layer: Those of one layer of the language model.
        adapters: Those of LoRA, if it is used.
    """

    tower: int
    trained: int
    root: int
    layer: int
    adapters: int


@dataclass(frozen=True)
class Need:
    """Bytes on each GPU."""

    method: str
    gpus: int
    weights: int
    gradients: int
    moments: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        parts = self.weights + self.gradients + self.moments + self.activations
        return parts + OVERHEAD_BYTES


def count_parts(config: Qwen3VLConfig, lora: LoraSettings) -> Parts:
    """Count parameters from a configuration, by building the model without memory for it."""
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    model.tie_weights()
    named = dict(model.named_parameters())  # tied ones once
    tower = sum(p.numel() for name, p in named.items() if is_of_tower(name))
    root = sum(
        p.numel() for name, p in named.items() if "embed_tokens" in name or "lm_head" in name
    )
    layer = sum(p.numel() for p in model.model.language_model.layers[0].parameters())
    adapters = sum(
        lora.rank * (module.in_features + module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and is_adapted(name)
    )
    everything = sum(p.numel() for p in named.values())
    return Parts(tower, everything - tower, root, layer, adapters)


def needs(config: Qwen3VLConfig, sft: SftConfig, *, cached: bool) -> list[Need]:
    """Return what each method needs on each number of GPUs.

    Args:
        config: Shapes of the model.
        sft: Settings; batch size, precision and checkpointing count.
        cached: Whether the frozen tower's output is read from disk, so that the tower is not there.
    """
    lora = sft.lora or LoraSettings()
    parts = count_parts(config, lora)
    if cached:
        parts = replace(parts, tower=0)
    activations = activation_bytes(config, sft)
    found = []
    for gpus in GPUS:
        found.append(_need("all weights", parts, gpus, sft, activations, adapters=False))
        found.append(_need("LoRA", parts, gpus, sft, activations, adapters=True))
    return found


def _need(
    method: str, parts: Parts, gpus: int, sft: SftConfig, activations: int, *, adapters: bool
) -> Need:
    wide = 2 if sft.precision == "bfloat16" else 4
    if adapters:
        # Frozen weights lie in bfloat16 unless all is float32; adapters as they are trained.
        frozen = 4 if sft.precision == "float32" else 2
        weights = frozen * (parts.tower + parts.trained) + wide * parts.adapters
        trained = parts.adapters
    else:
        weights, trained = wide * (parts.tower + parts.trained), parts.trained
    state = (weights, wide * trained, 2 * wide * trained)
    if gpus > 1:
        # FSDP: every state is divided; embedding and output, and two layers at a time, are whole meanwhile.
        half = 4 if sft.precision == "float32" else 2
        gathered = half * (parts.root + 2 * parts.layer)
        weights, gradients, moments = (size // gpus for size in state)
        return Need(f"{method}, FSDP", gpus, weights, gradients, moments, activations + gathered)
    copies = 2 * parts.trained if sft.precision == "mixed" and not adapters else 0
    # Autocast keeps a copy of every weight in half precision until the forward pass ends.
    return Need(method, gpus, *state, activations + copies)


def activation_bytes(config: Qwen3VLConfig, sft: SftConfig) -> int:
    """Estimate what the forward pass of one batch keeps for the backward pass, in bytes."""
    text, size = config.text_config, 4 if sft.precision == "float32" else 2
    tokens = TOKENS * sft.batch_size
    heads = (text.num_attention_heads + 2 * text.num_key_value_heads) * text.head_dim
    # Of one layer: inputs of both norms in float32 and of all matrices, queries, keys and values before and after their
    # norms and rotation, the attention's output, and four of the width of the feed-forward part.
    layer = tokens * (
        2 * 4 * text.hidden_size
        + size * (6 * text.hidden_size + 3 * heads + 4 * text.intermediate_size)
    )
    kept = size * tokens * text.hidden_size
    layers = text.num_hidden_layers
    stack = layers * kept + layer if sft.gradient_checkpointing else layers * layer
    # Logits, their float32 copy, its softmax and the gradients of both.
    logits = sft.batch_size * ANSWER_TOKENS * text.vocab_size * (size + 3 * 4)
    vision = config.vision_config
    tower = (
        size * PATCHES * sft.batch_size * (4 * vision.hidden_size + 2 * vision.intermediate_size)
    )
    projector = size * PATCHES * sft.batch_size * vision.hidden_size * 3
    return stack + logits + max(projector, tower)


def feature_bytes(config: Qwen3VLConfig, precision: str) -> int:
    """Return how much disk the tower's output of one clip takes, in bytes."""
    vision = config.vision_config
    rows = PATCHES * vision.hidden_size * (1 + len(vision.deepstack_visual_indexes))
    return rows * (2 if precision == "bfloat16" else 4)


def format_plan(name: str, config: Qwen3VLConfig, sft: SftConfig, *, cached: bool) -> str:
    """Write the plan as a table."""
    lora = sft.lora or LoraSettings()
    parts = count_parts(config, lora)
    lines = [
        f"{name}: {parts.trained / 1e9:.2f} billion parameters trained (language model and projector), "
        f"{parts.tower / 1e9:.2f} frozen (vision tower{', its output on disk' if cached else ''}); LoRA of rank "
        f"{lora.rank}: {parts.adapters / 1e9:.3f}.",
        f"{sft.batch_size} examples of {TOKENS} tokens at a time on each GPU, precision {sft.precision}, gradient "
        f"checkpointing {'on' if sft.gradient_checkpointing else 'off'}. GB on each GPU:",
        "",
        f"{'GPUs':>4}  {'method':<18} {'weights':>8} {'gradients':>10} {'moments':>8} {'activations':>12} "
        f"{'sum':>7}  smallest card",
    ]
    for need in needs(config, sft, cached=cached):
        numbers = (need.weights, need.gradients, need.moments, need.activations, need.total)
        weights, gradients, moments, activations, total = (f"{n / 1e9:.1f}" for n in numbers)
        fits = [card for card in CARDS_GB if need.total <= card * 1e9]
        card = f"{fits[0]} GB" if fits else "none"
        lines.append(
            f"{need.gpus:>4}  {need.method:<18} {weights:>8} {gradients:>10} {moments:>8} {activations:>12} "
            f"{total:>7}  {card}"
        )
    per_thousand = 1000 * feature_bytes(config, sft.precision) / 1e9
    lines += [
        "",
        f"--features DIR: {per_thousand:.1f} GB of disk for 1,000 clips. Each checkpoint: "
        f"{(3 if sft.precision != 'bfloat16' else 1.5) * 4 * parts.trained / 1e9:.0f} GB of disk with all weights.",
        "The sums are computed from shapes, not measured; activations are an estimate.",
    ]
    return "\n".join(lines) + "\n"
