import numpy as np
import pytest
import torch
from transformers import Qwen3VLProcessor

from reward_models.nano.model import build_processor
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.protocol.frames import OFFICIAL, Protocol, sample_clip
from reward_models.protocol.inputs import (
    InputBuilder,
    digit_tokens,
    matches_processor,
    processor_inputs,
    render_chat,
)
from reward_models.protocol.prompt import DIGITS
from roboreward_gym.errors import WeightsError
from tests.tiny_vlm import WORDS, random_clip

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


@pytest.mark.parametrize("prefix", ["ANSWER: ", ""])
@pytest.mark.parametrize("protocol", [OFFICIAL, Protocol(min_pixels=1, max_frames=5)])
def test_inputs_equal_those_of_the_processor_bit_for_bit(
    processor: Qwen3VLProcessor, protocol: Protocol, prefix: str
) -> None:
    clips = [sample_clip(clip, protocol) for clip in CLIPS]
    builder = InputBuilder(processor, protocol, prefix)
    for batch in (clips, clips[1:2]):
        ours = builder(batch)
        theirs = processor_inputs(processor, batch, protocol, prefix)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name].dtype == theirs[name].dtype
            assert torch.equal(ours[name], theirs[name]), name


def test_the_clip_itself_is_left_alone(processor: Qwen3VLProcessor) -> None:
    clip = sample_clip(random_clip(4))
    before = clip.frames.copy()
    InputBuilder(processor, OFFICIAL)([clip])
    np.testing.assert_array_equal(clip.frames, before)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("resample", 2), ("do_normalize", False), ("do_resize", False)],
)
def test_a_processor_that_works_otherwise_is_noticed(setting: str, value: object) -> None:
    processor = build_processor(build_tokenizer(WORDS))
    builder = InputBuilder(processor, OFFICIAL)
    assert matches_processor(builder, processor, OFFICIAL)
    setattr(processor.video_processor, setting, value)
    assert not matches_processor(InputBuilder(processor, OFFICIAL), processor, OFFICIAL)


def test_other_means_are_followed_too() -> None:
    processor = build_processor(build_tokenizer(WORDS))
    processor.video_processor.image_mean = [0.48, 0.45, 0.40]
    processor.video_processor.image_std = [0.26, 0.26, 0.27]
    assert matches_processor(InputBuilder(processor, OFFICIAL), processor, OFFICIAL)


def test_a_template_without_a_video_is_an_error() -> None:
    processor = build_processor(build_tokenizer(WORDS))
    processor.chat_template = "{% for message in messages %}{{ message.role }}{% endfor %}"
    with pytest.raises(WeightsError, match="chat template"):
        InputBuilder(processor, OFFICIAL)([sample_clip(random_clip(4))])


def test_the_chat_is_one_turn_with_text_before_video(processor: Qwen3VLProcessor) -> None:
    assert render_chat(processor, "question") == (
        "<|im_start|>user\nquestion<|vision_start|><|video_pad|><|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_tokenizer_that_joins_digits_is_refused() -> None:
    joined = [f"ANSWER: {digit}" for digit in DIGITS]
    processor = build_processor(build_tokenizer(WORDS, lines=joined))
    with pytest.raises(WeightsError, match=r"one token after 'ANSWER: '.*splits digits"):
        digit_tokens(processor)
