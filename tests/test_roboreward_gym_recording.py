from typing import Any

import numpy as np
import pytest

from roboreward_gym import Clip, FrameBuffer, FrameSource, NoFrames, VLMRewardWrapper
from tests.fakes import BLUE, FakeRewardModel, PaintedEnv, colour, painted_frame, play


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


def test_a_frame_of_another_size_is_refused() -> None:
    buffer = FrameBuffer(painted_frame(0, 0), 8)
    with pytest.raises(NoFrames, match=r"shape \(4, 4, 3\), the frame of the reset \(6, 8, 3\)"):
        buffer.add(lambda: np.zeros((4, 4, 3), np.uint8), final=False)


@pytest.mark.parametrize(
    "source",
    ["cameras/wrist", lambda env, observation: observation["cameras"]["wrist"]],
)
def test_observation_path_and_function_give_the_frame_of_the_step(source: str) -> None:
    model = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(3, render_mode=None), model, frame_source=source)
    play(env)
    assert [colour(model.clips[0], i) for i in range(4)] == [(i, 0, BLUE) for i in range(4)]


def test_render_gives_red_green_blue_in_this_order() -> None:
    env = PaintedEnv()
    env.reset()
    assert tuple(FrameSource("render").frame(env, None)[0, 0]) == (0, 1, BLUE)


def test_observation_that_is_an_image_is_a_source() -> None:
    frame = painted_frame(1, 2)
    source = FrameSource("observation")
    assert source.frame(PaintedEnv(), frame) is frame
    assert source.frame(PaintedEnv(), {"observation": frame}) is frame


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("walker/egocentric_camera", ["walker/egocentric_camera"]),
        ("walker/left/eye", ["walker", "left/eye"]),
        ("walker/left/eye", ["walker/left", "eye"]),
    ],
)
def test_keys_may_hold_slashes(source: str, keys: list[str]) -> None:
    observation: object = painted_frame(1, 2)
    for key in reversed(keys):
        observation = {key: observation, "walk": 0, "other/key": 1}
    assert FrameSource(source).frame(PaintedEnv(), observation)[0, 0].tolist() == [1, 2, BLUE]


class Tensor:
    """As torch's on a GPU: no array before it is on the CPU."""

    def __init__(self, array: np.ndarray, *, on_cpu: bool = False) -> None:
        self._array, self._on_cpu = array, on_cpu

    def cpu(self) -> "Tensor":
        return Tensor(self._array, on_cpu=True)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        assert self._on_cpu, "can't convert a CUDA tensor to numpy"
        return self._array


def test_a_frame_may_be_a_tensor() -> None:
    frame = FrameSource(lambda env, _: Tensor(painted_frame(1, 2))).frame(PaintedEnv(), None)
    assert frame[0, 0].tolist() == [1, 2, BLUE]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("wrist", r"no 'wrist'.*dict with keys \['cameras'\]"),
        ("cameras/head", r"no 'head'.*keys \['wrist'\]"),
        ("cameras/wrist/left", "no 'left'.*ndarray with no keys"),
    ],
)
def test_wrong_observation_path_tells_what_there_is(source: str, message: str) -> None:
    env = VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), frame_source=source)
    with pytest.raises(NoFrames, match=message):
        env.reset()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, "NoneType"),
        ([[[0, 0, 0]]], "list"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), r"shape \(3, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
    ],
)
def test_a_frame_that_is_no_rgb_image_is_refused(frame: object, message: str) -> None:
    with pytest.raises(NoFrames, match=message):
        FrameSource(lambda env, observation: frame).frame(PaintedEnv(), None)


@pytest.mark.parametrize("source", ["", 3, None])
def test_impossible_frame_source_is_refused(source: object) -> None:
    with pytest.raises(NoFrames, match="observation key"):
        FrameSource(source)
