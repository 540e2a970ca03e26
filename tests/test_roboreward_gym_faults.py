"""What can go wrong between an episode and its reward: each ends in an error or NaN, none in a number."""

import gc
import logging
import math
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import (
    Clip,
    FrameCapture,
    InvalidScore,
    InvalidSetting,
    NoEpisode,
    NoFrames,
    ProgressScore,
    RewardModelFailure,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
)
from tests.fakes_vector import (
    FORKSERVER,
    ColourEnv,
    ColourJudge,
    colour,
    colour_reward,
    make_colour_env,
    make_vector,
    mean_colour,
)

ACTION = np.zeros(2, np.float32)


class Judge:
    """Answers each clip with what a function makes of it; a test can make it wait."""

    def __init__(self, answer: Callable[[Clip], Any] = lambda clip: ProgressScore(5)) -> None:
        self.answer = answer
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.calls: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.calls.append(len(clips))
        self.begun.set()
        assert self.gate.wait(60)
        return [self.answer(clip) for clip in clips]


def blue(clip: Clip) -> int:
    """Which environment a clip is of."""
    return int(mean_colour(clip)[2] - colour(0, 0, 0)[2])


def refusing(bad: int, error: BaseException) -> Judge:
    """A judge that fails on the clips of one environment."""

    def answer(clip: Clip) -> ProgressScore:
        if blue(clip) == bad:
            raise error
        return ProgressScore(4)

    return Judge(answer)


def vector(
    judge: Any, lengths: Sequence[int] = (1, 1, 1), mode: str = "NextStep", **settings: Any
) -> VLMRewardVectorWrapper:
    made = {key: settings.pop(key) for key in ("render_mode", "capture") if key in settings}
    return VLMRewardVectorWrapper(make_vector("sync", lengths, mode, **made), judge, **settings)


def step(envs: gym.vector.VectorEnv) -> tuple[Any, ...]:
    return envs.step(np.zeros((envs.num_envs, 2), np.float32))


@pytest.fixture
def held() -> Iterator[Judge]:
    """A judge that says nothing until the test is over, or opens its gate."""
    judge = Judge()
    judge.gate.clear()
    yield judge
    judge.gate.set()


# A judge that fails on some of several clips.


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TimeoutError("10 s")])
def test_one_failed_episode_costs_the_others_nothing(error: Exception) -> None:
    judge = refusing(1, error)
    envs = vector(judge)
    envs.reset()
    with pytest.raises(RewardModelFailure, match=r"environments \[1\].*(memory|10 s)"):
        step(envs)
    assert judge.calls == [3, 1, 1, 1], "asked together, then each by itself"
    assert [score and score.level for score in envs.last_scores] == [4, None, 4]
    healthy = Judge()
    _, rewards, terminations, _, infos = envs.rescore(healthy)
    assert healthy.calls == [1], "only the one without a score"
    assert rewards.tolist() == [0.75, 1.0, 0.75]
    assert infos["roboreward/level"].tolist() == [4.0, 5.0, 4.0]
    assert terminations.all()


def test_a_step_whose_rewards_are_still_to_come_cannot_be_passed_over() -> None:
    envs = vector(refusing(0, ValueError("no")))
    envs.reset()
    with pytest.raises(RewardModelFailure):
        step(envs)
    with pytest.raises(NoEpisode, match="rescore"):
        step(envs)
    assert envs.rescore(Judge())[1][0] == 1.0
    step(envs)


def test_a_reset_of_all_gives_a_failed_step_up() -> None:
    envs = vector(refusing(0, ValueError("no")), [1, 2])
    envs.reset()
    with pytest.raises(RewardModelFailure):
        step(envs)
    envs.reset()
    with pytest.raises(NoEpisode, match="ended in the last step"):
        envs.rescore()


def test_under_nan_only_the_failed_episode_is_nan() -> None:
    envs = vector(refusing(1, OSError("gone")), on_failure="nan")
    envs.reset()
    _, rewards, _, _, infos = step(envs)
    np.testing.assert_array_equal(rewards, [0.75, math.nan, 0.75])
    assert infos["roboreward/scored"].tolist() == [1.0, 0.0, 1.0]
    np.testing.assert_array_equal(infos["roboreward/level"], [4.0, math.nan, 4.0])


def test_a_substitute_is_asked_about_the_failed_episode_only() -> None:
    substitute = Judge(lambda clip: ProgressScore(2))
    envs = vector(refusing(2, OSError("gone")), on_failure=substitute)
    envs.reset()
    assert step(envs)[1].tolist() == [0.75, 0.75, 0.25]
    assert substitute.calls == [1]


def test_retry_asks_again_about_the_failed_episode_only() -> None:
    answers = iter([None, None, 5])
    judge = Judge(lambda clip: ProgressScore(next(answers) if blue(clip) == 1 else 4))
    envs = vector(judge, on_failure="retry", retries=2)
    envs.reset()
    assert step(envs)[1].tolist() == [0.75, 1.0, 0.75]
    assert judge.calls == [3, 1, 1]


# Answers that are no scores.


@pytest.mark.parametrize(
    "answers",
    [
        lambda n: [ProgressScore(4)] * (n - 1),
        lambda n: [ProgressScore(4)] * (n + 1),
        lambda n: [],
        lambda n: ProgressScore(4),
        lambda n: [4] * n,
        lambda n: [math.nan] * n,
        lambda n: [ProgressScore(None, text="well")] * n,
        lambda n: None,
    ],
)
def test_wrong_answers_are_failures(answers: Callable[[int], Any]) -> None:
    class Wrong:
        def score(self, clips: Sequence[Clip]) -> Any:
            return answers(len(clips))

    envs = vector(Wrong(), [1, 1])
    envs.reset()
    with pytest.raises(RewardModelFailure, match=r"environments \[0, 1\]|environments \[1\]"):
        step(envs)


def test_too_few_scores_for_a_batch_are_asked_for_one_by_one() -> None:
    class FirstOnly:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            return [ProgressScore(1 + blue(clips[0]))]

    envs = vector(FirstOnly())
    envs.reset()
    assert step(envs)[1].tolist() == [0.0, 0.25, 0.5]


@pytest.mark.parametrize("level", [math.nan, 0, 6, 3.5])
def test_a_level_that_is_none_is_a_failure(level: float) -> None:
    envs = vector(Judge(lambda clip: ProgressScore(level)), [1])
    envs.reset()
    with pytest.raises(RewardModelFailure, match="InvalidScore"):
        step(envs)


def test_a_reward_map_without_a_number_loses_no_score() -> None:
    numbers = iter([math.inf, 0.5])
    envs = vector(Judge(), [1], reward_map=lambda score: next(numbers))
    envs.reset()
    with pytest.raises(InvalidScore, match="finite"):
        step(envs)
    assert envs.rescore()[1].tolist() == [0.5]


def test_a_bug_in_the_judge_passes_as_it_is_and_loses_no_episode() -> None:
    envs = vector(refusing(1, TypeError("typo")), on_failure="nan")
    envs.reset()
    with pytest.raises(TypeError, match="typo"):
        step(envs)
    assert envs.rescore(Judge())[1].tolist() == [1.0, 1.0, 1.0]


# Environments that break.


class Dies(ColourEnv):
    """Its process ends in the second step."""

    def step(self, action: np.ndarray) -> Any:
        if self.step_index == 1:
            os._exit(3)
        return super().step(action)


class Breaks(ColourEnv):
    """Its second step fails, or its picture grows."""

    def __init__(self, fault: str) -> None:
        super().__init__(3)
        self.fault = fault

    def step(self, action: np.ndarray) -> Any:
        if self.fault == "step" and self.step_index == 1:
            raise OSError("cable")
        return super().step(action)

    def render(self) -> np.ndarray:
        grows = self.fault == "frame" and self.step_index == 2
        return np.repeat(super().render(), 2, 0) if grows else super().render()


def test_a_worker_that_dies_ends_in_an_error_and_in_no_score() -> None:
    judge = ColourJudge()
    inner = gym.vector.AsyncVectorEnv([partial(Dies, 3), partial(ColourEnv, 3)], context=FORKSERVER)
    envs = VLMRewardVectorWrapper(inner, judge)
    envs.reset()
    step(envs)
    with pytest.raises((EOFError, ConnectionError)):
        step(envs)
    with pytest.raises(NoEpisode, match="unbroken"):
        step(envs)
    assert judge.clips == []
    # Gymnasium warns of the step that never returned, and stumbles over its pipe.
    with pytest.warns(UserWarning, match="pending call"), suppress(EOFError, ConnectionError):
        envs.close(terminate=True)
    inner.closed = True
    for process in inner.processes:
        process.terminate()
        process.join()


@pytest.mark.parametrize(("fault", "error"), [("step", OSError), ("frame", NoFrames)])
@pytest.mark.parametrize("wrap", [FrameCapture, lambda env: env], ids=["captured", "rendered"])
def test_an_episode_with_a_gap_is_never_judged(
    wrap: Callable[[Any], Any], fault: str, error: type[Exception]
) -> None:
    judge = ColourJudge()
    inner = gym.vector.SyncVectorEnv([lambda: wrap(Breaks(fault)), lambda: wrap(ColourEnv(3))])
    envs = VLMRewardVectorWrapper(inner, judge)
    envs.reset()
    step(envs)
    with pytest.raises(error):
        step(envs)
    with pytest.raises(NoEpisode, match="unbroken"):
        step(envs)
    with pytest.raises(NoEpisode, match="ended in the last step"):
        envs.rescore()
    assert judge.clips == []


def test_no_judge_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "heavy_judge", types.ModuleType("heavy_judge"))

    class Unpicklable(ColourJudge):
        __module__ = "heavy_judge"

        def __reduce__(self) -> Any:
            raise AssertionError("The judge was sent somewhere.")

    judge = Unpicklable()
    inner = gym.vector.AsyncVectorEnv([partial(Reports, 1)] * 2, context=FORKSERVER)
    envs = VLMRewardVectorWrapper(inner, judge, reward_map=colour_reward)
    envs.reset()
    assert (step(envs)[1] > 0).all()
    for loaded in inner.call("loaded"):
        assert "numpy" in loaded
        assert not {"heavy_judge", "torch", "transformers"} & set(loaded)
    envs.close()


class Reports(ColourEnv):
    """Tells what its process has loaded."""

    def loaded(self) -> list[str]:
        return sorted(sys.modules)


# Frames that cannot be had.


def test_vectors_without_a_render_mode_say_so_at_the_reset() -> None:
    envs = vector(Judge(), [1], render_mode=None)
    with pytest.raises(NoFrames, match="render_mode='rgb_array'"):
        envs.reset()


def test_captures_without_a_render_mode_say_so_at_the_first_step() -> None:
    envs = vector(Judge(), [1], render_mode=None, capture=True)
    envs.reset()
    with pytest.raises(NoFrames, match="render_mode='rgb_array'"):
        step(envs)


def test_a_capture_inside_of_the_time_limit_is_noticed() -> None:
    inner = gym.vector.SyncVectorEnv(
        [lambda: gym.wrappers.TimeLimit(make_colour_env(9, capture=True), 2)]
    )
    envs = VLMRewardVectorWrapper(inner, Judge())
    envs.reset()
    step(envs)
    with pytest.raises(NoFrames, match=r"environments \[0\].*got those of \[\]"):
        step(envs)


def test_a_vector_that_films_itself_in_part_only_is_refused() -> None:
    inner = gym.vector.SyncVectorEnv(
        [partial(make_colour_env, 2, capture=True), partial(make_colour_env, 2)]
    )
    with pytest.raises(NoFrames, match=r"not so \[1\]"):
        VLMRewardVectorWrapper(inner, Judge()).reset()


@pytest.mark.parametrize("settings", [{"frame_source": "image"}, {"max_frames": 16}])
def test_two_ways_to_film_are_refused(settings: dict[str, Any]) -> None:
    inner = make_vector("sync", [2], capture=True)
    with pytest.raises(InvalidSetting, match="Pass both settings to FrameCapture"):
        VLMRewardVectorWrapper(inner, Judge(), **settings).reset()


@pytest.mark.parametrize("source", [lambda env, observation: None, "", None, 3])
def test_a_frame_source_that_no_vector_has_is_refused(source: Any) -> None:
    with pytest.raises(NoFrames, match="FrameCapture"):
        VLMRewardVectorWrapper(make_vector("sync", [2]), Judge(), frame_source=source)


def test_a_key_that_is_not_observed_is_named() -> None:
    envs = vector(Judge(), [2], frame_source="wrist")
    with pytest.raises(NoFrames, match=r"keys \['image'\]"):
        envs.reset()


# Tasks.


@pytest.mark.parametrize("task", [["one"], lambda envs: ["one"]])
def test_a_task_for_each_is_needed(task: Any) -> None:
    with pytest.raises(InvalidSetting, match="2 environments, got 1"):
        vector(Judge(), [1, 1], task=task).reset()


def test_tasks_may_be_one_or_one_each_or_a_function() -> None:
    for task in ("both", ["both", "both"], lambda envs: ["both"] * envs.num_envs):
        envs = vector(Judge(), [1, 1], task=task)
        envs.reset()
        step(envs)
        assert [clip and clip.task for clip in envs.last_clips] == ["both", "both"]


class Untold(ColourEnv):
    """An environment without a command."""

    task = property()


def test_missing_tasks_say_what_to_pass() -> None:
    envs = VLMRewardVectorWrapper(gym.vector.SyncVectorEnv([partial(Untold, 1)]), Judge())
    with pytest.raises(InvalidSetting, match="Pass task="):
        envs.reset()


# Calls in the wrong order.


def test_a_wrapper_that_is_refused_leaves_the_environments_open() -> None:
    envs = make_vector("sync", [1, 2])
    with pytest.raises(InvalidSetting):
        VLMRewardVectorWrapper(envs, Judge(), scoring="later")
    gc.collect()
    assert not envs.closed
    assert envs.reset()[1]


def test_a_step_before_the_reset_is_refused() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        step(vector(Judge()))


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="Gymnasium 1.0 always resets")
def test_a_step_after_the_end_is_refused_where_nobody_resets() -> None:
    envs = vector(Judge(), [1, 2], "Disabled")
    envs.reset()
    step(envs)
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0\]"):
        step(envs)
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert step(envs)[1].tolist() == [1.0, 1.0]


def test_a_second_reset_leaves_no_frame_and_pays_nothing() -> None:
    judge = ColourJudge()
    envs = vector(judge, [2, 2], reward_map=colour_reward)
    envs.reset()
    step(envs)
    envs.reset()
    envs.reset()
    step(envs)
    step(envs)
    assert [[mean_colour(clip, i)[:2] for i in range(3)] for clip in judge.clips] == [
        [(0.0, 3.0), (1.0, 3.0), (2.0, 3.0)]
    ] * 2


# Scores that come later.


def deferred(judge: Any, length: int = 1, **settings: Any) -> VLMRewardWrapper:
    return VLMRewardWrapper(make_colour_env(length), judge, scoring="deferred", **settings)


def test_an_unknown_way_of_scoring_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="'immediate' or 'deferred', got 'later'"):
        VLMRewardWrapper(make_colour_env(1), Judge(), scoring="later")


def test_a_pending_reward_is_no_number(held: Judge) -> None:
    env = deferred(held)
    _, info = env.reset()
    assert info["roboreward/pending"] == 0.0
    _, reward, terminated, _, info = env.step(ACTION)
    assert terminated
    assert math.isnan(reward)
    assert (info["roboreward/pending"], info["roboreward/scored"]) == (1.0, 0.0)
    held.gate.set()
    _, reward, terminated, truncated, info = env.collect()
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert (info["roboreward/pending"], info["roboreward/scored"]) == (0.0, 1.0)
    assert info["roboreward/reward"] == 1.0


def test_a_reset_during_a_pending_score_waits_and_tells_it(held: Judge) -> None:
    env = deferred(held)
    env.reset()
    env.step(ACTION)
    opener = threading.Timer(0.05, held.gate.set)
    opener.start()
    _, info = env.reset()
    opener.join()
    assert held.calls == [1]
    assert (info["roboreward/reward"], info["roboreward/level"]) == (1.0, 5.0)
    assert (info["roboreward/scored"], info["roboreward/pending"]) == (1.0, 0.0)
    env.reset()
    assert held.calls == [1]


def test_each_score_is_handed_out_once(held: Judge) -> None:
    held.gate.set()
    env = deferred(held)
    env.reset()
    env.step(ACTION)
    env.collect()
    with pytest.raises(NoEpisode, match="Expected a pending score"):
        env.collect()
    _, info = env.reset()
    assert math.isnan(info["roboreward/reward"])
    assert info["roboreward/scored"] == 0.0


@pytest.mark.parametrize("error", [OSError("gone"), TypeError("typo")])
def test_a_failure_is_raised_at_the_reset_once_and_the_episode_kept(error: Exception) -> None:
    env = deferred(refusing(0, error))
    env.reset()
    env.step(ACTION)
    expected = type(error) if isinstance(error, TypeError) else RewardModelFailure
    with pytest.raises(expected, match=str(error)):
        env.reset()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(ACTION)
    assert env.rescore(Judge())[1] == 1.0
    _, info = env.reset()
    assert info["roboreward/scored"] == 0.0
    with pytest.raises(NoEpisode):
        env.rescore()


def test_a_late_nan_is_told_as_no_score() -> None:
    env = deferred(refusing(0, OSError("gone")), on_failure="nan")
    env.reset()
    env.step(ACTION)
    _, info = env.reset()
    assert math.isnan(info["roboreward/reward"])
    assert (info["roboreward/scored"], info["roboreward/pending"]) == (0.0, 0.0)


def test_a_pending_score_is_not_asked_for_twice(held: Judge) -> None:
    env = deferred(held)
    env.reset()
    env.step(ACTION)
    with pytest.raises(NoEpisode, match=r"Call collect\(\)"):
        env.rescore(Judge())


def test_immediate_scores_are_not_collected() -> None:
    env = VLMRewardWrapper(make_colour_env(1), Judge())
    env.reset()
    env.step(ACTION)
    with pytest.raises(NoEpisode, match="immediate"):
        env.collect()
    with pytest.raises(NoEpisode, match="scoring='deferred'"):
        vector(Judge()).collect()


@pytest.mark.parametrize("make", [deferred, partial(vector, scoring="deferred")])
def test_close_does_not_wait_for_a_judge_that_hangs(
    make: Callable[[Judge], Any], held: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    env = make(held)
    env.reset()
    env.step(np.zeros(env.action_space.shape, np.float32))
    assert held.begun.wait(60)
    with caplog.at_level(logging.WARNING, logger="roboreward_gym"):
        env.close()
    assert "pending" in caplog.text
    assert not held.gate.is_set(), "the judge is still at it"
    with pytest.raises((gym.error.ResetNeeded, NoEpisode)):
        env.step(np.zeros(env.action_space.shape, np.float32))


def test_a_collect_that_waits_is_told_of_the_close(held: Judge) -> None:
    env = deferred(held)
    env.reset()
    env.step(ACTION)
    assert held.begun.wait(60)
    told: list[str] = []

    def collect() -> None:
        try:
            env.collect()
        except NoEpisode as error:
            told.append(str(error))

    waiter = threading.Thread(target=collect)
    waiter.start()
    while waiter.is_alive():
        env.close()
        waiter.join(0.01)
    assert len(told) == 1


def test_late_scores_keep_their_order_and_survive_the_failure_of_others() -> None:
    envs = vector(refusing(1, OSError("gone")), [1, 2, 2], scoring="deferred")
    envs.reset()
    for _ in range(3):
        rewards = step(envs)[1]
    assert math.isnan(rewards[0])
    with pytest.raises(RewardModelFailure, match=r"environments \[1\].*gone"):
        envs.collect()
    done = envs.collect(reward_model=Judge(lambda clip: ProgressScore(1)))
    assert [(e.env, e.episode, e.reward) for e in done] == [
        (0, 0, 0.75),
        (1, 0, 0.0),
        (2, 0, 0.75),
        (0, 1, 0.75),
    ]
    assert envs.collect() == []


def test_scores_that_are_known_come_without_waiting(held: Judge) -> None:
    envs = vector(held, [1, 2], scoring="deferred")
    envs.reset()
    step(envs)
    assert envs.collect(wait=False) == []
    held.gate.set()
    assert [e.env for e in envs.collect()] == [0]


def test_failed_clips_do_not_pile_up() -> None:
    envs = vector(refusing(0, OSError("gone")), [1, 1], scoring="deferred")
    envs.reset()
    step(envs)
    for _ in range(40):
        try:
            step(envs)
        except RewardModelFailure as failure:
            assert "gone" in str(failure)  # noqa: PT017 - it comes in one of the steps
            break
    else:
        pytest.fail("nothing was said of 20 failures")
    with pytest.raises(RewardModelFailure):
        envs.collect()
    done = envs.collect(reward_model=Judge())
    assert [e.episode for e in done if e.env == 0] == list(range(len(done) // 2))


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="needs a partial reset")
def test_a_partial_reset_tells_the_late_scores_of_those_it_resets() -> None:
    envs = vector(Judge(), [1, 2], "Disabled", scoring="deferred")
    envs.reset()
    step(envs)
    _, infos = envs.reset(options={"reset_mask": np.array([True, False])})
    assert infos["roboreward/reward"][0] == 1.0
    assert infos["_roboreward/reward"].tolist() == [True, False]
    step(envs)
    _, infos = envs.reset(options={"reset_mask": np.array([True, True])})
    assert infos["roboreward/reward"].tolist() == [1.0, 1.0]
    assert envs.collect() == []


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="needs a partial reset")
def test_a_late_failure_at_a_partial_reset_asks_for_another() -> None:
    envs = vector(refusing(0, OSError("gone")), [1, 3], "Disabled", scoring="deferred")
    envs.reset()
    step(envs)
    mask = np.array([True, False])
    with pytest.raises(RewardModelFailure, match="gone"):
        envs.reset(options={"reset_mask": mask})
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0\]"):
        step(envs)
    envs.reset(options={"reset_mask": mask})
    assert envs.collect() == [], "the second reset gave it up"
    step(envs)
