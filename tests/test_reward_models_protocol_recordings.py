"""What a model is shown of an episode that the plugin recorded: true times and pixels, thinned or not."""

import numpy as np
import pytest

from reward_models.protocol.frames import SampledClip, sample_clip
from roboreward_gym import Clip, FrameBuffer

SIZE = (32, 32, 3)
LENGTHS = (1, 2, 3, 7, 8, 9, 17, 40, 64, 101, 255, 256, 333, 1_000)
RATES = (1.0, 2.0, 3.0, 5.0, 10.0, 12.5, 29.97, 50.0)


def picture(index: int) -> np.ndarray:
    frame = np.zeros(SIZE, np.uint8)
    frame[0, 0] = (index % 256, index // 256, 1)
    return frame


def record(steps: int, fps: float, **bounds: int) -> Clip:
    buffer = FrameBuffer(picture(0), **bounds)
    for step in range(1, steps + 1):
        buffer.add(lambda step=step: picture(step), final=step == steps)
    return buffer.to_clip("lift the cup", fps)


def shown_indices(sampled: SampledClip) -> list[int]:
    """Which pictures the pixels are of."""
    return [int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1]) for frame in sampled.frames]


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("fps", RATES)
def test_a_recording_that_fits_is_shown_as_the_whole_episode(steps: int, fps: float) -> None:
    whole = Clip(np.stack([picture(i) for i in range(steps + 1)]), "lift the cup", fps)
    expected = sample_clip(whole)
    sampled = sample_clip(record(steps, fps, max_frames=1_001))
    np.testing.assert_array_equal(sampled.frames, expected.frames)
    np.testing.assert_array_equal(sampled.indices, expected.indices)
    assert sampled.group_times_s == expected.group_times_s
    assert (sampled.total, sampled.fps, sampled.missing) == (steps + 1, fps, ())


@pytest.mark.parametrize("bounds", [{"max_frames": 8}, {"max_frames": 64}, {"stride": 5}])
@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("fps", RATES)
def test_a_thinned_recording_is_shown_with_true_times_and_nearest_frames(
    steps: int, fps: float, bounds: dict[str, int]
) -> None:
    expected = sample_clip(record(steps, fps, max_frames=1_001))
    clip = record(steps, fps, **bounds)
    sampled = sample_clip(clip)
    assert sampled.indices.tolist() == shown_indices(sampled), "each index is that of its pixels"
    assert (sampled.total, sampled.fps) == (expected.total, expected.fps)
    assert sampled.indices[[0, -1]].tolist() == [0, steps]
    kept = np.arange(steps + 1) if clip.indices is None else clip.indices
    assert set(sampled.missing) == set(expected.indices) - set(kept)
    farthest = max(np.diff(kept)) / 2
    for wanted in expected.indices:
        assert np.abs(sampled.indices - wanted).min() <= farthest
    if not sampled.missing:
        np.testing.assert_array_equal(sampled.frames, expected.frames)
        assert sampled.group_times_s == expected.group_times_s
