"""What a model is shown of an episode that the plugin recorded: true times and pixels, thinned or not."""

import gymnasium as gym
import numpy as np
import pytest

from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, SampledClip, sample_clip
from roboreward_gym import Clip, FrameBuffer, VLMRewardWrapper
from roboreward_gym.recording import check_bounds
from tests.fakes import FakeRewardModel, PaintedEnv, play

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


HALF_A_PERIOD_S = 1 / 16
"""How far a recorded frame may be from the one that RoboReward asks for."""


@pytest.mark.parametrize("steps", [*LENGTHS, 125, 249])
@pytest.mark.parametrize("fps", [*RATES, 8.0, 15.0, 16.0, 20.0, 30.0, 80.0, 125.0])
def test_at_the_default_rate_the_frames_are_those_of_the_whole_episode_or_near(
    steps: int, fps: float
) -> None:
    expected = sample_clip(record(steps, fps, max_frames=1_001))
    stride = check_bounds(1_001, 2**40, fps, sampling_fps=ROBOREWARD_PROTOCOL.fps)[2]
    assert stride / fps <= max(2 * HALF_A_PERIOD_S, 1 / fps)
    sampled = sample_clip(record(steps, fps, max_frames=1_001, stride=stride))
    assert sampled.indices.tolist() == shown_indices(sampled)
    for wanted in expected.indices:
        assert np.abs(sampled.indices - wanted).min() / fps <= HALF_A_PERIOD_S
    if fps < 16:
        assert sampled.missing == ()
        np.testing.assert_array_equal(sampled.frames, expected.frames)
        assert sampled.group_times_s == expected.group_times_s


class Sampling(FakeRewardModel):
    """Looks at frames as RoboReward does."""

    protocol = ROBOREWARD_PROTOCOL


class Fast(PaintedEnv):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012


@pytest.mark.parametrize(
    ("env", "settings", "every"),
    [
        (Fast(100), {}, 6),
        (PaintedEnv(100), {}, 1),
        (PaintedEnv(100), {"fps": 50}, 6),
        (Fast(100), {"record_fps": 50}, 1),
        (Fast(100), {"record_fps": 2}, 25),
        (Fast(100), {"on_failure": FakeRewardModel()}, 1),
    ],
)
def test_frames_are_rendered_as_often_as_the_model_needs_them(
    env: PaintedEnv, settings: dict[str, object], every: int
) -> None:
    model = Sampling()
    play(VLMRewardWrapper(env, model, **settings))
    clip = model.clips[0]
    indices = range(101) if clip.indices is None else clip.indices.tolist()
    assert list(indices) == sorted({*range(0, 101, every), 100})
    assert env.renders == len(indices)
    assert [frame[0, 0, 0] for frame in clip.frames] == list(indices)
    assert clip.duration_s == 101 / (50 if env.metadata["render_fps"] == 50 or settings else 5)


def test_a_model_that_does_not_tell_gets_a_frame_of_each_step() -> None:
    env, model = Fast(100), FakeRewardModel()
    play(VLMRewardWrapper(env, model))
    assert env.renders == len(model.clips[0].frames) == 101


class Large(PaintedEnv):
    """Frames that nano accepts."""

    def render(self) -> np.ndarray:
        super().render()
        return np.kron(self._buffer, np.ones((8, 8, 1), np.uint8))


def test_a_live_episode_beyond_the_bound_lists_the_missing_frames_in_the_manifest() -> None:
    env: gym.Env = VLMRewardWrapper(
        Large(40, task="open the drawer"), "roboreward-nano?abstain=never", max_frames=16
    )
    play(env)
    clip, score = env.last_clip, env.last_score
    assert clip.indices.tolist() == [*range(0, 40, 4), 40]
    wanted = ROBOREWARD_PROTOCOL.frame_indices(41, 5.0).tolist()
    assert wanted == [0, 6, 11, 17, 23, 29, 34, 40]
    assert score.manifest["frames_missing"] == [6, 11, 17, 23, 29, 34]
    assert score.manifest["frame_indices"] == [0, 8, 12, 16, 24, 28, 36, 40]
    assert (score.manifest["frames_total"], score.manifest["fps"]) == (41, 5.0)
    times_s = [(a + b) / 2 / 5.0 for a, b in ((0, 8), (12, 16), (24, 28), (36, 40))]
    assert sample_clip(clip).group_times_s == pytest.approx(times_s), "as the prompt states them"
