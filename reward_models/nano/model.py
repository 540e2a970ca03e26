"""nano's architecture and its folder on disk: a real Qwen3-VL, only smaller."""

import shutil
from pathlib import Path

import torch
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from reward_models.nano import tokenizer as tokens
from reward_models.nano.config import NanoSize
from reward_models.protocol.frames import MERGE, PATCH, ROBOREWARD_PROTOCOL, TEMPORAL_PATCH

VOCABULARY_MULTIPLE = 64


def build_config(size: NanoSize, tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """Describe a Qwen3-VL of this size that fits the tokenizer."""
    head = size.width // size.heads
    pairs = head // 2
    side = pairs * 5 // 16
    ids = tokenizer.convert_tokens_to_ids
    vocabulary = -(-len(tokenizer) // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
    return Qwen3VLConfig(
        text_config={
            "hidden_size": size.width,
            "intermediate_size": size.width * size.expansion,
            "num_hidden_layers": size.depth,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.heads,
            "head_dim": head,
            "vocab_size": vocabulary,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                # Time, height and width share the rotary pairs, as in Qwen3-VL (24, 20, 20 of 64).
                "mrope_section": [pairs - 2 * side, side, side],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            # The usual 0.02 suits a width of 2500; at 128 it leaves attention flat for a thousand steps.
            "initializer_range": round(size.width**-0.5, 4),
            "eos_token_id": ids(tokens.END_OF_TURN),
            "pad_token_id": ids(tokens.END_OF_TEXT),
        },
        vision_config={
            "depth": size.vision_depth,
            "hidden_size": size.vision_width,
            "intermediate_size": size.vision_width * size.expansion,
            "num_heads": size.vision_heads,
            "out_hidden_size": size.width,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": TEMPORAL_PATCH,
            "num_position_embeddings": 256,
            # The tower is trained through its last layer; deepstack features would stay untrained.
            "deepstack_visual_indexes": [],
        },
        image_token_id=ids(tokens.IMAGE_PAD),
        video_token_id=ids(tokens.VIDEO_PAD),
        vision_start_token_id=ids(tokens.VISION_START),
        vision_end_token_id=ids(tokens.VISION_END),
        tie_word_embeddings=True,
    )


def build_processor(tokenizer: Qwen2Tokenizer) -> Qwen3VLProcessor:
    """Make the processor class of the 4B and 8B with RoboReward's frame and pixel budget."""
    shared = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": TEMPORAL_PATCH}
    normal = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    budget = {
        "shortest_edge": ROBOREWARD_PROTOCOL.min_pixels,
        "longest_edge": ROBOREWARD_PROTOCOL.max_pixels,
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**shared, **normal),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(
            **shared,
            **normal,
            size=budget,
            fps=int(ROBOREWARD_PROTOCOL.fps),
            min_frames=ROBOREWARD_PROTOCOL.min_frames,
            max_frames=ROBOREWARD_PROTOCOL.max_frames,
        ),
        chat_template=tokenizer.chat_template,
    )


def build_model(config: Qwen3VLConfig, seed: int) -> Qwen3VLForConditionalGeneration:
    """Make a model with fresh weights; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3VLForConditionalGeneration(config)


def save(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, folder: Path) -> None:
    """Write a complete Hugging Face folder with weights in half precision.

    The folder gets its name when it is whole: whoever finds it, finds all of it.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    half = Qwen3VLForConditionalGeneration(model.config).to(torch.float16)
    half.load_state_dict({k: v.to(torch.float16) for k, v in model.state_dict().items()})
    half.save_pretrained(partial)
    processor.save_pretrained(partial)
    partial.replace(folder)


def describe(model: Qwen3VLForConditionalGeneration) -> dict[str, int]:
    """Count parameters, for the model card."""
    total = sum(p.numel() for p in model.parameters())
    vision = sum(p.numel() for p in model.model.visual.parameters())
    return {"parameters": total, "vision_parameters": vision, "language_parameters": total - vision}
