"""Scores of running episodes, and the rewards that come of them."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import (
    Clip,
    FrameBuffer,
    FrameCapture,
    InvalidSetting,
    ProgressScore,
    RewardModelFailure,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
)
from roboreward_gym.shaping import shaping_reward, shaping_rewards
from tests.fakes import FakeRewardModel, PaintedEnv, colour, painted_frame
from tests.fakes_vector import ColourEnv, make_colour_env, make_vector, mean_colour

TASK = "paint the wall"
HALF = 0.5
"""A discount with which each power shows."""


def step_of(clip: Clip) -> int:
    """The step of the last frame: its red."""
    return colour(clip, -1)[0]


def levels(*by_step: int | None) -> Callable[[Clip], int | None]:
    """The level that a fake gives to an episode that has come to a step, from 1 on."""
    return lambda clip: by_step[step_of(clip) - 1]


def play(env: gym.Env[Any, Any]) -> tuple[list[float], list[dict[str, Any]]]:
    """Rewards and infos of one episode."""
    env.reset(seed=0)
    rewards, infos, ended = [], [], False
    while not ended:
        _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        rewards.append(float(reward))
        infos.append(info)
        ended = terminated or truncated
    return rewards, infos


def wrap(model: Any, steps: int = 6, **settings: Any) -> VLMRewardWrapper[Any, Any]:
    settings = {"score_every": 2, "shaping": "progress", "discount": HALF, **settings}
    return VLMRewardWrapper(PaintedEnv(steps), model, TASK, **settings)


def discounted(rewards: Sequence[float], discount: float) -> float:
    return sum(discount**t * reward for t, reward in enumerate(rewards))


# The equations


def test_a_reward_is_the_difference_of_discounted_potentials() -> None:
    assert shaping_reward(0.5, 0.75, 0.5) == -0.125
    assert shaping_rewards(4, {2: 0.5}, 1.0, 1.0) == [0.0, 0.5, 0.0, 0.5]
    assert shaping_rewards(4, {2: 0.5}, 1.0, HALF) == [0.0, 0.25, -0.25, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_the_sum_is_the_difference_of_the_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 30))
    scored = rng.permutation(np.arange(1, steps + 1))[: rng.integers(0, steps)]
    progress = {int(step): float(rng.random()) for step in sorted(scored)}
    end, discount = float(rng.random()), float(rng.uniform(0.5, 1.0))
    rewards = shaping_rewards(steps, progress, end, discount)
    assert len(rewards) == steps
    assert discounted(rewards, discount) == pytest.approx(discount**steps * end)


def returns_of_all_plans(end: Callable[[int], float]) -> dict[tuple[int, ...], tuple[float, float]]:
    """Discounted return of each plan on a line of seven places, without and with shaping.

    Each action goes a place to the right or to the left; the right end is left early, and earns 1. Progress is
    scored every second step, and is wrong: it is highest at the left end.
    """
    discount, found = 0.9, {}
    for plan in itertools.product((1, -1), repeat=6):
        places = [3]
        for action in plan:
            places.append(min(6, max(0, places[-1] + action)))
            if places[-1] == 6:
                break
        steps = len(places) - 1
        progress = {t: 1 - places[t] / 6 for t in range(2, steps, 2)}
        earned = [0.0] * (steps - 1) + [float(places[-1] == 6)]
        shaped = shaping_rewards(steps, progress, end(places[-1]), discount)
        added = [a + b for a, b in zip(earned, shaped, strict=True)]
        found[plan] = (discounted(earned, discount), discounted(added, discount))
    return found


def test_potential_shaping_leaves_the_best_policy_as_it_is() -> None:
    for plain, shaped in returns_of_all_plans(end=lambda place: 0.0).values():
        assert shaped == pytest.approx(plain)


def test_progress_shaping_may_change_the_best_policy() -> None:
    found = returns_of_all_plans(end=lambda place: 2 - place / 3)
    best = [max(found, key=lambda plan: found[plan][kind]) for kind in (0, 1)]
    assert best[0][:3] == (1, 1, 1)
    assert best[1][:3] != (1, 1, 1)


# One environment


def test_without_shaping_only_the_infos_tell_of_progress() -> None:
    model = FakeRewardModel(levels(1, 2, 2, 4, 4, 3))
    rewards, infos = play(wrap(model, shaping="none"))
    assert rewards == [0.0, 0.0, 0.0, 0.0, 0.0, 0.5]
    assert [info.get("roboreward/progress") for info in infos] == [
        *(None, 0.25, None, 0.75, None, None)
    ]
    assert [step_of(clip) for clip in model.clips] == [2, 4, 6]
    assert not any("roboreward/shaping" in info for info in infos)


@pytest.mark.parametrize(
    ("shaping", "discount", "wanted"),
    [
        ("progress", 1.0, [0.0, 0.25, 0.0, 0.5, 0.0, -0.25 + 0.5]),
        ("potential", 1.0, [0.0, 0.25, 0.0, 0.5, 0.0, -0.75 + 0.5]),
        ("progress", HALF, [0.0, 0.125, -0.125, 0.125, -0.375, -0.5 + 0.5]),
        ("potential", HALF, [0.0, 0.125, -0.125, 0.125, -0.375, -0.75 + 0.5]),
    ],
)
def test_rewards_follow_the_progress(shaping: str, discount: float, wanted: list[float]) -> None:
    model = FakeRewardModel(levels(1, 2, 2, 4, 4, 3))  # it falls at the end
    rewards, infos = play(wrap(model, shaping=shaping, discount=discount))
    assert rewards == wanted
    assert [info["roboreward/shaping"] for info in infos] == [*wanted[:-1], wanted[-1] - 0.5]


def test_potential_of_a_truncated_end_is_kept_where_the_learner_bootstraps() -> None:
    settings: dict[str, Any] = {"shaping": "potential", "discount": 1.0, "ending": "unchanged"}
    env = VLMRewardWrapper(
        PaintedEnv(2, terminates=False), FakeRewardModel(3), TASK, score_at=[1], **settings
    )
    assert play(env)[0] == [0.5, 0.0 + 0.5]


def test_score_at_scores_after_these_steps() -> None:
    model = FakeRewardModel(2)
    play(wrap(model, score_every=None, score_at=[1, 5, 9]))
    assert [step_of(clip) for clip in model.clips] == [1, 5, 6]


def test_an_episode_of_one_step_is_scored_once() -> None:
    model = FakeRewardModel(3)
    assert play(wrap(model, steps=1, score_every=1, discount=1.0))[0] == [0.5 + 0.5]
    assert len(model.clips) == 1


def test_episodes_begin_without_progress() -> None:
    env = wrap(FakeRewardModel(levels(1, 2, 2, 4, 4, 3)))
    rewards, _ = play(env)
    assert play(env)[0] == rewards
    env.reset()
    for _ in range(4):
        env.step(np.zeros(2, np.float32))
    assert play(env)[0] == rewards  # after a reset in the middle, too


def test_rewards_of_earlier_steps_are_not_returned_again() -> None:
    assert not any("roboreward/rewards" in info for info in play(wrap(FakeRewardModel(2)))[1])


@pytest.mark.parametrize("settings", [{"record_fps": 0.7}, {"max_frames": 4}])
def test_a_prefix_ends_with_the_present_frame_and_stays_as_it_was(settings: Any) -> None:
    model = FakeRewardModel(3)
    play(wrap(model, steps=23, score_every=5, **settings))
    assert [step_of(clip) for clip in model.clips] == [5, 10, 15, 20, 23]
    for clip in model.clips:
        red = clip.frames[:, 0, 0, 0].tolist()
        assert red[0] == 0
        if clip.indices is not None:
            assert red == clip.indices.tolist()
            assert clip.num_frames == red[-1] + 1
    assert len(model.clips[-1].frames) < 24


def test_scoring_prefixes_does_not_change_the_clip_of_the_episode() -> None:
    clips = []
    for every in (None, 3):
        model = FakeRewardModel(3)
        play(wrap(model, 50, score_every=every, max_frames=8, shaping="none"))
        clips.append(model.clips[-1])
    assert np.array_equal(clips[0].frames, clips[1].frames)
    assert clips[0].indices is not None
    assert clips[1].indices is not None
    assert np.array_equal(clips[0].indices, clips[1].indices)


def test_prefixes_share_the_memory_of_the_recording() -> None:
    buffer = FrameBuffer(painted_frame(0, 0), expected=16)
    parts = []
    for step in range(1, 10):
        buffer.add(lambda step=step: painted_frame(step, 0), final=False)
        parts.append(buffer.prefix(lambda: pytest.fail("the frame is kept already")))
    clips = [part.to_clip(TASK, 5.0) for part in parts]
    assert all(np.shares_memory(clips[0].frames, clip.frames) for clip in clips)


def test_a_prefix_stays_as_it_was_when_the_recording_is_thinned() -> None:
    buffer = FrameBuffer(painted_frame(0, 0), max_frames=4)
    parts = []
    for step in range(1, 20):
        buffer.add(lambda step=step: painted_frame(step, 0), final=False)
        parts.append(buffer.prefix(lambda step=step: painted_frame(step, 0)))
    clips = [part.to_clip(TASK, 5.0) for part in parts]
    for clip, length in zip(clips, range(2, 21), strict=True):
        indices = np.arange(length) if clip.indices is None else clip.indices
        assert clip.frames[:, 0, 0, 0].tolist() == indices.tolist()


# When the model fails


class FailsAtSteps:
    """Refuses clips that end with one of these steps; level 5 for all others."""

    def __init__(self, steps: Sequence[int], failure: Exception | None) -> None:
        self.steps = list(steps)
        self._failure = failure

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        if self._failure is not None and any(step_of(clip) in self.steps for clip in clips):
            raise self._failure
        return [ProgressScore(None if step_of(clip) in self.steps else 5) for clip in clips]


@pytest.mark.parametrize("failure", [RuntimeError("no memory"), None])
@pytest.mark.parametrize("on_failure", ["raise", "nan"])
def test_a_failed_prefix_has_no_value_and_the_next_score_makes_up_for_it(
    failure: Exception | None, on_failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = FailsAtSteps([2], failure)
    rewards, infos = play(wrap(model, discount=1.0, on_failure=on_failure))
    assert rewards == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0 + 1.0]
    assert [bool(info.get("roboreward/prefix_failed")) for info in infos] == [
        *(False, True, False, False, False, False)
    ]
    assert "roboreward/progress" not in infos[1]
    assert "first 2 steps of an episode (paint the wall) got no score" in caplog.text


def test_retry_holds_for_prefixes() -> None:
    model = FailsAtSteps([2], RuntimeError("once"))
    asked: list[int] = []

    def score(clips: Sequence[Clip]) -> list[ProgressScore]:
        asked.append(step_of(clips[-1]))
        if asked.count(2) == 2:
            model.steps = []
        return FailsAtSteps.score(model, clips)

    model.score = score
    rewards, _ = play(wrap(model, discount=1.0, on_failure="retry"))
    assert rewards[1] == 1.0
    assert asked == [2, 2, 4, 6]


def after_a_bug() -> gym.Env:
    """An episode whose second step raised a bug of the reward model, which is gone now."""
    model = FailsAtSteps([2], TypeError("a bug"))
    env = wrap(model, discount=1.0)
    env.reset()
    env.step(np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="a bug"):
        env.step(np.zeros(2, np.float32))
    model.steps = []
    return env


def test_after_a_bug_in_the_model_the_next_step_goes_on_without_an_action() -> None:
    env = after_a_bug()
    action = np.zeros(2, np.float32)
    _, reward, *_, info = env.step(action)
    assert (info["step"], reward) == (2, 1.0)
    assert env.step(action)[-1]["step"] == 3


def test_a_reset_after_a_bug_in_the_model_lets_go_of_the_prefix() -> None:
    env = after_a_bug()
    rewards, infos = play(env)
    assert rewards == [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert "roboreward/progress" not in infos[0]


def test_a_failure_at_the_end_is_raised_and_nothing_is_lost() -> None:
    model = FailsAtSteps([6], RuntimeError("no memory"))
    env = wrap(model, discount=1.0)
    with pytest.raises(RewardModelFailure):
        play(env)
    model.steps = []
    _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
    assert (reward, terminated, info["roboreward/shaping"]) == (1.0, True, 0.0)


# Scores that come later


class RefusesBatches(FakeRewardModel):
    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        if len(clips) > 1:
            raise ValueError("one clip at a time")
        return super().score(clips)


@pytest.mark.parametrize("shaping", ["progress", "potential"])
@pytest.mark.parametrize("make", [FakeRewardModel, RefusesBatches])
def test_deferred_rewards_are_those_of_immediate_scoring(shaping: str, make: Any) -> None:
    level = levels(1, 2, 2, 4, 4, 3)
    wanted, _ = play(wrap(FakeRewardModel(level), shaping=shaping))
    model = make(level)
    env = wrap(model, shaping=shaping, scoring="deferred")
    rewards, infos = play(env)
    assert rewards[:-1] == [0.0] * 5
    assert not any("roboreward/shaping" in info for info in infos)
    assert math.isnan(rewards[-1])
    _, info = env.reset()
    assert list(info["roboreward/rewards"]) == wanted
    assert info["roboreward/reward"] == wanted[-1]
    assert info["roboreward/prefix_steps"] == (2, 4)
    assert info["roboreward/prefix_progress"] == (0.25, 0.75)
    assert sorted(step_of(clip) for clip in model.clips) == [2, 4, 6]


def test_deferred_prefixes_are_scored_in_one_call() -> None:
    calls: list[int] = []

    class Counts(FakeRewardModel):
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            calls.append(len(clips))
            return super().score(clips)

    env = wrap(Counts(3), scoring="deferred")
    play(env)
    env.reset()
    assert calls == [3]


def test_a_failed_prefix_of_a_deferred_episode_has_no_value() -> None:
    env = wrap(FailsAtSteps([2], RuntimeError("no memory")), discount=1.0, scoring="deferred")
    play(env)
    _, info = env.reset()
    assert info["roboreward/prefix_steps"] == (4,)
    assert info["roboreward/rewards"] == (0.0, 0.0, 0.0, 1.0, 0.0, 1.0)


def test_prefixes_keep_their_scores_when_the_end_fails() -> None:
    model = FailsAtSteps([6], RuntimeError("no memory"))
    env = wrap(model, discount=1.0, scoring="deferred")
    play(env)
    with pytest.raises(RewardModelFailure):
        env.reset()
    env.rescore(FakeRewardModel(5))
    _, info = env.reset()
    assert info["roboreward/rewards"] == (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


# Ends by success


def test_an_episode_ends_where_its_success_held() -> None:
    model = FakeRewardModel(levels(1, 5, 1, 3, 1, 5, 1, 5, 1, 5))
    env = wrap(
        model, 20, shaping="progress", discount=1.0, terminate_on_success=0.9, success_hold=2
    )
    env.reset()
    action = np.zeros(2, np.float32)
    steps = [env.step(action) for _ in range(8)]
    assert [step[2] for step in steps] == [False] * 7 + [True]
    info = steps[-1][-1]
    assert info["roboreward/success_stop"]
    assert not info["roboreward/truncated"]
    assert info["roboreward/level"] == 5.0
    assert [step[1] for step in steps] == [0.0, 1.0, 0.0, -0.5, 0.0, 0.5, 0.0, 0.0 + 1.0]
    assert [step_of(clip) for clip in model.clips] == [
        2,
        4,
        6,
        8,
    ]  # the last one is not scored twice
    assert env.last_score is not None
    with pytest.raises(gym.error.ResetNeeded):
        env.step(action)
    env.reset()


@pytest.mark.parametrize("failure", [RuntimeError("no memory"), None])
def test_a_failed_prefix_interrupts_a_success(failure: Exception | None) -> None:
    model = FailsAtSteps([4], failure)
    _, infos = play(wrap(model, 20, terminate_on_success=0.9, success_hold=2))
    assert len(infos) == 8, "not 6: the prefix of 4 steps got no score"
    assert infos[-1]["roboreward/success_stop"]


def test_a_success_as_sure_as_was_asked_for_ends_the_episode() -> None:
    rewards, _ = play(wrap(FakeRewardModel(5), 20, terminate_on_success=1.0))
    assert len(rewards) == 2


def test_success_does_not_end_an_episode_by_default() -> None:
    assert len(play(wrap(FakeRewardModel(5), 20))[0]) == 20


# Vectors


class StepModel(FakeRewardModel):
    """Level by the step of the last frame: 1 2 3 4 5 5 5 …, and remembers the sizes of its calls."""

    def __init__(self) -> None:
        super().__init__(lambda clip: min(5, int(mean_colour(clip)[0])))
        self.calls: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.calls.append(len(clips))
        return super().score(clips)


DENSE: dict[str, Any] = {"score_every": 2, "shaping": "potential", "discount": 0.9}


def single_rewards(steps: int) -> list[float]:
    env = VLMRewardWrapper(ColourEnv(steps), StepModel(), **DENSE)
    return play(env)[0]


@pytest.mark.parametrize("frames", ["render", "image", "capture"])
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_vector_gives_the_rewards_of_single_environments(mode: str, frames: str) -> None:
    if (mode, frames) == ("SameStep", "render"):
        pytest.skip("is refused: the picture is of the next episode already")
    capture, source = frames == "capture", "image" if frames == "image" else "render"
    lengths = (3, 4, 7)
    model = StepModel()
    envs = VLMRewardVectorWrapper(
        make_vector("sync", lengths, mode, capture=capture), model, frame_source=source, **DENSE
    )
    envs.reset(seed=0)
    wanted = [single_rewards(steps) for steps in lengths]
    rewards: list[list[float]] = [[], [], []]
    resets = np.zeros(3, bool)
    for _ in range(14):
        _, found, terminations, truncations, infos = envs.step(np.zeros((3, 2), np.float32))
        for i in range(3):
            stepped = not (resets[i] and mode == "NextStep")
            assert infos["_roboreward/shaping"][i] == stepped
            if stepped:
                rewards[i].append(found[i])
        resets = terminations | truncations
        if mode == "Disabled" and resets.any():
            envs.reset(options={"reset_mask": resets})
    for i, steps in enumerate(lengths):
        twice = (wanted[i] * 2)[: len(rewards[i])]
        assert rewards[i][: 2 * steps] == pytest.approx(twice)
    assert model.calls[0] == 3  # all prefixes of the second step in one call


def test_a_reset_of_a_vector_begins_without_progress() -> None:
    envs = VLMRewardVectorWrapper(make_vector("sync", (5, 5)), StepModel(), **DENSE)
    actions = np.zeros((2, 2), np.float32)
    found = []
    for _ in range(2):
        envs.reset(seed=0)
        found.append([envs.step(actions)[1].tolist() for _ in range(3)])
    assert found[0] == found[1]


def test_prefixes_come_from_processes() -> None:
    envs = VLMRewardVectorWrapper(make_vector("async", (3, 4), capture=True), StepModel(), **DENSE)
    envs.reset(seed=0)
    found = [envs.step(np.zeros((2, 2), np.float32))[1] for _ in range(3)]
    assert [float(r[0]) for r in found] == pytest.approx(single_rewards(3))
    envs.close()


def test_a_deferred_vector_brings_the_rewards_of_all_steps() -> None:
    envs = VLMRewardVectorWrapper(
        make_vector("sync", (3, 4)), StepModel(), scoring="deferred", **DENSE
    )
    envs.reset(seed=0)
    for _ in range(4):
        _, rewards, *_, infos = envs.step(np.zeros((2, 2), np.float32))
        assert all(r == 0.0 or math.isnan(r) for r in rewards)
    _, infos = envs.reset()
    assert infos["roboreward/rewards"][1] == pytest.approx(single_rewards(4))


def test_a_failure_at_one_end_loses_no_reward_of_another_prefix() -> None:
    class FailsOnce(StepModel):
        failed = False

        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            if any(mean_colour(clip)[0] == 2 and clip.task.endswith("0") for clip in clips):
                self.failed, failed = True, self.failed
                if not failed:
                    raise RuntimeError("no memory")
            return super().score(clips)

    envs = VLMRewardVectorWrapper(make_vector("sync", (2, 4)), FailsOnce(), **DENSE)
    envs.reset(seed=0)
    actions = np.zeros((2, 2), np.float32)
    first = [envs.step(actions)[1][1]]
    with pytest.raises(RewardModelFailure):
        envs.step(actions)
    first += [envs.step(actions)[1][1] for _ in range(3)]
    assert first == pytest.approx(single_rewards(4))


@pytest.mark.parametrize("frames", ["render", "capture"])
def test_success_ends_episodes_of_a_vector_that_is_reset_by_hand(frames: str) -> None:
    envs = VLMRewardVectorWrapper(
        make_vector("sync", (3, 20), "Disabled", capture=frames == "capture"),
        StepModel(),
        score_every=1,
        terminate_on_success=1.0,
    )
    envs.reset(seed=0)
    actions = np.zeros((2, 2), np.float32)
    for step in range(1, 6):
        _, rewards, terminations, _, infos = envs.step(actions)
        if step == 3:
            envs.reset(options={"reset_mask": terminations})
    assert terminations.tolist() == [False, True]
    assert rewards.tolist() == [0.0, 1.0]
    assert infos["roboreward/success_stop"][1]
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(actions)
    envs.reset(options={"reset_mask": terminations})
    assert not envs.step(actions)[2][1]


def test_success_cannot_end_episodes_of_a_vector_that_resets_itself() -> None:
    with pytest.raises(InvalidSetting, match=r"AutoresetMode\.DISABLED"):
        VLMRewardVectorWrapper(
            make_vector("sync", (3,)), StepModel(), score_every=1, terminate_on_success=1.0
        )


# Settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score_every": 0}, "counts steps"),
        ({"score_every": True}, "counts steps"),
        ({"score_every": None, "score_at": [0]}, "counts steps"),
        ({"score_at": [3]}, "not both"),
        ({"shaping": "dense"}, "Choose one of none, progress, potential"),
        ({"discount": 0.0}, "in \\(0, 1\\]"),
        ({"discount": math.nan}, "in \\(0, 1\\]"),
        ({"score_every": None}, "Pass score_every= or score_at="),
        (
            {"score_every": None, "shaping": "none", "terminate_on_success": 0.5},
            "Pass score_every=",
        ),
        ({"terminate_on_success": 1.5}, "probability of level 5"),
        ({"terminate_on_success": 0.5, "success_hold": 0}, "scores in a row"),
        ({"terminate_on_success": 0.5, "success_hold": True}, "scores in a row"),
        ({"terminate_on_success": 0.5, "scoring": "deferred"}, "comes too late"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        wrap(FakeRewardModel(), **settings)


def test_a_captured_environment_hands_over_no_prefix_unless_asked() -> None:
    env = make_colour_env(3, capture=True)
    assert isinstance(env, FrameCapture)
    assert not any("roboreward/prefix" in info for info in play(env)[1])
