"""The sizes of the published Qwen3-VL models, for what must be known before anything is fetched."""

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import Qwen3VLConfig

VOCABULARY = 151_936
"""Rows of the embedding, more than there are tokens."""
RESERVED_IDS = {
    "<|endoftext|>": 151_643,
    "<|im_end|>": 151_645,
    "<|vision_start|>": 151_652,
    "<|vision_end|>": 151_653,
    "<|image_pad|>": 151_655,
    "<|video_pad|>": 151_656,
}
"""Ids of reserved tokens in the published vocabulary."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen3-VL."""

    width: int
    """Width of the language model."""
    depth: int
    """Layers of the language model."""
    expanded: int
    """Width of its feed-forward layers."""
    heads: int
    """Attention heads."""
    key_heads: int
    """Heads of keys and values."""
    head: int
    """Width of a head."""
    vision_width: int
    """Width of the vision tower."""
    vision_depth: int
    """Layers of the vision tower."""
    vision_expanded: int
    """Width of its feed-forward layers."""
    vision_heads: int
    """Attention heads of the vision tower."""
    taps: tuple[int, ...]
    """Layers of the tower whose output goes into the first layers of the language model too."""
    tied: bool
    """Whether the output shares the embedding's weights."""


PUBLISHED_SHAPES = {
    "8b": Shape(4096, 36, 12_288, 32, 8, 128, 1152, 27, 4304, 16, (8, 16, 24), tied=False),
    "4b": Shape(2560, 36, 9728, 32, 8, 128, 1024, 24, 4096, 16, (5, 11, 17), tied=True),
}
"""Public configurations of Qwen3-VL."""


def shape_config(shape: Shape, ids: Mapping[str, int] = RESERVED_IDS) -> Qwen3VLConfig:
    """Describe a Qwen3-VL of this shape with the published vocabulary."""
    side = shape.head // 2 * 5 // 16
    return Qwen3VLConfig(
        text_config={
            "hidden_size": shape.width,
            "intermediate_size": shape.expanded,
            "num_hidden_layers": shape.depth,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_heads,
            "head_dim": shape.head,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 262_144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": [shape.head // 2 - 2 * side, side, side],
                "mrope_interleaved": True,
            },
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": shape.tied,
        },
        vision_config={
            "depth": shape.vision_depth,
            "hidden_size": shape.vision_width,
            "intermediate_size": shape.vision_expanded,
            "num_heads": shape.vision_heads,
            "out_hidden_size": shape.width,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": list(shape.taps),
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=shape.tied,
    )
