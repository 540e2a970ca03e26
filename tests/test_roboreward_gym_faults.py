"""What can go wrong between an episode and its reward: each ends in an error or NaN, none in a number."""

import copy
import gc
import logging
import math
import os
import sys
import threading
import types
import weakref
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
from tests.fakes import FailingRewardModel
from tests.fakes_vector import (
    FORKSERVER,
    ColourEnv,
    ColourModel,
    colour,
    colour_reward,
    make_colour_env,
    make_vector,
    mean_colour,
)

ACTION = np.zeros(2, np.float32)


class Model:
    """Answers each clip with what a function makes of it; a test can make it wait."""

    def __init__(self, answer: Callable[[Clip], Any] = lambda clip: ProgressScore(5)) -> None:
        self.answer = answer
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.calls: list[int] = []
        self.most_at_a_time = self._at_a_time = 0

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.calls.append(len(clips))
        self._at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self._at_a_time)
        self.begun.set()
        assert self.gate.wait(60)
        scores = [self.answer(clip) for clip in clips]
        self._at_a_time -= 1
        return scores


def blue(clip: Clip) -> int:
    """Which environment a clip is of."""
    return int(mean_colour(clip)[2] - colour(0, 0, 0)[2])


def refusing(bad: int, error: BaseException) -> Model:
    """A model that fails on the clips of one environment."""

    def answer(clip: Clip) -> ProgressScore:
        if blue(clip) == bad:
            raise error
        return ProgressScore(4)

    return Model(answer)


def vector(
    model: Any, lengths: Sequence[int] = (1, 1, 1), mode: str = "NextStep", **settings: Any
) -> VLMRewardVectorWrapper:
    made = {key: settings.pop(key) for key in ("render_mode", "capture") if key in settings}
    return VLMRewardVectorWrapper(make_vector("sync", lengths, mode, **made), model, **settings)


def step(envs: gym.vector.VectorEnv) -> tuple[Any, ...]:
    return envs.step(np.zeros((envs.num_envs, 2), np.float32))


@pytest.fixture
def held() -> Iterator[Model]:
    """A model that returns nothing until the test is over, or opens its gate."""
    model = Model()
    model.gate.clear()
    yield model
    model.gate.set()


# A model that fails on some of several clips.


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), TimeoutError("10 s")])
def test_one_failed_episode_costs_the_others_nothing(error: Exception) -> None:
    model = refusing(1, error)
    envs = vector(model)
    envs.reset()
    with pytest.raises(RewardModelFailure, match=r"environments \[1\].*(memory|10 s)"):
        step(envs)
    assert model.calls == [3, 1, 1, 1], "asked together, then each by itself"
    assert [score and score.level for score in envs.last_scores] == [4, None, 4]
    healthy = Model()
    assert [score and score.level for score in envs.rescore(healthy)] == [None, 5, None]
    assert healthy.calls == [1], "only the one without a score"
    _, rewards, terminations, _, infos = step(envs)
    assert rewards.tolist() == [0.75, 1.0, 0.75]
    assert infos["roboreward/level"].tolist() == [4.0, 5.0, 4.0]
    assert terminations.all()


def test_a_step_whose_rewards_are_still_to_come_takes_no_action() -> None:
    answers = iter([ValueError("no"), ValueError("no"), ProgressScore(5)])
    envs = vector(Model(lambda clip: raised(next(answers))), [1])
    envs.reset()
    for _ in range(2):
        with pytest.raises(RewardModelFailure):
            step(envs)
    assert step(envs)[1].tolist() == [1.0]
    assert [env.get_wrapper_attr("step_index") for env in envs.unwrapped.envs] == [1]


def raised(answer: Any) -> Any:
    """The answer, unless it is an error."""
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_a_reset_of_all_gives_a_failed_step_up(caplog: pytest.LogCaptureFixture) -> None:
    envs = vector(refusing(0, ValueError("no")), [1, 2])
    envs.reset()
    with pytest.raises(RewardModelFailure):
        step(envs)
    envs.reset()
    assert "given up" in caplog.text
    assert [score and score.level for score in envs.rescore(Model())] == [5, None]
    with pytest.raises(RewardModelFailure):
        step(envs)


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="needs a partial reset")
def test_a_partial_reset_waits_for_the_rewards_of_the_last_step() -> None:
    envs = vector(refusing(0, ValueError("no")), [1, 2], "Disabled")
    envs.reset()
    with pytest.raises(RewardModelFailure):
        step(envs)
    with pytest.raises(NoEpisode, match=r"step\(\) again"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_under_nan_only_the_failed_episode_is_nan() -> None:
    envs = vector(refusing(1, OSError("gone")), on_failure="nan")
    envs.reset()
    _, rewards, _, _, infos = step(envs)
    np.testing.assert_array_equal(rewards, [0.75, math.nan, 0.75])
    assert infos["_roboreward/level"].tolist() == [True, False, True]
    assert infos["roboreward/level"].tolist() == [4.0, 0.0, 4.0]


def test_a_substitute_is_asked_about_the_failed_episode_only() -> None:
    substitute = Model(lambda clip: ProgressScore(2))
    envs = vector(refusing(2, OSError("gone")), on_failure=substitute)
    envs.reset()
    assert step(envs)[1].tolist() == [0.75, 0.75, 0.25]
    assert substitute.calls == [1]


def test_retry_asks_again_about_the_failed_episode_only() -> None:
    answers = iter([None, None, 5])
    model = Model(lambda clip: ProgressScore(next(answers) if blue(clip) == 1 else 4))
    envs = vector(model, on_failure="retry", retries=2)
    envs.reset()
    assert step(envs)[1].tolist() == [0.75, 1.0, 0.75]
    assert model.calls == [3, 1, 1]


# Answers that are not scores.


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


@pytest.mark.parametrize("level", [math.nan, 0, 6, 3.5])
def test_a_level_that_is_none_is_a_failure(level: float) -> None:
    envs = vector(Model(lambda clip: ProgressScore(level)), [1])
    envs.reset()
    with pytest.raises(RewardModelFailure, match="InvalidScore"):
        step(envs)


def test_a_reward_map_without_a_number_loses_no_score() -> None:
    numbers = iter([math.inf, 0.5])
    envs = vector(Model(), [1], reward_map=lambda score: next(numbers))
    envs.reset()
    with pytest.raises(InvalidScore, match="finite"):
        step(envs)
    assert step(envs)[1].tolist() == [0.5]


def test_a_bug_in_the_model_passes_as_it_is_and_loses_no_episode() -> None:
    envs = vector(refusing(1, TypeError("typo")), on_failure="nan")
    envs.reset()
    with pytest.raises(TypeError, match="typo"):
        step(envs)
    envs.rescore(Model())
    assert step(envs)[1].tolist() == [1.0, 1.0, 1.0]


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
    model = ColourModel()
    inner = gym.vector.AsyncVectorEnv([partial(Dies, 3), partial(ColourEnv, 3)], context=FORKSERVER)
    envs = VLMRewardVectorWrapper(inner, model)
    envs.reset()
    step(envs)
    with pytest.raises((EOFError, ConnectionError)):
        step(envs)
    with pytest.raises(gym.error.ResetNeeded):
        step(envs)
    assert model.clips == []
    # Gymnasium warns of the step that never returned, and stumbles over its pipe.
    with pytest.warns(UserWarning, match="pending call"), suppress(EOFError, ConnectionError):
        envs.close(terminate=True)
    inner.closed = True
    for process in inner.processes:
        process.terminate()
        process.join()


@pytest.mark.parametrize(("fault", "error"), [("step", OSError), ("frame", NoFrames)])
@pytest.mark.parametrize("wrap", [FrameCapture, lambda env: env], ids=["captured", "rendered"])
def test_an_episode_with_a_gap_is_never_scored(
    wrap: Callable[[Any], Any], fault: str, error: type[Exception]
) -> None:
    model = ColourModel()
    inner = gym.vector.SyncVectorEnv([lambda: wrap(Breaks(fault)), lambda: wrap(ColourEnv(3))])
    envs = VLMRewardVectorWrapper(inner, model)
    envs.reset()
    step(envs)
    with pytest.raises(error):
        step(envs)
    with pytest.raises(gym.error.ResetNeeded):
        step(envs)
    with pytest.raises(NoEpisode, match="No episode has ended"):
        envs.rescore()
    assert model.clips == []


def test_no_model_reaches_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "heavy_model", types.ModuleType("heavy_model"))

    class Unpicklable(ColourModel):
        __module__ = "heavy_model"

        def __reduce__(self) -> Any:
            raise AssertionError("The model was sent somewhere.")

    model = Unpicklable()
    inner = gym.vector.AsyncVectorEnv([partial(Reports, 1)] * 2, context=FORKSERVER)
    envs = VLMRewardVectorWrapper(inner, model, reward_map=colour_reward)
    envs.reset()
    assert (step(envs)[1] > 0).all()
    for loaded in inner.call("loaded"):
        assert "numpy" in loaded
        assert not {"heavy_model", "torch", "transformers"} & set(loaded)
    envs.close()


class Reports(ColourEnv):
    """Tells what its process has loaded."""

    def loaded(self) -> list[str]:
        return sorted(sys.modules)


# Frames that cannot be had.


def test_vectors_without_a_render_mode_say_so_at_the_reset() -> None:
    envs = vector(Model(), [1], render_mode=None)
    with pytest.raises(NoFrames, match="render_mode='rgb_array'"):
        envs.reset()


def test_captures_without_a_render_mode_say_so_at_the_first_step() -> None:
    envs = vector(Model(), [1], render_mode=None, capture=True)
    envs.reset()
    with pytest.raises(NoFrames, match="render_mode='rgb_array'"):
        step(envs)


def test_a_capture_inside_of_the_time_limit_is_noticed() -> None:
    inner = gym.vector.SyncVectorEnv(
        [lambda: gym.wrappers.TimeLimit(make_colour_env(9, capture=True), 2)]
    )
    envs = VLMRewardVectorWrapper(inner, Model())
    envs.reset()
    step(envs)
    with pytest.raises(NoFrames, match=r"environments \[0\].*recordings are of \[\]"):
        step(envs)


def test_a_vector_that_records_itself_in_part_only_is_refused() -> None:
    inner = gym.vector.SyncVectorEnv(
        [partial(make_colour_env, 2, capture=True), partial(make_colour_env, 2)]
    )
    with pytest.raises(NoFrames, match=r"\[1\] have none"):
        VLMRewardVectorWrapper(inner, Model()).reset()


@pytest.mark.parametrize(
    "settings", [{"frame_source": "image"}, {"max_frames": 16}, {"max_bytes": 9}, {"record_fps": 1}]
)
def test_two_ways_to_record_are_refused(settings: dict[str, Any]) -> None:
    inner = make_vector("sync", [2], capture=True)
    with pytest.raises(InvalidSetting, match="FrameCapture: pass"):
        VLMRewardVectorWrapper(inner, Model(), **settings).reset()


@pytest.mark.parametrize("max_frames", [2, 512])
def test_a_capture_has_its_own_bounds(max_frames: int) -> None:
    envs = VLMRewardVectorWrapper(
        make_vector("sync", [300], capture=True, max_frames=max_frames), Model()
    )
    envs.reset()
    for _ in range(300):
        step(envs)
    assert envs.last_clips[0] is not None
    assert len(envs.last_clips[0].frames) == min(max_frames, 301)


class Sampling(ColourModel):
    """Looks at 0.25 frames per second of five steps: at every fifth frame of those that are recorded."""

    protocol = types.SimpleNamespace(fps=0.25)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_captures_render_as_often_as_the_model_needs_it(kind: str) -> None:
    model = Sampling()
    envs = VLMRewardVectorWrapper(make_vector(kind, [23, 9], capture=True), model)
    for _ in range(2):  # the second full reset and what follows it too
        envs.reset()
        for _ in range(23):
            step(envs)
    envs.close()
    found = [clip.indices.tolist() for clip in model.clips if clip.indices is not None]
    assert len(found) == len(model.clips)
    assert found.count([0, 5, 10, 15, 20, 23]) == 2
    assert found.count([0, 5, 9]) == 4


def test_a_vector_that_renders_itself_records_as_often_as_the_model_needs_it() -> None:
    model = Sampling()
    envs = VLMRewardVectorWrapper(make_vector("sync", [12]), model)
    envs.reset()
    for _ in range(12):
        step(envs)
    assert model.clips[0].indices.tolist() == [0, 5, 10, 12]


def test_a_capture_with_a_rate_of_its_own_keeps_it() -> None:
    model = Sampling()
    capture = partial(FrameCapture, record_fps=2.5)
    inner = gym.vector.SyncVectorEnv([lambda: capture(make_colour_env(7))])
    envs = VLMRewardVectorWrapper(inner, model)
    envs.reset()
    for _ in range(7):
        step(envs)
    assert model.clips[0].indices.tolist() == [0, 2, 4, 6, 7]


@pytest.mark.parametrize("source", ["", None, 3])
def test_a_frame_source_that_no_vector_has_is_refused(source: Any) -> None:
    with pytest.raises(NoFrames, match="an observation key, or a function"):
        VLMRewardVectorWrapper(make_vector("sync", [2]), Model(), frame_source=source)


def test_a_single_environment_is_refused_with_the_name_of_its_wrapper() -> None:
    with pytest.raises(InvalidSetting, match="Use VLMRewardWrapper"):
        VLMRewardVectorWrapper(ColourEnv(), Model())  # ty: ignore[invalid-argument-type]


class Infos(gym.vector.VectorWrapper):
    """Changes what the vector gives, as batched simulators and adapters do."""

    def __init__(self, envs: gym.vector.VectorEnv, change: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__(envs)
        self._change = change

    def step(self, actions: Any) -> Any:
        *step, infos = super().step(actions)
        return *step, self._change(infos)


def test_infos_of_an_unknown_kind_are_refused() -> None:
    envs = VLMRewardVectorWrapper(Infos(make_vector("sync", [1]), lambda infos: [1]), Model())
    envs.reset()
    with pytest.raises(InvalidSetting, match="a list"):
        step(envs)


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="Gymnasium 1.0 has one mode")
@pytest.mark.parametrize("capture", [False, True])
def test_final_infos_may_be_an_array_of_dicts(*, capture: bool) -> None:
    def older(infos: dict[str, Any]) -> dict[str, Any]:
        if "final_info" not in infos:
            return infos
        return {**infos, "final_info": np.array([{"step": 1}, None], object)}

    model = Model()
    envs = Infos(make_vector("sync", [1, 3], "SameStep", capture=capture), older)
    wrapped = VLMRewardVectorWrapper(envs, model, frame_source="render" if capture else "image")
    wrapped.reset()
    if capture:
        with pytest.raises(NoFrames, match=r"\[0\] ended an episode"):
            step(wrapped)
        return
    assert step(wrapped)[1].tolist() == [1.0, 0.0]
    assert model.calls == [1]


def batched(infos: dict[str, Any]) -> dict[str, Any]:
    """The last observations under their old name, as one batch: ManiSkill's way."""
    final = infos.pop("final_obs", None)
    if final is None:
        return infos
    images = [np.zeros((4, 6, 3), np.uint8) if end is None else end["image"] for end in final]
    return {**infos, "final_observation": {"image": np.stack(images)}}


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="Gymnasium 1.0 has one mode")
@pytest.mark.parametrize("source", ["image", lambda envs, seen: seen["image"]])
def test_last_observations_may_be_a_batch(source: Any) -> None:
    model = ColourModel()
    envs = VLMRewardVectorWrapper(
        Infos(make_vector("sync", [2, 3], "SameStep"), batched), model, frame_source=source
    )
    envs.reset()
    for _ in range(3):
        step(envs)
    assert [mean_colour(clip) for clip in model.clips] == [colour(2, 1, 0), colour(3, 1, 1)]


def test_same_step_rendering_names_what_helps() -> None:
    if not hasattr(gym.vector, "AutoresetMode"):
        pytest.skip("Gymnasium 1.0 has one mode")
    envs = VLMRewardVectorWrapper(make_vector("sync", [2], "SameStep"), Model())
    with pytest.raises(NoFrames, match=r"FrameCapture.*NEXT_STEP.*observation key"):
        envs.reset()


def test_a_key_that_is_not_observed_is_named() -> None:
    envs = vector(Model(), [2], frame_source="wrist")
    with pytest.raises(NoFrames, match=r"keys \['image'\]"):
        envs.reset()


# Tasks.


@pytest.mark.parametrize("task", [["one"], lambda envs: ["one"]])
def test_a_task_for_each_is_needed(task: Any) -> None:
    with pytest.raises(InvalidSetting, match="1 tasks for 2 environments"):
        vector(Model(), [1, 1], task=task).reset()


def test_tasks_may_be_one_or_one_each_or_a_function() -> None:
    for task in ("both", ["both", "both"], lambda envs: ["both"] * envs.num_envs):
        envs = vector(Model(), [1, 1], task=task)
        envs.reset()
        step(envs)
        assert [clip and clip.task for clip in envs.last_clips] == ["both", "both"]


class Untold(ColourEnv):
    """An environment without a task."""

    task = property()


def test_missing_tasks_say_what_to_pass() -> None:
    envs = VLMRewardVectorWrapper(gym.vector.SyncVectorEnv([partial(Untold, 1)]), Model())
    with pytest.raises(InvalidSetting, match="Pass task="):
        envs.reset()


# Calls in the wrong order.


def test_a_wrapper_that_is_refused_leaves_the_environments_open() -> None:
    envs = make_vector("sync", [1, 2])
    with pytest.raises(InvalidSetting):
        VLMRewardVectorWrapper(envs, Model(), scoring="later")
    gc.collect()
    assert not envs.closed
    assert envs.reset()[1]


def test_a_step_before_the_reset_is_refused() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        step(vector(Model()))


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="Gymnasium 1.0 always resets")
def test_a_step_after_the_end_is_refused_where_nobody_resets() -> None:
    envs = vector(Model(), [1, 2], "Disabled")
    envs.reset()
    step(envs)
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0\]"):
        step(envs)
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert step(envs)[1].tolist() == [1.0, 1.0]


def test_a_second_reset_leaves_no_frame_and_gives_no_reward() -> None:
    model = ColourModel()
    envs = vector(model, [2, 2], reward_map=colour_reward)
    envs.reset()
    step(envs)
    envs.reset()
    envs.reset()
    step(envs)
    step(envs)
    assert [[mean_colour(clip, i)[:2] for i in range(3)] for clip in model.clips] == [
        [(0.0, 3.0), (1.0, 3.0), (2.0, 3.0)]
    ] * 2


# Scores that come later.


def deferred(model: Any, length: int = 1, **settings: Any) -> VLMRewardWrapper:
    return VLMRewardWrapper(make_colour_env(length), model, scoring="deferred", **settings)


def ours(info: dict[str, Any]) -> dict[str, Any]:
    found = {k.removeprefix("roboreward/"): v for k, v in info.items() if k.startswith("robor")}
    return {k: v for k, v in found.items() if k in ("pending", "episode", "reward", "level")}


def test_an_unknown_way_of_scoring_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="'immediate' or 'deferred', not 'later'"):
        VLMRewardWrapper(make_colour_env(1), Model(), scoring="later")  # ty: ignore[invalid-argument-type]


def test_a_pending_reward_is_no_number_and_comes_with_the_next_reset(held: Model) -> None:
    env = deferred(held)
    _, info = env.reset()
    assert ours(info) == {}
    _, reward, terminated, _, info = env.step(ACTION)
    assert terminated
    assert math.isnan(reward)
    assert ours(info) == {"pending": 0}
    assert (env.last_score, env.last_clip is None) == (None, False)
    opener = threading.Timer(0.05, held.gate.set)
    opener.start()
    _, info = env.reset()
    opener.join()
    assert ours(info) == {"episode": 0, "reward": 1.0, "level": 5.0}
    assert env.last_score is not None
    assert ours(env.reset()[1]) == {}, "each score comes once"
    assert held.calls == [1]


@pytest.mark.parametrize("error", [OSError("gone"), TypeError("typo")])
def test_a_failure_is_raised_at_the_reset_once_and_the_episode_kept(error: Exception) -> None:
    env = deferred(refusing(0, error))
    expected = type(error) if isinstance(error, TypeError) else RewardModelFailure
    for rescored in (True, False):
        env.reset()
        env.step(ACTION)
        with pytest.raises(expected, match=str(error)):
            env.reset()
        with pytest.raises(gym.error.ResetNeeded):
            env.step(ACTION)
        if rescored:
            assert env.rescore(Model()).level == 5
        assert ours(env.reset()[1]).get("reward") == (1.0 if rescored else None)


def test_a_late_nan_is_no_score() -> None:
    env = deferred(refusing(0, OSError("gone")), on_failure="nan")
    env.reset()
    env.step(ACTION)
    info = ours(env.reset()[1])
    assert math.isnan(info.pop("reward"))
    assert info == {"episode": 0}


def test_a_model_is_never_called_from_two_threads_at_a_time(held: Model) -> None:
    env = deferred(held)
    env.reset()
    env.step(ACTION)
    assert held.begun.wait(60)
    opener = threading.Timer(0.05, held.gate.set)
    opener.start()
    assert env.rescore().level == 5
    opener.join()
    assert held.most_at_a_time == 1
    assert ours(env.reset()[1])["episode"] == 0


@pytest.mark.parametrize("make", [deferred, partial(vector, scoring="deferred")])
def test_close_does_not_wait_for_a_model_that_hangs(
    make: Callable[[Model], Any], held: Model, caplog: pytest.LogCaptureFixture
) -> None:
    env = make(held)
    env.reset()
    env.step(np.zeros(env.action_space.shape, np.float32))
    assert held.begun.wait(60)
    with caplog.at_level(logging.WARNING, logger="roboreward_gym"):
        env.close()
    assert "pending" in caplog.text
    assert not held.gate.is_set(), "the model is still at it"
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(env.action_space.shape, np.float32))


def test_late_scores_come_with_later_steps_in_their_own_environments(held: Model) -> None:
    envs = vector(held, [1, 2], scoring="deferred")
    envs.reset()
    infos = step(envs)[4]
    assert infos["_roboreward/pending"].tolist() == [True, False]
    held.gate.set()
    infos = step(envs)[4]
    while "roboreward/reward" not in infos:
        assert "roboreward/pending" not in infos or not infos["_roboreward/pending"][0]
        infos = step(envs)[4]
    assert infos["roboreward/reward"][0] == 1.0
    assert infos["roboreward/episode"][0] == 0
    assert infos["_roboreward/reward"][0]


def test_a_second_end_waits_for_the_score_of_the_first() -> None:
    model = Model()
    envs = vector(model, [1, 1], scoring="deferred")
    envs.reset()
    numbers = []
    for _ in range(6):
        infos = step(envs)[4]
        assert envs.last_scores[0] is None or "roboreward/pending" not in infos
        if "roboreward/episode" in infos:
            numbers.append(infos["roboreward/episode"].tolist())
    infos = envs.reset()[1]
    assert [*numbers, infos["roboreward/episode"].tolist()] == [[0, 0], [1, 1], [2, 2]]
    assert len({id(clip) for clip in envs.last_clips}) == 2


def test_a_late_failure_is_raised_and_the_step_returned_by_the_next_call() -> None:
    envs = vector(refusing(1, OSError("gone")), [1, 1], scoring="deferred")
    envs.reset()
    assert np.isnan(step(envs)[1]).all()
    failure = failed_step(envs)
    assert "environments [1]" in str(failure)
    steps = [env.get_wrapper_attr("step_index") for env in envs.unwrapped.envs]
    assert [s.level if s else None for s in envs.rescore(Model())] == [None, 5]
    infos = step(envs)[4]
    assert [env.get_wrapper_attr("step_index") for env in envs.unwrapped.envs] == steps
    assert infos["roboreward/reward"].tolist() == [0.75, 1.0]
    assert infos["roboreward/episode"].tolist() == [0, 0]


def failed_step(envs: gym.vector.VectorEnv) -> RewardModelFailure:
    """Step until the failure of a pending score is raised: at the latest with the next end."""
    for _ in range(2):
        try:
            step(envs)
        except RewardModelFailure as failure:
            return failure
    raise AssertionError("Nothing was raised.")


def test_a_reset_of_all_gives_failed_late_scores_up(caplog: pytest.LogCaptureFixture) -> None:
    envs = vector(refusing(1, OSError("gone")), [1, 1], scoring="deferred")
    envs.reset()
    step(envs)
    with pytest.raises(RewardModelFailure, match="gone"):
        envs.reset()
    infos = envs.reset()[1]
    assert "given up" in caplog.text
    assert infos["_roboreward/reward"].tolist() == [True, False]


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="needs a partial reset")
def test_a_partial_reset_brings_the_late_scores_of_those_it_resets(held: Model) -> None:
    held.gate.set()
    envs = vector(held, [1, 2], "Disabled", scoring="deferred")
    envs.reset()
    step(envs)
    _, infos = envs.reset(options={"reset_mask": np.array([True, False])})
    assert infos["roboreward/reward"][0] == 1.0
    assert infos["_roboreward/reward"].tolist() == [True, False]
    step(envs)
    _, infos = envs.reset(options={"reset_mask": np.array([True, True])})
    assert infos["roboreward/reward"].tolist() == [1.0, 1.0]


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
    assert "roboreward/reward" not in envs.reset(options={"reset_mask": mask})[1]
    step(envs)


def test_clips_of_scored_episodes_are_let_go() -> None:
    seen: list[weakref.ref[Clip]] = []

    def answer(clip: Clip) -> ProgressScore:
        seen.append(weakref.ref(clip))
        return ProgressScore(3)

    for env in (deferred(Model(answer)), vector(Model(answer), [1, 1], scoring="deferred")):
        for _ in range(10):
            env.reset()
            env.step(np.zeros(env.action_space.shape, np.float32))
        env.reset()
        gc.collect()
        assert sum(clip() is not None for clip in seen) <= 2, "the last of each environment"
        env.close()
        seen.clear()


def test_a_copied_vector_needs_a_reset_after_a_failure_and_in_an_episode() -> None:
    envs = vector(FailingRewardModel(OSError("gone")), [2, 3])
    envs.reset()
    step(envs)
    copies = [copy.deepcopy(envs)]
    with pytest.raises(RewardModelFailure):
        step(envs)
    copies.append(copy.deepcopy(envs))
    for again in copies:
        with pytest.raises(gym.error.ResetNeeded):
            step(again)
        again.reset()
        assert step(again)[1].tolist() == [0.0, 0.0]


def test_resets_of_a_vector_before_any_end_are_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    envs = vector(Model(), [9, 9])
    for _ in range(6):
        envs.reset()
        step(envs)
    assert [r.message for r in caplog.records if "TimeLimit" in r.message] == [
        "3 episodes in a row were reset before they ended, so none was scored and every reward was 0. "
        "If a TimeLimit is outside of this wrapper, put it inside: wrap the result of gym.make."
    ]
    caplog.clear()
    envs = vector(Model(), [2, 9])
    for steps in (1, 1, 3, 1, 1, 2, 1):
        envs.reset()
        for _ in range(steps):
            step(envs)
    assert "TimeLimit" not in caplog.text
