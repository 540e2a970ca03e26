"""Where frames come from, and in which layouts."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import FrameSource, NoFrames, VLMRewardWrapper
from tests.fakes import BLUE, FakeRewardModel, PaintedEnv, colour, painted_frame, play


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


def test_the_longest_key_that_fits_is_meant() -> None:
    observation = {"walker": {"eye": painted_frame(1, 1)}, "walker/eye": painted_frame(2, 2)}
    frame = FrameSource("walker/eye").frame(PaintedEnv(), observation)
    assert frame[0, 0].tolist() == [2, 2, BLUE]


class Tensor:
    """As torch's on a GPU: no array before it is on the CPU."""

    def __init__(self, array: np.ndarray | None, *, on_cpu: bool = False) -> None:
        self._array, self._on_cpu = array, on_cpu

    def cpu(self) -> "Tensor":
        return Tensor(self._array, on_cpu=True)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        if self._array is None:
            raise TypeError("stays on the GPU")
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
        ([[[0, 0, 0]]], "list of 1.*render/0"),
        ({"top": 0}, r"dict with keys \['top'\]"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
        (Tensor(None), "Tensor, which NumPy cannot read: stays on the GPU"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
    ],
)
def test_a_frame_that_is_no_rgb_image_is_refused(frame: object, message: str) -> None:
    with pytest.raises(NoFrames, match=message):
        FrameSource(lambda env, observation: frame).frame(PaintedEnv(), None)


@pytest.mark.parametrize("source", ["", 3, None, [], ["top", ""], {"top": 1}])
def test_impossible_frame_source_is_refused(source: object) -> None:
    with pytest.raises(NoFrames, match="observation key"):
        FrameSource(source)


IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREY = IMAGE[..., :1]


@pytest.mark.parametrize(
    ("found", "frame"),
    [
        (IMAGE[None], IMAGE),
        (np.moveaxis(IMAGE, -1, 0), IMAGE),
        (np.moveaxis(IMAGE, -1, 0)[None, None], IMAGE),
        (Tensor(np.moveaxis(IMAGE, -1, 0)), IMAGE),
        (GREY, GREY.repeat(3, axis=-1)),
        (GREY[..., 0], GREY.repeat(3, axis=-1)),
        (np.moveaxis(GREY, -1, 0), GREY.repeat(3, axis=-1)),
        (IMAGE[:3], IMAGE[:3]),  # three rows, not three channels
    ],
)
def test_layouts_that_mean_the_same_image_are_read(found: Any, frame: np.ndarray) -> None:
    source = FrameSource(lambda env, observation: found)
    np.testing.assert_array_equal(source.frame(PaintedEnv(), None), frame)


class Renders(gym.Wrapper[Any, Any, Any, Any]):
    """Renders several images at once."""

    def __init__(self, render: Callable[[np.ndarray], Any], mode: str = "rgb_array") -> None:
        super().__init__(PaintedEnv())
        self._change = render
        self.mode = mode

    @property
    def render_mode(self) -> str:
        return self.mode

    def render(self) -> Any:
        return self._change(self.env.render())


@pytest.mark.parametrize(
    ("change", "source"),
    [
        (lambda image: [0 * image, image], "render/1"),
        (lambda image: (0 * image, image), "render/-1"),
        (lambda image: {"top": image, "wrist": 0 * image}, "render/top"),
        (lambda image: {"arm": {"top": [image]}}, "render/arm/top/0"),
    ],
)
def test_one_of_several_rendered_images_is_named_by_its_path(change: Any, source: str) -> None:
    model = FakeRewardModel()
    env = VLMRewardWrapper(Renders(change), model, frame_source=source)
    play(env)
    assert [colour(model.clips[0], i) for i in range(5)] == [(i, 1, BLUE) for i in range(5)]


def test_an_image_that_is_not_rendered_is_named() -> None:
    env = VLMRewardWrapper(
        Renders(lambda image: [image]), FakeRewardModel(), frame_source="render/1"
    )
    with pytest.raises(NoFrames, match="no '1' of frame_source 'render/1', but a list of 1 there"):
        env.reset()


def test_several_cameras_are_put_side_by_side_and_rendered_once() -> None:
    env = Renders(lambda image: [image, 0 * image])
    env.reset()
    source = FrameSource(["render/0", "cameras/wrist", "render/1"])
    frame = source.frame(env, {"cameras": {"wrist": painted_frame(9, 9)}})
    assert [frame[0, 8 * i].tolist() for i in range(3)] == [[0, 1, BLUE], [9, 9, BLUE], [0, 0, 0]]
    assert frame.shape == (6, 24, 3)
    assert env.unwrapped.renders == 1  # ty: ignore[unresolved-attribute]


def test_cameras_of_different_heights_are_refused() -> None:
    low, high = np.zeros((4, 8, 3), np.uint8), np.zeros((6, 8, 3), np.uint8)
    source = FrameSource([lambda env, _: low, lambda env, _: high])
    with pytest.raises(NoFrames, match=r"\[4, 6\] pixels high.*resizes"):
        source.frame(PaintedEnv(), None)


def test_a_list_of_all_frames_since_the_last_call_ends_with_the_present_one() -> None:
    model = FakeRewardModel()
    env = gym.wrappers.RenderCollection(Renders(lambda image: image.copy()))
    play(VLMRewardWrapper(env, model, record_fps=2.5))  # each other step
    assert [colour(model.clips[0], i)[0] for i in range(3)] == [0, 2, 4]


class ResetsItself(PaintedEnv):
    """Resets itself where an episode ends, and hands the last observation over in `info`."""

    def step(self, action: np.ndarray) -> Any:
        seen, reward, terminated, truncated, info = super().step(action)
        if terminated:
            info = {**info, "final_observation": seen}
            seen, _ = self.reset()
        return seen, reward, terminated, truncated, info


def test_an_environment_that_resets_itself_is_recorded_to_its_end_or_refused() -> None:
    model = FakeRewardModel()
    play(VLMRewardWrapper(ResetsItself(3), model, frame_source="cameras/wrist"))
    assert [colour(model.clips[0], i)[0] for i in range(4)] == [0, 1, 2, 3]
    with pytest.raises(NoFrames, match=r"resets itself.*auto-reset off"):
        play(VLMRewardWrapper(ResetsItself(3), model))


class Skips(PaintedEnv):
    """Skips frames by an option, as ALE's environments do."""

    def __init__(self, frameskip: int = 4, **options: Any) -> None:
        super().__init__(**options)


@pytest.mark.parametrize(("options", "warned"), [({"frameskip": 4}, True), ({}, False)])
def test_frames_that_an_option_skips_are_warned_about(
    options: dict[str, int], *, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gym.register("Skips-v0", Skips, kwargs=options, disable_env_checker=True)
    try:
        VLMRewardWrapper(gym.make("Skips-v0", render_mode="rgb_array"), FakeRewardModel())
    finally:
        del gym.registry["Skips-v0"]
    assert ("Skips skips frames" in caplog.text) is warned
