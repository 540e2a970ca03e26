"""The faults of a reward model in this process: whatever goes wrong ends in an error or an unreadable score, never in a number."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BatchFeature

from reward_models.qwen3vl.forward import VideoFeatures
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip, ProgressScore
from roboreward_gym.errors import InvalidClip, RewardModelFailure, RoboRewardError
from tests.tiny_vlm import SMALL_CLIPS, TASK, random_clip, write_tiny_checkpoint

FRAMES = random_clip(4).frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def shared(folder: Path) -> RoboReward:
    return RoboReward(folder, device="cpu", protocol=SMALL_CLIPS, off_format_limit=1.0)


@pytest.fixture
def model(shared: RoboReward) -> Iterator[RoboReward]:
    """The same reward model for each test, whole again afterwards."""
    next_token = shared._next_token
    shared.batch_size = 8
    yield shared
    shared._next_token = next_token
    shared.off_format_limit = 1.0
    shared.decode = "logits"


def answer_with(model: RoboReward, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Let the model's logits pass through a function."""
    next_token = model._next_token
    model._next_token = lambda inputs, videos: change(next_token(inputs, videos))


def run_out_of_memory(model: RoboReward, most: int, error: type[Exception]) -> list[int]:
    """Let the model fail on batches above `most` clips; return the sizes of those that it was given."""
    next_token, sizes = model._next_token, []

    def limited(inputs: BatchFeature, videos: list[VideoFeatures]) -> torch.Tensor:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > most:
            raise error("out of memory: tried to allocate 8 GiB")
        return next_token(inputs, videos)

    model._next_token = limited
    return sizes


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (FRAMES[:0], "T >= 1"),
        (FRAMES[:1], "at least 2 frames, this one has 1"),
        (FRAMES[..., :1], "RGB"),
        (FRAMES[..., 0], r"\(T, H, W, 3\)"),
        (FRAMES[..., [0, 1, 2, 2]], "RGB"),
        (FRAMES.astype(np.float32) / 255, "uint8"),
        (FRAMES.astype(np.int64), "uint8"),
        (FRAMES.transpose(0, 3, 1, 2), r"\(T, H, W, 3\)"),
        (list(FRAMES), "NumPy array"),
        (FRAMES[:, :16], "32x32"),
        (np.zeros((2, 32, 32 * 201, 3), np.uint8), "aspect ratio"),
    ],
    ids=[
        "empty",
        "one-frame",
        "one-channel",
        "no-channel",
        "four-channels",
        "floats",
        "integers",
        "channels-first",
        "list",
        "tiny",
        "narrow",
    ],
)
def test_frames_that_no_model_can_read_are_refused(
    model: RoboReward, frames: Any, message: str
) -> None:
    with pytest.raises(InvalidClip, match=message):
        model.score([Clip(frames, TASK, 5.0)])


@pytest.mark.parametrize("fps", [0.0, -5.0, float("nan"), float("inf")])
def test_an_impossible_frame_rate_is_refused(model: RoboReward, fps: float) -> None:
    with pytest.raises(InvalidClip, match="above 0 Hz"):
        model.score([Clip(FRAMES, TASK, fps)])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("", "task is empty"),
        (" \n", "task is empty"),
        (None, "of type NoneType, not text"),
        ("done <|im_end|>", "reserved token '<|im_end|>'"),
        ("<|video_pad|>", "reserved token '<|video_pad|>'"),
        ("put the \ud800 down", "not Unicode text"),
        ("put the duck " * 1000, "more than the limit of 2048"),
    ],
)
def test_a_task_that_the_prompt_cannot_hold_is_refused(
    model: RoboReward, task: Any, message: str
) -> None:
    with pytest.raises(InvalidClip) as caught:
        model.score([Clip(FRAMES, task, 5.0)])
    assert message in str(caught.value)


@pytest.mark.parametrize("clips", [[FRAMES], ["clip"], [None]], ids=["array", "text", "none"])
def test_what_is_no_clip_is_refused(model: RoboReward, clips: list[Any]) -> None:
    with pytest.raises(InvalidClip, match="list of clips"):
        model.score(clips)


def test_one_bad_clip_spoils_the_call_and_not_just_its_score(model: RoboReward) -> None:
    with pytest.raises(InvalidClip):
        model.score([random_clip(4), random_clip(1), random_clip(4)])


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * float("nan"),
        lambda x: x + float("inf"),
        lambda x: torch.full_like(x, float("-inf")),
    ],
    ids=["nan", "inf", "nothing"],
)
@pytest.mark.parametrize("limit", [0.5, 1.0])
def test_logits_without_meaning_are_unreadable(
    model: RoboReward, change: Callable[[torch.Tensor], torch.Tensor], limit: float
) -> None:
    model.off_format_limit = limit
    answer_with(model, change)
    assert_unreadable(model.score([random_clip(4)])[0])


def test_one_clip_with_nan_leaves_the_others_readable(model: RoboReward) -> None:
    def spoil(logits: torch.Tensor) -> torch.Tensor:
        logits = logits.clone()
        logits[1] = float("nan")
        return logits

    answer_with(model, spoil)
    first, second, third = model.score([random_clip(4, seed=s) for s in range(3)])
    assert_unreadable(second)
    assert first.readable
    assert third.readable


def test_no_mass_on_the_digits_is_unreadable_even_without_a_limit(model: RoboReward) -> None:
    digits = model._digits

    def forbid(logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, digits, float("-inf"))

    answer_with(model, forbid)
    assert_unreadable(model.score([random_clip(4)])[0])


def test_an_answer_off_the_format_is_unreadable(model: RoboReward) -> None:
    model.off_format_limit = 0.5
    answer_with(model, lambda x: x.index_fill(-1, torch.tensor([65]), 1e3))
    score = model.score([random_clip(4)])[0]
    assert score.level is None
    assert score.off_format == pytest.approx(1.0)
    assert score.text.startswith("ANSWER: ")


@pytest.mark.parametrize(
    "reply", ["", "I cannot tell.", "ANSWER: 7", "ANSWER: 4.5", "ANSWER:", "-1"]
)
def test_a_reply_without_a_level_is_unreadable(
    model: RoboReward, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    model.decode = "text"
    monkeypatch.setattr(model, "_replies", lambda inputs: [reply] * len(inputs["input_ids"]))
    score = model.score([random_clip(4)])[0]
    assert score.level is None
    assert score.text == reply


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_batch_too_large_for_the_memory_is_halved(
    model: RoboReward, error: type[Exception]
) -> None:
    clips = [random_clip(4, seed=seed) for seed in range(5)]
    expected = [score.level for score in model.score(clips)]
    sizes = run_out_of_memory(model, 2, error)
    assert [score.level for score in model.score(clips)] == expected
    assert sizes == [5, 2, 3, 1, 2]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_no_memory_for_one_clip_is_an_error(model: RoboReward, error: type[Exception]) -> None:
    run_out_of_memory(model, 0, error)
    with pytest.raises(RewardModelFailure, match=r"for one clip of 4x32x64x3.*tried to allocate"):
        model.score([random_clip(4), random_clip(4)])


def test_an_error_inside_the_model_is_passed_on(model: RoboReward) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: device-side assert triggered")

    model._next_token = broken
    with pytest.raises(RuntimeError, match="device-side assert"):
        model.score([random_clip(4)])


def test_mixed_sizes_lengths_and_rates_keep_their_order(model: RoboReward) -> None:
    clips = [
        random_clip(4, seed=1),
        random_clip(9, seed=2, size=(96, 64)),
        random_clip(4, seed=3, fps=0.1),
        random_clip(2, seed=4, size=(33 // 8 * 8, 200)),
        random_clip(4, seed=5),
    ]
    for clip, score in zip(clips, model.score(clips), strict=True):
        assert score.manifest["frames_total"] == len(clip.frames)
        assert score.manifest["frame_size"] == list(clip.frames.shape[1:3])
        assert score.level == model.score([clip])[0].level


def test_a_very_long_clip_costs_what_eight_frames_cost(model: RoboReward) -> None:
    frames = np.broadcast_to(FRAMES[:1], (100_000, *FRAMES.shape[1:]))
    manifest = model.score([Clip(frames, TASK, 30.0)])[0].manifest
    assert len(manifest["frame_indices"]) == 8
    assert manifest["frame_indices"][-1] == 99_999


def test_a_huge_frame_is_brought_into_the_budget(model: RoboReward) -> None:
    frames = np.zeros((2, 2160, 3840, 3), np.uint8)
    manifest = model.score([Clip(frames, TASK, 5.0)])[0].manifest
    height, width = manifest["resized_to"]
    assert 2 * height * width <= model.protocol.max_pixels


def test_every_error_of_the_list_is_ours() -> None:
    assert issubclass(InvalidClip, RoboRewardError)
    assert issubclass(RewardModelFailure, RoboRewardError)


def assert_unreadable(score: ProgressScore) -> None:
    assert score.level is None
    assert score.probabilities is None
    assert np.isnan(score.expected)
    assert np.isnan(score.success_probability)
