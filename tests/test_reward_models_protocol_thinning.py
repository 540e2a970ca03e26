"""A recording that was thinned to save memory is shown to the model as the whole one would be."""

import itertools

import numpy as np
import pytest

from reward_models.protocol.frames import (
    ROBOREWARD_PROTOCOL,
    VideoProtocol,
    sample_clip,
    thinned_indices,
    wanted_indices,
)
from roboreward_gym import Clip

LENGTHS = (2, 3, 4, 7, 8, 9, 16, 17, 41, 73, 74, 75, 100, 147, 150, 299, 450, 901, 5000)
RATES_HZ = (0.5, 1.0, 2.0, 3.0, 5.0, 9.97, 10.0, 15.0, 24.0, 29.97, 30.0, 50.0, 60.0)
ROOMS = (1, 8, 9, 40, 72, 73)


def numbered_clip(total: int, fps: float) -> Clip:
    """Frames that say which ones they are."""
    frames = np.broadcast_to(
        np.arange(total).astype(np.uint8)[:, None, None, None], (total, 32, 32, 3)
    )
    return Clip(frames, "put the duck on the towel", fps)


def thinned(clip: Clip, indices: np.ndarray) -> Clip:
    return Clip(clip.frames[indices], clip.task, clip.fps, indices, len(clip.frames))


@pytest.mark.parametrize("protocol", [ROBOREWARD_PROTOCOL, VideoProtocol(fps=4.0, max_frames=16)])
@pytest.mark.parametrize("fps", RATES_HZ)
def test_a_thinned_clip_is_sampled_like_the_whole_one(fps: float, protocol: VideoProtocol) -> None:
    for total, room in itertools.product(LENGTHS, ROOMS):
        clip = numbered_clip(total, fps)
        kept = thinned_indices(total, fps, room, protocol)
        whole = sample_clip(clip, protocol)
        seen = sample_clip(thinned(clip, kept), protocol)
        np.testing.assert_array_equal(seen.frames, whole.frames)
        np.testing.assert_array_equal(seen.indices, whole.indices)
        assert seen.group_times_s == whole.group_times_s
        assert (seen.total, seen.fps, seen.missing) == (whole.total, whole.fps, ())


def test_thinning_keeps_within_the_room_and_spreads_the_rest() -> None:
    for total, fps, room in itertools.product(LENGTHS, RATES_HZ, ROOMS):
        kept = thinned_indices(total, fps, room)
        wanted = wanted_indices(total, fps)
        assert np.isin(wanted, kept).all()
        assert len(kept) <= max(room, len(wanted))
        assert (np.diff(kept) > 0).all()
        assert kept[-1] == total - 1
    assert np.diff(thinned_indices(1000, 30.0, 108)).max() <= 11


def test_the_nearest_kept_frame_stands_for_one_that_is_gone() -> None:
    clip = numbered_clip(41, 5.0)
    assert wanted_indices(41, 5.0).tolist() == [0, 6, 11, 17, 23, 29, 34, 40]
    seen = sample_clip(thinned(clip, np.array([0, 4, 11, 18, 24, 29, 33, 35, 40])))
    assert seen.indices.tolist() == [0, 4, 11, 18, 24, 29, 35, 40]
    assert seen.missing == (6, 17, 23, 34)
    np.testing.assert_array_equal(seen.frames[:, 0, 0, 0], seen.indices)
    assert seen.group_times_s[0] == (0 / 5.0 + 4 / 5.0) / 2


def test_no_frame_is_shown_twice() -> None:
    seen = sample_clip(thinned(numbered_clip(41, 5.0), np.array([3, 20, 40])))
    assert seen.indices.tolist() == [3, 20, 40]


def test_the_first_and_the_last_kept_frame_are_always_shown() -> None:
    rng = np.random.default_rng(0)
    for total in range(2, 60):
        middle = rng.choice(total - 1, rng.integers(1, total), replace=False)
        kept = np.append(np.sort(middle), total - 1)
        seen = sample_clip(thinned(numbered_clip(total, 5.0), kept))
        assert len(seen.indices) >= 2
        assert (seen.indices[0], seen.indices[-1]) == (kept[0], kept[-1])
