"""The two halves of a forward pass give what the model's own forward gives; a shared video is encoded once."""

import numpy as np
import pytest
import torch

from reward_models.protocol.frames import sample_clip
from reward_models.qwen3vl.forward import encode_videos, next_token_logits
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip
from tests.tiny_vlm import SMALL_CLIPS, probabilities_of, random_clip, write_tiny_checkpoint

TASKS = (
    "put the duck on the towel",
    "open the left drawer",
    "put the red one on the towel, please",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RoboReward:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
    return RoboReward(folder, device="cpu", protocol=SMALL_CLIPS, off_format_limit=1.0)


def test_two_halves_equal_the_whole(model: RoboReward) -> None:
    clips = [
        sample_clip(random_clip(n, seed=n, task=t)) for n, t in zip((9, 4, 30), TASKS, strict=True)
    ]
    inputs = model.prepare(clips)
    with torch.inference_mode():
        whole = model.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]
        grids = [tuple(grid) for grid in inputs["video_grid_thw"].tolist()]
        sizes = [t * h * w for t, h, w in grids]
        videos = encode_videos(model.model, inputs["pixel_values_videos"].split(sizes), grids)
        halves = next_token_logits(model.model, inputs, videos)
    torch.testing.assert_close(halves, whole, rtol=0, atol=0)


def test_deepstack_features_reach_their_layers(model: RoboReward) -> None:
    """nano has none; the 4B and 8B have three."""
    clip = sample_clip(random_clip(6))
    inputs = model.prepare([clip])
    grid = tuple(inputs["video_grid_thw"][0].tolist())
    with torch.inference_mode():
        (video,) = encode_videos(model.model, [inputs["pixel_values_videos"]], [grid])
        plain = next_token_logits(model.model, inputs, [video])
        deep = type(video)(video.tokens, (torch.ones_like(video.tokens),))
        changed = next_token_logits(model.model, inputs, [deep])
    assert not torch.equal(plain, changed)


def calls_of_the_tower(model: RoboReward, clips: list[Clip]) -> tuple[int, list[np.ndarray]]:
    """Videos that the tower saw, and the probabilities."""
    seen: list[int] = []
    hook = model.model.model.visual.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(len(kwargs["grid_thw"])), with_kwargs=True
    )
    scores = model.score(clips)
    hook.remove()
    return sum(seen), [probabilities_of(score) for score in scores]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_tasks_about_one_video_share_its_features(model: RoboReward, batch_size: int) -> None:
    first, second = random_clip(9, seed=1), random_clip(9, seed=2)
    clips = [Clip(v.frames, task, v.fps) for task in TASKS for v in (first, second)]
    alone = [probabilities_of(model.score([clip])[0]) for clip in clips]
    model.batch_size = batch_size
    count, together = calls_of_the_tower(model, clips)
    model.batch_size = 1
    assert count == 2
    tolerance = {"rtol": 0, "atol": 0 if batch_size == 1 else 1e-6}
    np.testing.assert_allclose(together, alone, **tolerance)


def test_equal_frames_at_another_rate_are_another_question(model: RoboReward) -> None:
    frames = random_clip(30).frames
    slow, fast = Clip(frames, TASKS[0], 2.0), Clip(frames, TASKS[0], 30.0)
    a, b = model.score([slow, fast])
    assert a.manifest["frame_indices"] != b.manifest["frame_indices"]
    np.testing.assert_array_equal(probabilities_of(b), probabilities_of(model.score([fast])[0]))
