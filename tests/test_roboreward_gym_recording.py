import numpy as np
import pytest

from roboreward_gym import Clip, FrameBuffer, NoFrames
from roboreward_gym.frames import FrameRecorder
from tests.fakes import BLUE, PaintedEnv, colour, painted_frame


def record(steps: int, max_frames: int = 256, **bounds: int) -> FrameBuffer:
    buffer = FrameBuffer(step_frame(0), max_frames, **bounds)
    for step in range(1, steps + 1):
        buffer.add(lambda step=step: step_frame(step), final=step == steps)
        assert len(buffer) <= max_frames
    return buffer


def step_frame(step: int) -> np.ndarray:
    """A frame that tells its step up to 65,535, in red and green."""
    frame = painted_frame(step, 0)
    frame[..., 1] = step // 256
    return frame


def kept_steps(clip: Clip) -> list[int]:
    return [int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1]) for frame in clip.frames]


@pytest.mark.parametrize("max_frames", [2, 3, 4, 7, 8, 256])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 100, 1_001])
def test_first_and_last_frame_are_kept_and_the_rest_spread_evenly(
    steps: int, max_frames: int
) -> None:
    clip = record(steps, max_frames).to_clip("task", 5.0)
    kept = kept_steps(clip)
    assert (kept[0], kept[-1]) == (0, steps)
    gaps = set(np.diff(kept[:-1]))
    assert len(gaps) <= 1
    assert not gaps or kept[-1] - kept[-2] <= gaps.pop()
    if steps < max_frames:
        assert kept == list(range(steps + 1))
        assert clip.indices is None
    else:
        assert len(kept) > max_frames // 2


@pytest.mark.parametrize("stride", [1, 2, 7])
@pytest.mark.parametrize("max_frames", [2, 8, 256])
@pytest.mark.parametrize("steps", [1, 6, 14, 333, 1_001])
def test_a_thinned_clip_tells_the_true_place_of_each_frame(
    steps: int, max_frames: int, stride: int
) -> None:
    clip = record(steps, max_frames, stride=stride).to_clip("task", 5.0)
    indices = range(len(clip.frames)) if clip.indices is None else clip.indices.tolist()
    assert kept_steps(clip) == list(indices)
    assert clip.fps == 5.0
    assert clip.duration_s == (steps + 1) / 5.0


def test_a_recording_is_bounded_in_bytes() -> None:
    frame_bytes = painted_frame(0, 0).nbytes
    assert len(record(100, max_bytes=8 * frame_bytes)) <= 8
    assert len(record(100, max_bytes=8 * frame_bytes + frame_bytes // 2)) >= 5
    assert kept_steps(record(100, max_bytes=1).to_clip("task", 5.0)) == [0, 100]


def test_frames_that_are_dropped_are_never_asked_for() -> None:
    asked = []
    buffer = FrameBuffer(painted_frame(0, 0), 4)
    for step in range(1, 1_000):
        buffer.add(lambda step=step: asked.append(step) or step_frame(step), final=False)
    assert len(asked) < 30


def test_frames_are_copied_once() -> None:
    frame = painted_frame(9, 0)
    buffer = FrameBuffer(frame, 8)
    frame[...] = 0
    clip = buffer.to_clip("task", 5.0)
    assert colour(clip, 0) == (9, 0, BLUE)
    assert np.shares_memory(clip.frames, buffer.to_clip("task", 5.0).frames)


def test_an_interrupted_episode_tells_how_much_room_the_next_one_needs() -> None:
    env = PaintedEnv(steps=300)
    recorder = FrameRecorder("render", (256, 2**30, 1))
    moved = []
    for _ in range(2):
        env.reset(seed=0)
        recorder.start(env, None)
        begun = recorder.step(env, env.action_space.sample())[-1].to_clip("task", 5.0).frames
        for _ in range(99):
            buffer = recorder.step(env, env.action_space.sample())[-1]
        moved.append(not np.shares_memory(begun, buffer.to_clip("task", 5.0).frames))
        assert recorder.stop()
        assert not recorder.stop()
    assert moved == [True, False]


def test_a_frame_of_another_size_is_refused() -> None:
    buffer = FrameBuffer(painted_frame(0, 0), 8)
    with pytest.raises(NoFrames, match=r"shape \(4, 4, 3\), the frame of the reset \(6, 8, 3\)"):
        buffer.add(lambda: np.zeros((4, 4, 3), np.uint8), final=False)
