"""The two halves of a forward pass give what the model's own forward gives; shared frames are encoded once."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch

from reward_models.protocol.frames import sample_clip
from reward_models.qwen3vl.forward import VideoFeatures, encode_videos, next_token_logits
from reward_models.qwen3vl.patch_features import encoded_clip, patch_keys
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip, load_reward_model
from tests.tiny_vlm import SMALL_CLIPS, probabilities_of, random_clip, write_tiny_checkpoint

ROUNDING = 5e-6
"""Matrix products over a few rows are added up in another order than over many; of nano's size they are not."""

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


def test_scores_are_those_of_the_models_own_forward(model: RoboReward) -> None:
    clips = [random_clip(n, seed=n, task=t) for n, t in zip((9, 5, 30), TASKS, strict=True)]
    for clip, score in zip(clips, model.score(clips), strict=True):
        inputs = model.prepare([sample_clip(clip)])
        with torch.inference_mode():
            logits = model.model(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1]
        whole = logits.double()[model._digits].softmax(-1)
        np.testing.assert_allclose(probabilities_of(score), whole, rtol=0, atol=ROUNDING)


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


def seen_by_the_tower(model: RoboReward, clips: list[Clip]) -> tuple[int, list[np.ndarray]]:
    """How many temporal patches the tower saw, and the probabilities."""
    seen: list[int] = []
    hook = model.model.model.visual.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(int(kwargs["grid_thw"][:, 0].sum())), with_kwargs=True
    )
    scores = model.score(clips)
    hook.remove()
    return sum(seen), [probabilities_of(score) for score in scores]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_tasks_about_one_video_share_its_features(
    model: RoboReward, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    first, second = random_clip(9, seed=1), random_clip(9, seed=2)
    clips = [Clip(v.frames, task, v.fps) for task in TASKS for v in (first, second)]
    alone = [probabilities_of(model.score([clip])[0]) for clip in clips]
    monkeypatch.setattr(model, "batch_size", batch_size)
    count, together = seen_by_the_tower(model, clips)
    assert count == 2 * 2  # of each video four frames
    np.testing.assert_allclose(together, alone, rtol=0, atol=ROUNDING)


def prefixes(clip: Clip, steps: Iterable[int]) -> list[Clip]:
    return [Clip(clip.frames[: step + 1], clip.task, clip.fps) for step in steps]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_prefixes_of_one_episode_share_temporal_patches(
    model: RoboReward, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    clips = prefixes(random_clip(33, fps=5.0), range(1, 33))
    alone = [probabilities_of(model.score([clip])[0]) for clip in clips]
    monkeypatch.setattr(model, "batch_size", batch_size)
    count, together = seen_by_the_tower(model, clips)
    sampled = [sample_clip(clip).indices.tolist() for clip in clips]
    pairs = [tuple(s[i : i + 2]) for s in sampled for i in range(0, len(s), 2)]
    assert count == len(set(pairs)) < 0.7 * len(pairs)
    np.testing.assert_allclose(together, alone, rtol=0, atol=ROUNDING)
    assert np.array_equal(together, seen_by_the_tower(model, clips)[1])  # the same each time


def test_the_last_of_an_odd_number_of_frames_is_no_pair_of_another_clip(model: RoboReward) -> None:
    """Its patch shows it twice; the same frame with the next one is another patch."""
    three, four = prefixes(random_clip(4), (2, 3))
    alone = [probabilities_of(model.score([clip])[0]) for clip in (three, four)]
    together = [probabilities_of(score) for score in model.score([three, four])]
    np.testing.assert_allclose(together, alone, rtol=0, atol=ROUNDING)


def test_patches_of_equal_bytes_in_another_size_are_not_shared(model: RoboReward) -> None:
    noise = np.random.default_rng(0).integers(0, 255, 4 * 44 * 60 * 3, np.uint8)
    shapes = ((4, 44, 60, 3), (4, 40, 66, 3))  # both are resized to 32x64
    clips = [Clip(noise.reshape(shape), TASKS[0], 5.0) for shape in shapes]
    alone = [probabilities_of(model.score([clip])[0]) for clip in clips]
    together = [probabilities_of(score) for score in model.score(clips)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=ROUNDING)


def test_features_of_all_layers_stay_with_their_patch() -> None:
    clip = sample_clip(random_clip(4))
    keys = patch_keys(clip, SMALL_CLIPS)
    assert len(set(keys)) == 2
    features = {
        key: VideoFeatures(torch.full((3, 4), i), (torch.full((3, 4), 10.0 + i),))
        for i, key in enumerate(keys)
    }
    encoded = encoded_clip(clip, keys, features)
    assert encoded.grid == (2, 2, 4)
    assert encoded.video.tokens[:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert encoded.video.deepstack[0][:, 0].tolist() == [10, 10, 10, 11, 11, 11]


def test_nano_scores_prefixes_in_one_call_as_each_alone() -> None:
    nano = load_reward_model("roboreward-nano")
    frames = random_clip(41, size=(96, 96), fps=5.0).frames
    clips = prefixes(Clip(frames, TASKS[0], 5.0), range(4, 41, 4))
    alone = [nano.score([clip])[0] for clip in clips]
    for one, other in zip(nano.score(clips), alone, strict=True):
        assert (one.level, one.off_format) == (other.level, other.off_format)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_equal_frames_at_another_rate_are_another_question(model: RoboReward) -> None:
    frames = random_clip(30).frames
    slow, fast = Clip(frames, TASKS[0], 2.0), Clip(frames, TASKS[0], 30.0)
    a, b = model.score([slow, fast])
    assert a.manifest["frame_indices"] != b.manifest["frame_indices"]
    np.testing.assert_array_equal(probabilities_of(b), probabilities_of(model.score([fast])[0]))
