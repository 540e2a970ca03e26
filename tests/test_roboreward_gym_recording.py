import numpy as np
import pytest

from roboreward_gym import FrameSource, NoFrames, VLMRewardWrapper
from roboreward_gym.recording import Film
from tests.fakes import BLUE, FakeRewardModel, PaintedEnv, colour, painted_frame, play


def film_steps(steps: int, max_frames: int) -> Film:
    film = Film(painted_frame(0, 0), max_frames)
    for step in range(1, steps + 1):
        film.record(lambda step=step: step_frame(step), final=step == steps)
        assert len(film) <= max_frames
    return film


def step_frame(step: int) -> np.ndarray:
    """A frame that tells its step up to 65,535, in red and green."""
    frame = painted_frame(step, 0)
    frame[..., 1] = step // 256
    return frame


def kept_steps(film: Film) -> list[int]:
    clip = film.cut("task", 5.0)
    return [int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1]) for frame in clip.frames]


@pytest.mark.parametrize("max_frames", [2, 3, 4, 7, 8, 256])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 100, 1_001])
def test_film_keeps_first_and_last_and_spreads_the_rest_evenly(steps: int, max_frames: int) -> None:
    film = film_steps(steps, max_frames)
    kept = kept_steps(film)
    assert (kept[0], kept[-1]) == (0, steps)
    gaps = set(np.diff(kept[:-1]))
    assert len(gaps) <= 1
    assert not gaps or kept[-1] - kept[-2] <= gaps.pop()
    if steps < max_frames:
        assert kept == list(range(steps + 1))
    else:
        assert len(kept) > max_frames // 2


def test_frame_rate_puts_the_last_frame_on_its_true_time() -> None:
    for steps in (3, 10, 33, 1_000):
        clip = film_steps(steps, 8).cut("task", 5.0)
        assert (len(clip.frames) - 1) / clip.fps == pytest.approx(steps / 5.0)


def test_frames_that_are_dropped_are_never_asked_for() -> None:
    asked = []
    film = Film(painted_frame(0, 0), 4)
    for step in range(1, 1_000):
        film.record(lambda step=step: asked.append(step) or step_frame(step), final=False)
    assert len(asked) < 30


def test_film_copies_frames_and_does_not_copy_the_clip() -> None:
    frame = painted_frame(9, 0)
    film = Film(frame, 8)
    frame[...] = 0
    clip = film.cut("task", 5.0)
    assert colour(clip, 0) == (9, 0, BLUE)
    assert np.shares_memory(clip.frames, film.cut("task", 5.0).frames)


def test_a_frame_of_another_size_is_refused() -> None:
    film = Film(painted_frame(0, 0), 8)
    with pytest.raises(NoFrames, match=r"\(6, 8, 3\) as at the reset, got \(4, 4, 3\)"):
        film.record(lambda: np.zeros((4, 4, 3), np.uint8), final=False)


@pytest.mark.parametrize(
    "source",
    ["cameras/wrist", lambda env, observation: observation["cameras"]["wrist"]],
)
def test_observation_path_and_function_give_the_frame_of_the_step(source: str) -> None:
    judge = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(3, render_mode=None), judge, frame_source=source)
    play(env)
    assert [colour(judge.clips[0], i) for i in range(4)] == [(i, 0, BLUE) for i in range(4)]


def test_render_gives_red_green_blue_in_this_order() -> None:
    env = PaintedEnv()
    env.reset()
    assert tuple(FrameSource("render").shoot(env, None)[0, 0]) == (0, 1, BLUE)


def test_observation_that_is_an_image_is_a_source() -> None:
    frame = painted_frame(1, 2)
    source = FrameSource("observation")
    assert source.shoot(PaintedEnv(), frame) is frame
    assert source.shoot(PaintedEnv(), {"observation": frame}) is frame


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("wrist", r"Expected 'wrist'.*dict with keys \['cameras'\]"),
        ("cameras/head", r"Expected 'head'.*keys \['wrist'\]"),
        ("cameras/wrist/left", "Expected 'left'.*ndarray with no keys"),
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
        FrameSource(lambda env, observation: frame).shoot(PaintedEnv(), None)


@pytest.mark.parametrize("source", ["", 3, None])
def test_impossible_frame_source_is_refused(source: object) -> None:
    with pytest.raises(NoFrames, match="observation key"):
        FrameSource(source)
