"""What a model is fed: frozen by golden values, and equal to the reference processor where that lays prompts out as then."""

import hashlib
import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLProcessor
from transformers import __version__ as transformers_version

from benchmarks.random_checkpoint import SHAPES, build_config, qwen3_tokenizer
from benchmarks.random_checkpoint import build_model as build_published
from reward_models.nano import WEIGHTS
from reward_models.nano.model import build_processor
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.protocol.frames import (
    ROBOREWARD_PROTOCOL,
    SampledClip,
    VideoProtocol,
    sample_clip,
)
from reward_models.protocol.inputs import InputBuilder, clip_patches
from reward_models.protocol.prompt import DIGITS, build_prompt, render_chat
from reward_models.protocol.tokens import PromptTokenizer
from reward_models.qwen3vl.reference import (
    EXAMPLES,
    processor_differences,
    processor_inputs,
    settings_differences,
)
from roboreward_gym.errors import WeightsError
from tests.tiny_vlm import WORDS, random_clip, write_tiny_checkpoint

GOLDEN = Path(__file__).parent / "golden" / "inputs.json"
"""Made by transformers 5.5.4, which lays prompts out as 4.57.1 does; see `golden_values`."""

CLIPS = [
    random_clip(41, size=(192, 320)),
    random_clip(7, size=(64, 48), task="Put the duck on the towel.", fps=9.97),
    random_clip(3, size=(96, 96), task="open the left drawer, please: it is stuck!"),
    random_clip(2, size=(40, 200), task="öffne 12 Schubladen", fps=0.5),
    random_clip(120, size=(480, 640), fps=30.0),
]


@pytest.fixture(scope="module")
def processor() -> Qwen3VLProcessor:
    return build_processor(build_tokenizer(WORDS))


@pytest.fixture(scope="module")
def tokenizer(processor: Qwen3VLProcessor) -> PromptTokenizer:
    return PromptTokenizer(processor.tokenizer.backend_tokenizer)


def golden_values(tokenizer: PromptTokenizer) -> list[dict[str, object]]:
    """Token ids, rotary positions and pixel values of each clip, the last as rounded samples and a hash."""
    found = []
    for clip in CLIPS:
        inputs = InputBuilder(tokenizer)([sample_clip(clip)])
        pixels = inputs["pixel_values_videos"].numpy()
        levels = np.round(pixels * 127.5 + 127.5).astype(np.uint8)
        found.append(
            {
                "input_ids": inputs["input_ids"][0].tolist(),
                "last_position": inputs["position_ids"][:, 0, -1].tolist(),
                "positions_sha256": sha256(inputs["position_ids"].numpy()),
                "grid": inputs["video_grid_thw"][0].tolist(),
                "pixels_sha256": sha256(levels),
                "first_pixels": pixels[0, :6].round(6).tolist(),
            }
        )
    return found


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def test_nanos_inputs_are_the_golden_ones() -> None:
    found = golden_values(PromptTokenizer.from_folder(WEIGHTS))
    golden = json.loads(GOLDEN.read_text("utf-8"))["nano"]
    assert found == golden


def test_inputs_with_the_published_tokenizer_are_the_golden_ones() -> None:
    found = golden_values(PromptTokenizer(qwen3_tokenizer().backend_tokenizer))
    golden = json.loads(GOLDEN.read_text("utf-8"))["qwen3"]
    assert found == golden


def test_each_time_stamp_has_one_pair_of_vision_tokens(tokenizer: PromptTokenizer) -> None:
    ids = InputBuilder(tokenizer)([sample_clip(CLIPS[0])])["input_ids"][0]
    for token in (tokenizer.vision_start, tokenizer.vision_end):
        assert (ids == token).sum() == 4


@pytest.mark.parametrize("prefix", ["ANSWER: ", ""])
@pytest.mark.parametrize(
    "protocol", [ROBOREWARD_PROTOCOL, VideoProtocol(min_pixels=1, max_frames=5)]
)
def test_inputs_equal_those_of_the_processor_bit_for_bit(
    processor: Qwen3VLProcessor, tokenizer: PromptTokenizer, protocol: VideoProtocol, prefix: str
) -> None:
    skip_unless_the_processor_agrees(processor)
    clips = [sample_clip(clip, protocol) for clip in CLIPS]
    builder = InputBuilder(tokenizer, protocol, prefix)
    for batch in (clips, clips[1:2]):
        ours = builder(batch)
        theirs = processor_inputs(processor, batch, protocol, prefix)
        shown = ours["attention_mask"].bool()
        for name in ("attention_mask", "pixel_values_videos", "video_grid_thw"):
            assert ours[name].dtype == theirs[name].dtype
            assert torch.equal(ours[name], theirs[name]), name
        assert torch.equal(ours["input_ids"][shown], theirs["input_ids"][shown])


def skip_unless_the_processor_agrees(processor: Qwen3VLProcessor) -> None:
    ids = processor_inputs(processor, EXAMPLES[:1])["input_ids"][0]
    pairs = int((ids == processor.vision_start_token_id).sum())
    if pairs != 2:
        pytest.skip(
            f"The processor of transformers {transformers_version} writes {pairs} pairs of vision tokens for two "
            "time stamps, another layout than RoboReward was trained with."
        )


def test_positions_are_those_that_the_model_computes(tokenizer: PromptTokenizer) -> None:
    published = PromptTokenizer(qwen3_tokenizer().backend_tokenizer)
    model = build_published(build_config(SHAPES["tiny"], qwen3_tokenizer()))
    inputs = InputBuilder(published)([sample_clip(clip) for clip in CLIPS[:4]])
    types = (inputs["input_ids"] == published.video_pad).long() * 2
    named = {"mm_token_type_ids": types}
    if "mm_token_type_ids" not in inspect.signature(model.model.get_rope_index).parameters:
        named = {}  # before 5.4 the model looks for the tokens itself
    theirs, _ = model.model.get_rope_index(
        inputs["input_ids"],
        **named,
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
    )
    shown = inputs["attention_mask"].bool()
    assert torch.equal(inputs["position_ids"][:, shown], theirs[:, shown])


def test_the_clip_itself_is_left_alone(tokenizer: PromptTokenizer) -> None:
    clip = sample_clip(random_clip(4))
    before = clip.frames.copy()
    InputBuilder(tokenizer)([clip])
    np.testing.assert_array_equal(clip.frames, before)


def test_pixels_lie_between_minus_one_and_one() -> None:
    black, white = (
        clip_patches(np.full((2, 256, 448, 3), value, np.uint8))[0] for value in (0, 255)
    )
    assert (black == -1).all()
    assert (white == 1).all()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_frames", 768),
        ("image_mean", [0.48, 0.45, 0.40]),
        ("size", {"shortest_edge": 1, "longest_edge": 802_816}),
    ],
)
def test_settings_that_differ_are_listed_and_not_followed(
    tmp_path: Path, setting: str, value: object
) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    assert settings_differences(folder) == []
    before = InputBuilder(PromptTokenizer.from_folder(folder))(EXAMPLES)
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["video_processor"][setting] = value
    (folder / "processor_config.json").write_text(json.dumps(settings))
    (difference,) = settings_differences(folder)
    assert difference.startswith("shortest_edge is 1" if setting == "size" else f"{setting} is ")
    after = InputBuilder(PromptTokenizer.from_folder(folder))(EXAMPLES)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"video_processor": 3}'])
def test_settings_that_cannot_be_read_are_no_difference(tmp_path: Path, content: str) -> None:
    (tmp_path / "processor_config.json").write_text(content)
    assert settings_differences(tmp_path) == []


def test_a_processor_that_makes_other_inputs_is_reported(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    template = folder / "chat_template.jinja"
    assert template.is_file()
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["video_processor"]["image_mean"] = [0.4, 0.4, 0.4]
    (folder / "processor_config.json").write_text(json.dumps(settings))
    assert processor_differences(folder)


def test_a_processor_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    (folder / "processor_config.json").write_text("{")
    (difference,) = processor_differences(folder)
    assert difference.startswith("it makes none: ")


def test_the_chat_is_one_turn_with_text_before_video(processor: Qwen3VLProcessor) -> None:
    head, tail = render_chat("question")
    assert head == "<|im_start|>user\nquestion"
    assert tail == "<|im_end|>\n<|im_start|>assistant\n"


def test_the_chat_is_that_of_the_template_of_qwen3_vl(processor: Qwen3VLProcessor) -> None:
    question = build_prompt("put the duck on the towel")
    content = [{"type": "text", "text": question}, {"type": "video"}]
    theirs = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert theirs == "<|vision_start|><|video_pad|><|vision_end|>".join(render_chat(question))


def test_a_tokenizer_that_joins_digits_is_refused() -> None:
    joined = [f"ANSWER: {digit}" for digit in DIGITS]
    tokenizer = build_tokenizer(WORDS, lines=joined)
    with pytest.raises(WeightsError, match=r"one token after 'ANSWER: '.*splits digits"):
        PromptTokenizer(tokenizer.backend_tokenizer)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    content = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(content.replace("<|video_pad|>", "<video>"))
    with pytest.raises(WeightsError, match=r"no reserved token '<\|video_pad\|>'"):
        PromptTokenizer.from_folder(folder)


@pytest.mark.parametrize("content", ["", "{", '{"version": "1.0"}'])
def test_a_tokenizer_file_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(WeightsError, match=r"tokenizer.json cannot be read"):
        PromptTokenizer.from_folder(tmp_path)


def test_padding_that_a_trainer_saved_is_ignored(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    before = PromptTokenizer.from_folder(folder).encode("put the duck")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["padding"] = {
        "strategy": {"Fixed": 50},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|endoftext|>",
    }
    content["truncation"] = {
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
        "direction": "Right",
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert PromptTokenizer.from_folder(folder).encode("put the duck") == before


def test_left_padding_moves_no_position(tokenizer: PromptTokenizer) -> None:
    clips: list[SampledClip] = [sample_clip(clip) for clip in CLIPS[:2]]
    builder = InputBuilder(tokenizer)
    together, alone = builder(clips), builder(clips[1:])
    count = alone["input_ids"].shape[1]
    assert together["input_ids"].shape[1] > count
    assert torch.equal(together["position_ids"][:, 1, -count:], alone["position_ids"][:, 0])
