import copy
import logging
import math
import pickle  # noqa: TID251 - what multiprocessing does with environments
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import (
    Clip,
    InvalidClip,
    InvalidReward,
    InvalidScore,
    InvalidSetting,
    NoEpisode,
    NoFrames,
    ProgressScore,
    RewardModelFailure,
    UnknownName,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
)
from roboreward_gym.frames import dead_camera
from roboreward_gym.wrapper import Ending
from tests.fakes import (
    BLUE,
    ENV_REWARD,
    FailingRewardModel,
    FakeRewardModel,
    PaintedEnv,
    colour,
    play,
)

ACTION = np.zeros(2, np.float32)


ENDINGS = [("terminated", True), ("terminated", False), ("unchanged", True), ("unchanged", False)]


@pytest.mark.parametrize(("ending", "terminates"), ENDINGS)
def test_both_endings_are_scored_once(ending: Ending, *, terminates: bool) -> None:
    model = FakeRewardModel(3)
    env = VLMRewardWrapper(PaintedEnv(4, terminates=terminates), model, ending=ending)
    steps = play(env)
    assert [step[1] for step in steps] == [0.0, 0.0, 0.0, 0.5]
    last = (True, False) if ending == "terminated" or terminates else (False, True)
    assert [step[2:4] for step in steps] == [(False, False)] * 3 + [last]
    truncated = [step[4].get("roboreward/truncated") for step in steps]
    assert truncated == [None, None, None, not terminates]
    assert len(model.clips) == 1


def test_a_time_limit_inside_ends_the_episode() -> None:
    env = VLMRewardWrapper(gym.wrappers.TimeLimit(PaintedEnv(100), 5), FakeRewardModel(5))
    steps = play(env)
    assert len(steps) == 5
    assert steps[-1][1:4] == (1.0, True, False)


def test_a_time_limit_outside_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    env = gym.wrappers.TimeLimit(VLMRewardWrapper(PaintedEnv(100), FakeRewardModel(5)), 3)
    for _ in range(5):
        play(env)
    env.reset()
    warnings = [r.message for r in caplog.records if "TimeLimit" in r.message]
    assert len(warnings) == 1
    assert "wrap the result of gym.make" in warnings[0]


def test_resets_now_and_then_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(5))
    for _ in range(6):
        env.reset()
        env.step(ACTION)
        play(env)
    assert "TimeLimit" not in caplog.text


@pytest.mark.parametrize("ending", ["truncated", None])
def test_an_unknown_ending_is_refused(ending: Any) -> None:
    with pytest.raises(InvalidSetting, match="'terminated' or 'unchanged'"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), ending=ending)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_clip_holds_the_reset_frame_and_every_step_in_order(steps: int) -> None:
    model = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(steps), model)
    play(env)
    play(env)
    expected = [(step, 2, BLUE) for step in range(steps + 1)]
    assert [colour(model.clips[1], i) for i in range(steps + 1)] == expected
    assert len(model.clips[1].frames) == steps + 1
    assert model.clips[1].fps == 5.0


def test_earlier_clips_survive_later_episodes() -> None:
    model = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(3), model)
    for _ in range(3):
        play(env)
    assert [colour(clip, -1) for clip in model.clips] == [(3, n, BLUE) for n in (1, 2, 3)]


def test_an_interrupted_episode_leaves_no_frame_behind() -> None:
    model = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(3), model)
    env.reset()
    env.step(ACTION)
    play(env)
    assert [colour(model.clips[0], i)[1] for i in range(4)] == [2, 2, 2, 2]


def test_env_reward_is_only_in_info() -> None:
    for _, reward, terminated, _, info in play(VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(5))):
        assert reward == (1.0 if terminated else 0.0)
        assert info["roboreward/env_reward"] == ENV_REWARD


def test_env_reward_of_nan_changes_nothing() -> None:
    env = gym.wrappers.TransformReward(PaintedEnv(3), lambda _: math.nan)
    assert [step[1] for step in play(VLMRewardWrapper(env, FakeRewardModel(5)))] == [0.0, 0.0, 1.0]


def test_info_has_keys_where_there_is_something_to_say() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(4))
    _, info = env.reset()
    infos = [ours(info), *(ours(step[4]) for step in play(env))]
    step = {"env_reward": ENV_REWARD}
    score = {"level": 4.0, "expected": 4.0, "success_probability": 0.0, "off_format": 0.0}
    assert infos == [{}, step, step, {**step, "truncated": False, **score}]


def ours(info: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix("roboreward/"): v for k, v in info.items() if k.startswith("robor")}


def test_an_env_without_a_reward_has_none_in_info() -> None:
    env = VLMRewardWrapper(
        gym.wrappers.TransformReward(PaintedEnv(2), lambda _: None), FakeRewardModel(5)
    )
    steps = play(env)
    assert [step[1] for step in steps] == [0.0, 1.0]
    assert not any("roboreward/env_reward" in step[4] for step in steps)


@pytest.mark.parametrize("reward", [np.zeros(2), "7", [1.0, 2.0]])
def test_an_env_reward_that_is_no_number_is_refused_in_the_first_step(reward: object) -> None:
    env = gym.wrappers.TransformReward(PaintedEnv(3), lambda _: reward)
    wrapped = VLMRewardWrapper(env, FakeRewardModel(5))
    wrapped.reset()
    with pytest.raises(InvalidReward, match="wrapper inside"):
        wrapped.step(ACTION)


@pytest.mark.parametrize("reward", [True, np.float32(1.0), np.ones(1), np.int64(1)])
def test_env_rewards_of_any_numeric_type_are_floats_in_info(reward: object) -> None:
    env = gym.wrappers.TransformReward(PaintedEnv(1), lambda _: reward)
    assert (
        type(play(VLMRewardWrapper(env, FakeRewardModel()))[0][4]["roboreward/env_reward"]) is float
    )


def test_info_tells_the_distribution_of_the_score() -> None:
    class Unsure:
        def score(self, clips: object) -> list[ProgressScore]:
            return [ProgressScore(4, np.array([0.0, 0.0, 0.0, 0.5, 0.5]), off_format=0.25)]

    info = play(VLMRewardWrapper(PaintedEnv(1), Unsure(), reward_map="expected_progress"))[-1][4]
    assert info["roboreward/expected"] == pytest.approx(4.5)
    assert info["roboreward/success_probability"] == pytest.approx(0.5)
    assert info["roboreward/entropy"] == pytest.approx(math.log(2))
    assert info["roboreward/off_format"] == 0.25


def test_the_task_scored_is_that_of_the_episode_recorded() -> None:
    model = FakeRewardModel()
    painted = PaintedEnv(2)
    env = VLMRewardWrapper(painted, model)
    for task in ("first", "second"):
        painted.task = task
        env.reset()
        painted.task = "the next episode's"
        env.step(ACTION)
        assert env.task == task
        env.step(ACTION)
    assert [clip.task for clip in model.clips] == ["first", "second"]


def test_a_task_that_is_drawn_at_the_reset_is_the_one_scored() -> None:
    class NewTaskEachTime(PaintedEnv):
        def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            self.task = f"task {self.episode + 1}"
            return super().reset(**options)

    model = FakeRewardModel()
    env = VLMRewardWrapper(NewTaskEachTime(1), model)
    play(env)
    play(env)
    assert [clip.task for clip in model.clips] == ["task 1", "task 2"]


def test_task_can_be_text_or_a_function_of_the_env() -> None:
    model = FakeRewardModel()
    play(VLMRewardWrapper(PaintedEnv(1), model, "open the drawer"))
    play(VLMRewardWrapper(PaintedEnv(1), model, lambda env: f"{env.unwrapped.task} twice"))
    assert [clip.task for clip in model.clips] == ["open the drawer", "paint the wall twice"]


@pytest.mark.parametrize("task", ["", "  ", 3])
def test_impossible_task_is_refused_at_construction(task: object) -> None:
    with pytest.raises(InvalidClip, match="what the robot has to do"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), task)


def test_empty_task_of_the_env_is_refused_before_the_first_step() -> None:
    with pytest.raises(InvalidClip, match="task is empty"):
        VLMRewardWrapper(PaintedEnv(task=" "), FakeRewardModel()).reset()


def test_missing_task_says_what_to_pass() -> None:
    env = VLMRewardWrapper(gym.make("CartPole-v1"), FakeRewardModel(), frame_source=lambda *_: None)
    with pytest.raises(InvalidSetting, match="Pass task="):
        env.reset()


@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_env_without_rgb_frames_says_what_to_do_on_first_step(render_mode: str | None) -> None:
    painted = PaintedEnv(render_mode=render_mode)
    env = VLMRewardWrapper(painted, FakeRewardModel())
    env.reset()
    with pytest.raises(NoFrames, match="render_mode='rgb_array'"):
        env.step(ACTION)
    assert painted.step_index == 0


def test_step_without_reset_is_refused() -> None:
    env = VLMRewardWrapper(PaintedEnv(1), FakeRewardModel())
    with pytest.raises(gym.error.ResetNeeded):
        env.step(ACTION)
    play(env)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(ACTION)


def test_an_episode_with_a_failed_step_is_never_scored() -> None:
    class LooseCable(PaintedEnv):
        def render(self) -> object:
            if self.episode == 1 and self.step_index == 2:
                raise OSError("no image")
            return super().render()

    model = FakeRewardModel()
    env = VLMRewardWrapper(LooseCable(3), model)
    with pytest.raises(OSError, match="no image"):
        play(env)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(ACTION)
    play(env)
    assert [colour(model.clips[0], i)[1] for i in range(4)] == [2, 2, 2, 2]


def test_step_returns_the_end_of_an_episode_once_the_model_works_again() -> None:
    model, painted = FailingRewardModel(TimeoutError("10 s"), failures=2), PaintedEnv(3)
    env = gym.wrappers.RecordEpisodeStatistics(
        gym.wrappers.TransformReward(VLMRewardWrapper(painted, model), lambda r: 10 * r)
    )
    with pytest.raises(RewardModelFailure, match=r"TimeoutError: 10 s\. The episode is kept"):
        play(env)
    assert env.get_wrapper_attr("last_score") is None
    assert colour(env.get_wrapper_attr("last_clip"), -1) == (3, 1, BLUE)
    with pytest.raises(RewardModelFailure):
        env.step(ACTION)
    _, reward, terminated, truncated, info = env.step(ACTION)
    assert painted.step_index == 3, "no action was taken"
    assert (reward, terminated, truncated) == (7.5, True, False)
    assert info["roboreward/level"] == 4.0
    assert info["roboreward/env_reward"] == ENV_REWARD
    assert info["episode"]["r"] == 7.5, "wrappers outside see the reward"
    with pytest.raises(gym.error.ResetNeeded):
        env.step(ACTION)


def test_another_model_can_score_an_episode_that_the_first_failed_on() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FailingRewardModel(OSError("gone")))
    with pytest.raises(RewardModelFailure):
        play(env)
    assert env.rescore(FakeRewardModel(5)).level == 5
    assert env.step(ACTION)[1] == 1.0
    assert env.last_score is not None


def test_a_reset_gives_a_failed_episode_up(caplog: pytest.LogCaptureFixture) -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FailingRewardModel(OSError("gone"), failures=1))
    with pytest.raises(RewardModelFailure):
        play(env)
    assert len(play(env)) == 3
    assert "given up" in caplog.text


def test_the_score_of_an_earlier_episode_is_not_taken_for_that_of_a_failed_one() -> None:
    levels = iter([5, None])
    env = VLMRewardWrapper(PaintedEnv(1), FakeRewardModel(lambda clip: next(levels)))
    play(env)
    assert env.last_score is not None
    with pytest.raises(RewardModelFailure, match="unreadable"):
        play(env)
    assert env.last_score is None


def test_a_second_opinion_changes_nothing() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(1))
    assert play(env)[-1][1] == 0.0
    first = env.last_score
    assert env.rescore(FakeRewardModel(5)).level == 5
    assert env.last_score is first


def test_rescore_without_an_ended_episode_is_refused() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel())
    env.reset()
    env.step(ACTION)
    with pytest.raises(NoEpisode):
        env.rescore()


def test_under_nan_the_episode_ends_without_a_score() -> None:
    env = VLMRewardWrapper(PaintedEnv(2), FailingRewardModel(OSError("gone")), on_failure="nan")
    terminated = truncated = False
    env.reset()
    while not (terminated or truncated):
        _, reward, terminated, truncated, info = env.step(ACTION)
    assert math.isnan(reward)
    assert "roboreward/level" not in info
    assert env.last_score is not None
    assert "gone" in env.last_score.text


def test_a_reward_map_without_a_finite_number_is_refused_and_the_score_kept() -> None:
    numbers, model = iter([math.nan, 0.5]), FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(1), model, reward_map=lambda _: next(numbers))
    with pytest.raises(InvalidScore, match="no finite number"):
        play(env)
    assert env.step(ACTION)[1] == 0.5
    assert len(model.clips) == 1


def test_close_releases_frames_and_keeps_the_model() -> None:
    model = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(1), model)
    play(env)
    env.close()
    env.close()
    assert env.last_clip is None
    assert model.score([model.clips[0]])[0].level == 3


def test_long_episodes_are_held_and_rendered_sparsely() -> None:
    painted, model = PaintedEnv(3_000), FakeRewardModel()
    env = VLMRewardWrapper(painted, model, max_frames=16)
    play(env)
    clip = model.clips[0]
    assert 8 <= len(clip.frames) <= 16
    assert painted.renders < 120
    assert colour(clip, 0) == (0, 1, BLUE)
    assert colour(clip, -1) == (3_000 % 256, 1, BLUE)
    assert (clip.fps, clip.num_frames, clip.duration_s) == (5.0, 3_001, 3_001 / 5)


def test_an_expensive_render_can_be_called_less_often() -> None:
    painted, model = PaintedEnv(98), FakeRewardModel()
    play(VLMRewardWrapper(painted, model, record_fps=0.5))
    clip = model.clips[0]
    assert clip.indices is not None
    assert clip.indices.tolist() == [*range(0, 98, 10), 98]
    assert painted.renders == 11
    assert [colour(clip, i)[0] for i in range(11)] == clip.indices.tolist()


@pytest.mark.parametrize("record_fps", [0, -1.0, math.inf, math.nan, True])
def test_impossible_record_fps_is_refused(record_fps: Any) -> None:
    with pytest.raises(InvalidSetting, match="record_fps"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), record_fps=record_fps)


@pytest.mark.parametrize("fps", [0, -1.0, math.inf, math.nan, True, "fast"])
def test_impossible_frame_rate_is_refused(fps: object) -> None:
    with pytest.raises(InvalidSetting, match=r"\[Hz\]|Hz"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), fps=fps)


def test_missing_frame_rate_is_refused_and_can_be_passed() -> None:
    painted = PaintedEnv(1)
    for metadata in ({"render_modes": ["rgb_array"]}, None):
        painted.metadata = metadata
        with pytest.raises(InvalidSetting, match="Pass fps="):
            VLMRewardWrapper(painted, FakeRewardModel())
    model = FakeRewardModel()
    play(VLMRewardWrapper(painted, model, fps=12.5))
    assert model.clips[0].fps == 12.5


@pytest.mark.parametrize("max_bytes", [0, 2.5, True])
def test_impossible_max_bytes_is_refused(max_bytes: Any) -> None:
    with pytest.raises(InvalidSetting, match="max_bytes"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), max_bytes=max_bytes)


@pytest.mark.parametrize("max_frames", [1, 0, 2.5, True])
def test_impossible_max_frames_is_refused(max_frames: object) -> None:
    with pytest.raises(InvalidSetting, match="max_frames"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), max_frames=max_frames)


def test_unknown_names_are_refused_at_construction() -> None:
    with pytest.raises(UnknownName, match=r"reward map 'progres'.*'progress'"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), reward_map="progres")
    with pytest.raises(UnknownName, match=r"failure policy 'rais'.*'raise'"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), on_failure="rais")
    with pytest.raises(UnknownName, match="reward model 'nobody-here'"):
        VLMRewardWrapper(PaintedEnv(), "nobody-here")


def test_episode_statistics_outside_see_the_reward_of_the_model() -> None:
    env = VLMRewardWrapper(PaintedEnv(4), FakeRewardModel(5))
    info = play(gym.wrappers.RecordEpisodeStatistics(env))[-1][4]
    assert info["episode"]["r"] == 1.0


def test_a_task_that_is_set_is_that_of_the_next_episode() -> None:
    model, painted = FakeRewardModel(), PaintedEnv(1)
    for given in (None, "open the drawer"):
        env = gym.wrappers.RecordEpisodeStatistics(VLMRewardWrapper(painted, model, given))
        env.reset()
        before = env.get_wrapper_attr("task")
        env.set_wrapper_attr("task", f"close the {given}")
        assert env.get_wrapper_attr("task") == before
        env.step(ACTION)
        play(env)
    tasks = ["paint the wall", "close the None", "open the drawer", "close the open the drawer"]
    assert [clip.task for clip in model.clips] == tasks
    with pytest.raises(InvalidClip, match="task is empty"):
        env.set_wrapper_attr("task", "")


class OwnTask(PaintedEnv):
    """Sets its own task at each reset."""

    def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        self.task = "paint the wall"
        return super().reset(**options)


class ReadOnlyTask(PaintedEnv):
    task = property(lambda self: "paint the wall", None)  # ty: ignore[invalid-assignment]

    def __init__(self) -> None:
        self.__dict__.update(PaintedEnv(4).__dict__)


@pytest.mark.parametrize("make", [OwnTask, ReadOnlyTask])
def test_a_task_that_is_set_holds_whatever_the_env_says(make: Callable[[], gym.Env]) -> None:
    env = VLMRewardWrapper(make(), FakeRewardModel())
    env.reset()
    assert env.task == "paint the wall"
    for task in ("close the drawer", "open the drawer"):
        env.task = task
        for _ in range(2):
            play(env)
            assert env.task == task
            assert env.last_clip is not None
            assert env.last_clip.task == task


def test_a_task_that_is_set_reaches_the_env_that_had_it() -> None:
    painted = PaintedEnv()
    env = VLMRewardWrapper(painted, FakeRewardModel())
    for task in ("close the drawer", "open the drawer"):
        env.task = task
        assert painted.task == task


def test_a_task_by_attribute_is_logged_once_and_a_mere_name_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="roboreward_gym")
    for task, warnings in (("paint the wall", 0), ("transfer_cube", 1)):
        caplog.clear()
        env = VLMRewardWrapper(PaintedEnv(1, task=task), FakeRewardModel())
        play(env)
        play(env)
        logged = [record.levelname for record in caplog.records if repr(task) in record.message]
        assert logged.count("INFO") == 1
        assert logged.count("WARNING") == warnings
    caplog.clear()
    play(VLMRewardWrapper(PaintedEnv(1), FakeRewardModel(), "transfer_cube"))
    assert "attribute `task`" not in caplog.text, "it was passed on purpose"


def test_goals_are_not_relabelled_by_the_environments_own_reward() -> None:
    class GoalEnv(PaintedEnv):
        def compute_reward(self, *args: Any) -> float:
            return 1.0

    env = gym.wrappers.RecordEpisodeStatistics(VLMRewardWrapper(GoalEnv(1), FakeRewardModel()))
    with pytest.raises(InvalidSetting, match="HER"):
        env.get_wrapper_attr("compute_reward")(1, 2, {})


def black(step: int) -> np.ndarray:
    return np.zeros((6, 8, 3), np.uint8)


def noise(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (black, "all its frames are equal"),
        (lambda step: noise(0), "all its frames are equal"),
        (lambda step: black(step) + step, "each of its frames is of one colour"),
        (lambda step: noise(step) if step < 3 else black(step), "its last frame is of one colour"),
        (lambda step: noise(step) if step in (1, 2) else black(step), "its last frame is of one"),
        (noise, None),
    ],
)
def test_a_dead_camera_is_warned_about_once(
    picture: Callable[[int], np.ndarray], message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    env = VLMRewardWrapper(
        PaintedEnv(3),
        FakeRewardModel(),
        frame_source=lambda env, _: picture(env.unwrapped.step_index),
    )
    play(env)
    play(env)
    logged = [record.message for record in caplog.records if "shows nothing" in record.message]
    assert len(logged) == (message is not None)
    assert message is None or message in logged[0]


def test_a_single_black_frame_shows_nothing() -> None:
    assert dead_camera(Clip(black(0)[None], "task", 5.0)) == "each of its frames is of one colour"
    assert dead_camera(Clip(noise(0)[None], "task", 5.0)) is None


class ImageEnv(PaintedEnv):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (6, 8, 3), np.uint8)


class RepeatAction(gym.Wrapper):
    """As people write it: nothing in it says how often but its name."""


class Preprocessing(gym.Wrapper):
    """As Gymnasium's AtariPreprocessing: only an attribute says it."""

    def __init__(self, env: gym.Env, frame_skip: int = 4) -> None:
        super().__init__(env)
        self.frame_skip = frame_skip


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda env: gym.wrappers.MaxAndSkipObservation(env, 4), "MaxAndSkipObservation"),
        (RepeatAction, "RepeatAction"),
        (Preprocessing, "Preprocessing"),
    ],
)
def test_skipped_frames_inside_are_warned_about_unless_the_rate_is_passed(
    caplog: pytest.LogCaptureFixture, wrap: Callable[..., Any], name: str, *, vector: bool
) -> None:
    def make() -> gym.Env:
        return gym.wrappers.TimeLimit(wrap(ImageEnv()), 9)

    def rewarded(inside: Callable[[], gym.Env], **settings: Any) -> Any:
        if vector:
            envs = gym.vector.SyncVectorEnv([inside])
            return VLMRewardVectorWrapper(envs, FakeRewardModel(), "paint", **settings)
        return VLMRewardWrapper(inside(), FakeRewardModel(), **settings)

    rewarded(make, fps=1.25)
    rewarded(ImageEnv)
    rewarded(lambda: Preprocessing(ImageEnv(), frame_skip=1))
    assert not caplog.records
    rewarded(make)
    (record,) = caplog.records
    assert f"{name} skips frames" in record.message
    assert "Pass fps=" in record.message


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copied_env_does_not_go_on_with_an_old_recording(copied: Callable[[Any], Any]) -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel())
    env.reset()
    env.step(ACTION)
    again = copied(env)
    with pytest.raises(gym.error.ResetNeeded):
        again.step(ACTION)
    play(again)
    assert len(again.last_clip.frames) == 4
    env.step(ACTION)


def test_a_vector_env_is_refused_with_the_name_of_its_wrapper() -> None:
    envs = gym.vector.SyncVectorEnv([PaintedEnv])
    with pytest.raises(InvalidSetting, match="VLMRewardVectorWrapper"):
        VLMRewardWrapper(envs, FakeRewardModel())
