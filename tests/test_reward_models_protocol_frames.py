import math

import numpy as np
import pytest
from transformers import Qwen3VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize
from transformers.video_utils import VideoMetadata

from reward_models.nano.model import build_processor
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, resized_size, sample_clip
from roboreward_gym import Clip
from roboreward_gym.errors import InvalidClip
from tests.tiny_vlm import random_clip


@pytest.fixture(scope="module")
def reference() -> Qwen3VLVideoProcessor:
    return build_processor(build_tokenizer(["put"])).video_processor


@pytest.mark.parametrize("fps", [0.5, 2.0, 5.0, 9.97, 30.0])
def test_frames_are_those_of_the_processor(reference: Qwen3VLVideoProcessor, fps: float) -> None:
    for total in (*range(2, 50), 120, 999):
        theirs = reference.sample_frames(VideoMetadata(total_num_frames=total, fps=fps))
        assert ROBOREWARD_PROTOCOL.frame_indices(total, fps).tolist() == theirs.tolist()


def test_first_and_last_frame_are_always_seen() -> None:
    for total in range(2, 60):
        indices = ROBOREWARD_PROTOCOL.frame_indices(total, 5.0)
        assert indices[0] == 0
        assert indices[-1] == total - 1


def test_an_episode_of_eight_seconds_shows_eight_frames() -> None:
    clip = sample_clip(random_clip(41))
    assert clip.indices.tolist() == [0, 6, 11, 17, 23, 29, 34, 40]
    assert clip.total == 41


@pytest.mark.parametrize("frames", [2, 3, 5, 41])
def test_group_times_are_those_of_the_processor(frames: int) -> None:
    processor = build_processor(build_tokenizer(["put"]))
    clip = sample_clip(random_clip(frames))
    theirs = processor._calculate_timestamps(clip.indices.tolist(), clip.fps)
    assert list(clip.group_times_s) == theirs


def test_sizes_are_those_of_the_processor() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        # Of an odd number of frames some versions round the half pair down; golden values say ours.
        n, height, width = 2 * int(rng.integers(1, 5)), *rng.integers(32, 700, 2).tolist()
        theirs = smart_resize(
            n,
            height,
            width,
            temporal_factor=2,
            factor=32,
            min_pixels=ROBOREWARD_PROTOCOL.min_pixels,
            max_pixels=ROBOREWARD_PROTOCOL.max_pixels,
        )
        assert resized_size(n, height, width) == theirs


def test_simulated_clips_need_no_resize() -> None:
    assert resized_size(8, 192, 256) == (192, 256)


def test_one_frame_is_refused() -> None:
    with pytest.raises(InvalidClip, match="at least 2 frames, this one has 1"):
        sample_clip(random_clip(1))


@pytest.mark.parametrize(("shape", "message"), [((31, 64), "32x32"), ((32, 6432), "aspect ratio")])
def test_frames_without_a_whole_token_are_refused(shape: tuple[int, int], message: str) -> None:
    clip = Clip(np.zeros((4, *shape, 3), np.uint8), "task", 5.0)
    with pytest.raises(InvalidClip, match=message):
        sample_clip(clip)


def test_budget_is_that_of_the_training_scripts() -> None:
    assert (ROBOREWARD_PROTOCOL.min_pixels, ROBOREWARD_PROTOCOL.max_pixels) == (200_704, 802_816)
    assert math.isclose(ROBOREWARD_PROTOCOL.fps, 2.0)
