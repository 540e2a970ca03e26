import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import (
    INFO_KEYS,
    InvalidClip,
    InvalidScore,
    InvalidSetting,
    NoEpisode,
    NoFrames,
    ProgressScore,
    RewardModelFailure,
    UnknownName,
    VLMRewardWrapper,
)
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


@pytest.mark.parametrize("terminates", [True, False])
def test_both_endings_are_scored_once_and_the_flags_stay(terminates: bool) -> None:  # noqa: FBT001
    judge = FakeRewardModel(3)
    steps = play(VLMRewardWrapper(PaintedEnv(4, terminates=terminates), judge))
    assert [step[1] for step in steps] == [0.0, 0.0, 0.0, 0.5]
    assert [step[2] for step in steps] == [False, False, False, terminates]
    assert [step[3] for step in steps] == [False, False, False, not terminates]
    assert len(judge.clips) == 1


def test_time_limit_is_truncation() -> None:
    env = VLMRewardWrapper(gym.wrappers.TimeLimit(PaintedEnv(100), 5), FakeRewardModel(5))
    steps = play(env)
    assert len(steps) == 5
    assert steps[-1][1:4] == (1.0, False, True)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_clip_holds_the_reset_frame_and_every_step_in_order(steps: int) -> None:
    judge = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(steps), judge)
    play(env)
    play(env)
    expected = [(step, 2, BLUE) for step in range(steps + 1)]
    assert [colour(judge.clips[1], i) for i in range(steps + 1)] == expected
    assert len(judge.clips[1].frames) == steps + 1
    assert judge.clips[1].fps == 5.0


def test_earlier_clips_survive_later_episodes() -> None:
    judge = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(3), judge)
    for _ in range(3):
        play(env)
    assert [colour(clip, -1) for clip in judge.clips] == [(3, n, BLUE) for n in (1, 2, 3)]


def test_an_interrupted_episode_leaves_no_frame_behind() -> None:
    judge = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(3), judge)
    env.reset()
    env.step(ACTION)
    play(env)
    assert [colour(judge.clips[0], i)[1] for i in range(4)] == [2, 2, 2, 2]


def test_env_reward_is_only_in_info() -> None:
    for _, reward, terminated, _, info in play(VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(5))):
        assert reward == (1.0 if terminated else 0.0)
        assert info["roboreward/env_reward"] == ENV_REWARD


def test_env_reward_of_nan_changes_nothing() -> None:
    env = gym.wrappers.TransformReward(PaintedEnv(3), lambda _: math.nan)
    assert [step[1] for step in play(VLMRewardWrapper(env, FakeRewardModel(5)))] == [0.0, 0.0, 1.0]


def test_info_has_the_same_float_keys_in_every_step_and_at_reset() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(4))
    _, info = env.reset()
    infos = [info, *(step[4] for step in play(env))]
    for info in infos:
        assert set(info) == {*INFO_KEYS, "step"}
        assert all(isinstance(info[key], float) for key in INFO_KEYS)
    assert [info["roboreward/scored"] for info in infos] == [0.0, 0.0, 0.0, 1.0]
    assert math.isnan(infos[0]["roboreward/env_reward"])
    assert infos[0]["roboreward/level"] == infos[1]["roboreward/level"]  # as check_env compares
    for info in infos[:-1]:
        assert math.isnan(info["roboreward/level"])
    assert infos[-1]["roboreward/level"] == 4.0


def test_info_tells_the_distribution_of_the_score() -> None:
    class Unsure:
        def score(self, clips: object) -> list[ProgressScore]:
            return [ProgressScore(4, np.array([0.0, 0.0, 0.0, 0.5, 0.5]), off_format=0.25)]

    info = play(VLMRewardWrapper(PaintedEnv(1), Unsure(), reward_map="expected_progress"))[-1][4]
    assert info["roboreward/expected"] == pytest.approx(4.5)
    assert info["roboreward/success_probability"] == pytest.approx(0.5)
    assert info["roboreward/entropy"] == pytest.approx(math.log(2))
    assert info["roboreward/off_format"] == 0.25


def test_the_task_judged_is_that_of_the_episode_filmed() -> None:
    judge = FakeRewardModel()
    painted = PaintedEnv(2)
    env = VLMRewardWrapper(painted, judge)
    for task in ("first", "second"):
        painted.task = task
        env.reset()
        painted.task = "the next episode's"
        env.step(ACTION)
        assert env.task == task
        env.step(ACTION)
    assert [clip.task for clip in judge.clips] == ["first", "second"]


def test_a_task_that_is_drawn_at_the_reset_is_the_one_judged() -> None:
    class NewTaskEachTime(PaintedEnv):
        def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            self.task = f"task {self.episode + 1}"
            return super().reset(**options)

    judge = FakeRewardModel()
    env = VLMRewardWrapper(NewTaskEachTime(1), judge)
    play(env)
    play(env)
    assert [clip.task for clip in judge.clips] == ["task 1", "task 2"]


def test_task_can_be_text_or_a_function_of_the_env() -> None:
    judge = FakeRewardModel()
    play(VLMRewardWrapper(PaintedEnv(1), judge, "open the drawer"))
    play(VLMRewardWrapper(PaintedEnv(1), judge, lambda env: f"{env.unwrapped.task} twice"))
    assert [clip.task for clip in judge.clips] == ["open the drawer", "paint the wall twice"]


@pytest.mark.parametrize("task", ["", "  ", 3])
def test_impossible_task_is_refused_at_construction(task: object) -> None:
    with pytest.raises(InvalidClip, match="Expected"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), task)


def test_empty_task_of_the_env_is_refused_before_the_first_step() -> None:
    with pytest.raises(InvalidClip, match="empty task"):
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


def test_an_episode_with_a_failed_step_is_never_judged() -> None:
    class LooseCable(PaintedEnv):
        def render(self) -> object:
            if self.episode == 1 and self.step_index == 2:
                raise OSError("no image")
            return super().render()

    judge = FakeRewardModel()
    env = VLMRewardWrapper(LooseCable(3), judge)
    with pytest.raises(OSError, match="no image"):
        play(env)
    with pytest.raises(NoEpisode, match="unbroken"):
        env.step(ACTION)
    play(env)
    assert [colour(judge.clips[0], i)[1] for i in range(4)] == [2, 2, 2, 2]


def test_a_failed_judge_does_not_lose_the_episode() -> None:
    judge = FailingRewardModel(TimeoutError("10 s"), failures=2)
    env = VLMRewardWrapper(PaintedEnv(3), judge)
    with pytest.raises(RewardModelFailure, match="TimeoutError: 10 s"):
        play(env)
    assert env.last_score is None
    assert env.last_clip is not None
    assert colour(env.last_clip, -1) == (3, 1, BLUE)
    with pytest.raises(RewardModelFailure):
        env.rescore()
    _, reward, terminated, truncated, info = env.rescore()
    assert (reward, terminated, truncated) == (0.75, True, False)
    assert info["roboreward/level"] == 4.0
    assert info["roboreward/env_reward"] == ENV_REWARD
    assert env.last_score is not None


def test_the_score_of_an_earlier_episode_is_not_taken_for_that_of_a_failed_one() -> None:
    levels = iter([5, None])
    env = VLMRewardWrapper(PaintedEnv(1), FakeRewardModel(lambda clip: next(levels)))
    play(env)
    assert env.last_score is not None
    with pytest.raises(RewardModelFailure, match="unreadable"):
        play(env)
    assert env.last_score is None


def test_rescore_takes_a_second_opinion() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel(1))
    assert play(env)[-1][1] == 0.0
    assert env.rescore(FakeRewardModel(5))[1] == 1.0


def test_rescore_without_an_ended_episode_is_refused() -> None:
    env = VLMRewardWrapper(PaintedEnv(3), FakeRewardModel())
    with pytest.raises(NoEpisode):
        env.rescore()
    play(env)
    env.reset()
    with pytest.raises(NoEpisode):
        env.rescore()


def test_nan_policy_gives_a_nan_reward_that_is_not_marked_as_scored() -> None:
    env = VLMRewardWrapper(PaintedEnv(2), FailingRewardModel(OSError("gone")), on_failure="nan")
    first, last = play(env)
    assert first[1] == 0.0
    assert math.isnan(last[1])
    assert last[4]["roboreward/scored"] == 0.0
    assert math.isnan(last[4]["roboreward/level"])
    assert env.last_score is not None
    assert "gone" in env.last_score.text


def test_a_reward_map_without_a_finite_number_is_refused() -> None:
    env = VLMRewardWrapper(PaintedEnv(1), FakeRewardModel(), reward_map=lambda _: math.nan)
    with pytest.raises(InvalidScore, match="finite"):
        play(env)


def test_close_releases_frames_and_keeps_the_model() -> None:
    judge = FakeRewardModel()
    env = VLMRewardWrapper(PaintedEnv(1), judge)
    play(env)
    env.close()
    env.close()
    assert env.last_clip is None
    assert judge.score([judge.clips[0]])[0].level == 3


def test_long_episodes_are_held_and_rendered_sparsely() -> None:
    painted, judge = PaintedEnv(3_000), FakeRewardModel()
    env = VLMRewardWrapper(painted, judge, max_frames=16)
    play(env)
    clip = judge.clips[0]
    assert 8 <= len(clip.frames) <= 16
    assert painted.renders < 120
    assert colour(clip, 0) == (0, 1, BLUE)
    assert colour(clip, -1) == (3_000 % 256, 1, BLUE)
    assert (len(clip.frames) - 1) / clip.fps == pytest.approx(3_000 / 5)


@pytest.mark.parametrize("fps", [0, -1.0, math.inf, math.nan, True, "fast"])
def test_impossible_frame_rate_is_refused(fps: object) -> None:
    with pytest.raises(InvalidSetting, match=r"\[Hz\]|Hz"):
        VLMRewardWrapper(PaintedEnv(), FakeRewardModel(), fps=fps)


def test_missing_frame_rate_is_refused_and_can_be_passed() -> None:
    painted = PaintedEnv(1)
    painted.metadata = {"render_modes": ["rgb_array"]}
    with pytest.raises(InvalidSetting, match="Pass fps="):
        VLMRewardWrapper(painted, FakeRewardModel())
    judge = FakeRewardModel()
    play(VLMRewardWrapper(painted, judge, fps=12.5))
    assert judge.clips[0].fps == 12.5


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


def test_episode_statistics_outside_see_the_reward_of_the_judge() -> None:
    env = VLMRewardWrapper(PaintedEnv(4), FakeRewardModel(5))
    info = play(gym.wrappers.RecordEpisodeStatistics(env))[-1][4]
    assert info["episode"]["r"] == 1.0
