"""A success that the reward model does not repeat is worth level 4."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import (
    Clip,
    InvalidSetting,
    PartialScores,
    ProgressScore,
    RewardModelFailure,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
    as_reward_map,
)
from roboreward_gym.guard import GUARD
from roboreward_gym.operating_point import OperatingPoint
from tests.fakes import PaintedEnv, play


class Rule:
    """Success where a rule of the frames' steps says so; those are told by their red."""

    def __init__(self, rule: Callable[[list[int]], float]) -> None:
        self.rule = rule
        self.calls: list[list[list[int]]] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        seen = [clip.frames[:, 0, 0, 0].tolist() for clip in clips]
        self.calls.append(seen)
        return [self._score(self.rule(steps)) for steps in seen]

    def _score(self, p5: float) -> ProgressScore:
        if math.isnan(p5):
            return ProgressScore(None, text="no idea")
        return ProgressScore(5 if p5 >= 0.5 else 3, np.array([0, 0, 1 - p5, 0, p5]))


def end_of(reward_map: str, model: Rule, steps: int = 6, **settings: str) -> tuple[float, dict]:
    env = VLMRewardWrapper(PaintedEnv(steps), model, reward_map=reward_map, **settings)  # ty: ignore[invalid-argument-type]
    _, reward, _, _, info = play(env)[-1]
    return reward, info


def test_a_success_that_held_counts_and_one_of_the_last_moment_does_not() -> None:
    for since, reward in ((3, 1.0), (5, 0.75)):
        model = Rule(lambda steps, since=since: float(steps[-1] >= since))
        got, info = end_of("guarded:progress?endings=3", model)
        assert got == reward
        assert info["roboreward/vetoed"] == float(reward < 1)
        assert info["roboreward/level"] == (5 if reward == 1 else 4)
        assert [steps[-1] for steps in model.calls[1]] == [5, 4]


def test_two_samplings_have_to_agree() -> None:
    luck = Rule(lambda steps: float(2 in steps))
    got, _ = end_of("guarded:binary?samplings=2", luck)
    assert got == 0.0
    assert luck.calls[1] == [[1, 3, 5, 6]]
    assert end_of("guarded:binary?samplings=2", Rule(lambda steps: float(6 in steps)))[0] == 1.0


@pytest.mark.parametrize(("p5", "reward"), [(0.7, -1.0), (0.95, 0.0)])
def test_too_small_a_probability_is_vetoed_without_a_second_look(p5: float, reward: float) -> None:
    model = Rule(lambda steps: p5)
    assert end_of("guarded:minus_one?p5=0.9&endings=2", model)[0] == reward
    assert sum(map(len, model.calls)) == (1 if reward else 2)


def test_the_operating_point_of_a_file_is_a_check(tmp_path: Path) -> None:
    path = tmp_path / "point.json"
    OperatingPoint("fake", "success_probability", 0.8).save(path)
    name = f"guarded:binary?point={path}"
    assert end_of(name, Rule(lambda steps: 0.7))[0] == 0.0
    assert end_of(name, Rule(lambda steps: 0.9))[0] == 1.0


def test_failures_are_asked_about_once_and_never_vetoed() -> None:
    model = Rule(lambda steps: 0.0)
    reward, info = end_of("guarded:progress?endings=3", model)
    assert (reward, len(model.calls)) == (0.5, 1)
    assert "roboreward/vetoed" not in info


def test_the_score_keeps_what_was_said_and_that_it_does_not_count() -> None:
    model = Rule(lambda steps: float(steps[-1] == 6))
    env = VLMRewardWrapper(PaintedEnv(6), model, reward_map="guarded:progress?endings=2")
    play(env)
    assert env.last_score is not None
    assert env.last_score.manifest[GUARD] == {
        "vetoed": True,
        "levels": [5, 3],
        "success_probabilities": [1.0, 0.0],
    }
    assert env.last_score.success_probability == 0.0
    assert env.last_clip is not None
    assert len(env.last_clip.frames) == 7


def test_a_second_look_that_fails_or_cannot_be_read_is_no_veto() -> None:
    def broken(steps: list[int]) -> float:
        if steps[-1] < 6:
            raise OSError("gone")
        return 1.0

    with pytest.raises(RewardModelFailure, match="gone"):
        end_of("guarded:progress?endings=2", Rule(broken))
    unreadable = Rule(lambda steps: 1.0 if steps[-1] == 6 else math.nan)
    reward, _ = end_of("guarded:progress?endings=2", unreadable, on_failure="nan_unreadable")
    assert math.isnan(reward)


def test_a_failure_leaves_the_other_clips_of_the_call_their_scores() -> None:
    def broken(steps: list[int]) -> float:
        if len(steps) == 4:
            raise OSError("gone")
        return 1.0

    guard = as_reward_map("guarded:progress?endings=2")
    clips = [Clip(np.zeros((n, 6, 8, 3), np.uint8), "paint", 5.0) for n in (3, 5)]
    with pytest.raises(PartialScores) as partial:
        guard.over(Rule(broken)).score(clips)  # ty: ignore[unresolved-attribute]
    first, second = partial.value.outcomes
    assert isinstance(first, ProgressScore)
    assert isinstance(second, RewardModelFailure)


def test_the_vector_wrapper_has_the_same_guard() -> None:
    model = Rule(lambda steps: float(steps[-1] >= 6))
    envs = gym.vector.SyncVectorEnv([lambda: PaintedEnv(6), lambda: PaintedEnv(7)])
    env = VLMRewardVectorWrapper(envs, model, reward_map="guarded:progress?endings=2")
    env.reset(seed=0)
    rewards = [env.step(env.action_space.sample())[1].tolist() for _ in range(7)]
    assert rewards[5][0] == 0.75
    assert rewards[6][1] == 1.0


def test_a_substitute_is_guarded_as_well() -> None:
    def broken(steps: list[int]) -> float:
        raise OSError("gone")

    last_moment = Rule(lambda steps: float(steps[-1] == 6))
    env = VLMRewardWrapper(
        PaintedEnv(6), Rule(broken), reward_map="guarded:progress?endings=2", on_failure=last_moment
    )
    assert play(env)[-1][1] == 0.75


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("guarded:progress", "without a check"),
        ("guarded:progress?", "without a check"),
        ("guarded:progress?endings=0", "endings=0"),
        ("guarded:progress?p5=2", r"p5=2\.0"),
        ("guarded:progress?endings=many", "not a number"),
        ("guarded:progress?ending=2", "no option 'ending'"),
        ("guarded:binary@4?endings=2", "may still call one"),
        ("guarded:calibrated:x.json?endings=2", "may still call one"),
        ("guarded:progress?point=missing.json", "roboreward calibrate"),
    ],
)
def test_a_guard_that_guards_nothing_or_cannot_be_read_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        as_reward_map(name)
