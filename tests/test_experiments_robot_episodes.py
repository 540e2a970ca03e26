"""The end of an episode beside a real arm: on disk first, then scored, rated and out of the way at once."""

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from experiments.reward_sources import TrueLevel
from experiments.robot_episodes import EPISODE, KeepScores, ScoreWhileRetreating
from roboreward_gym import Clip, Episode, ProgressScore, RewardModel, VLMRewardWrapper
from roboreward_gym.errors import RewardModelFailure
from robots.conventions import NEUTRAL_JOINTS
from robots.recording import INDEX, RecordEpisodes, read_ratings
from robots.widowx import WidowXEnv
from robots.xs.operator import OperatorEnds
from robots.xs.table import RealTable
from tests.fakes import FailingRewardModel, FakeRewardModel
from tests.fakes_xs import FakeDriver, FakePerson, real_arm

DOWN = np.array([0.4, 0.4, -0.5, 0, 0, 0, -1], np.float32)
STEPS = 3


def beside_an_arm(
    folder: Path, reward_model: RewardModel | None, *, blind: bool = False
) -> tuple[KeepScores, FakePerson, FakeDriver]:
    """The environment of an experiment on a real table; without a model the rating is the reward."""
    arm, operator, person, driver = real_arm()
    table = RealTable(arm, ("wave",), operator)
    env = gym.wrappers.TimeLimit(WidowXEnv(arm, table, "wave", render_mode="rgb_array"), STEPS)
    recorded = RecordEpisodes(env, folder)
    scored = ScoreWhileRetreating(
        reward_model or TrueLevel(recorded), recorded, retreat_first=reward_model is not None
    )
    wrapper = VLMRewardWrapper(recorded, scored, ending="unchanged")
    return KeepScores(wrapper, blind=blind), person, driver


def play(env: gym.Env, person: FakePerson, answer: str = "") -> tuple[float, dict[str, float]]:
    """Play an episode; at its end the person answers."""
    env.reset(seed=0)
    person.questions.clear()
    person.places.clear()
    person.answers = [answer]
    for _ in range(STEPS):
        _, reward, _, _, info = env.step(DOWN)
    return float(reward), info


def test_the_operator_is_asked_while_the_episode_is_scored_and_the_arm_rests(
    tmp_path: Path,
) -> None:
    asked = threading.Event()

    class WaitsForTheQuestion:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            assert asked.wait(30)
            return [ProgressScore(2)] * len(clips)

    env, person, _driver = beside_an_arm(tmp_path, WaitsForTheQuestion())
    ask = person.ask

    def note(question: str) -> str:
        assert (tmp_path / INDEX).exists() == ("How far" in question)  # on disk before it is asked
        if "How far" in question:
            asked.set()
        return ask(question)

    person.ask = note
    reward, info = play(env, person, "4")
    assert (reward, info["roboreward/level"]) == (0.25, 2.0)
    assert (info["truth/level"], info["truth/success"], info[EPISODE]) == (4.0, 0.0, 0.0)
    np.testing.assert_allclose(person.places[0], NEUTRAL_JOINTS, atol=0.02)
    assert read_ratings(tmp_path) == {0: 4}


def test_an_unknown_rating_is_nan_and_on_disk(tmp_path: Path) -> None:
    env, person, _ = beside_an_arm(tmp_path, FakeRewardModel(4))
    _, info = play(env, person)
    assert np.isnan([info["truth/level"], info["truth/success"]]).all()
    assert read_ratings(tmp_path) == {0: None}


def test_a_rating_is_asked_once_although_the_model_fails(tmp_path: Path) -> None:
    env, person, _ = beside_an_arm(tmp_path, FailingRewardModel(OSError("gone"), failures=1))
    with pytest.raises(RewardModelFailure):
        play(env, person, "3")
    _, _, _, _, info = env.step(DOWN)
    assert len(person.questions) == 1
    assert info["truth/level"] == 3.0
    assert read_ratings(tmp_path) == {0: 3}


def test_a_blind_run_asks_for_the_file_only(tmp_path: Path) -> None:
    env, person, _ = beside_an_arm(tmp_path, FakeRewardModel(4), blind=True)
    _, info = play(env, person, "5")
    assert np.isnan(info["truth/level"])
    assert read_ratings(tmp_path) == {0: 5}


def test_a_rating_can_be_the_reward(tmp_path: Path) -> None:
    env, person, _ = beside_an_arm(tmp_path, None)
    assert play(env, person, "5")[0] == 1.0
    assert len(person.questions) == 1


def test_q_at_the_rating_keeps_score_and_episode_and_ends_before_the_next(tmp_path: Path) -> None:
    env, person, driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    reward, _ = play(env, person, "q")
    assert reward == 0.75
    assert Episode.load(tmp_path / "episode-000000.npz").score is not None
    sent = len(driver.set_points)
    with pytest.raises(OperatorEnds):
        env.reset(seed=1)
    assert len(driver.set_points) == sent


@pytest.mark.parametrize("key", ["q", " "])
def test_keys_during_the_retreat_cost_no_score(tmp_path: Path, key: str) -> None:
    env, person, driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    env.reset(seed=0)
    env.step(DOWN)
    env.step(DOWN)
    driver.at(0.5, lambda: setattr(person, "keys", key))
    person.answers = ["2"]
    _, reward, _, _, info = env.step(DOWN)
    assert (reward, info["truth/level"]) == (0.75, 2.0)
    stood = driver.position.copy()
    driver.run(2.0)
    np.testing.assert_array_equal(driver.position, stood)
    assert np.abs(stood - NEUTRAL_JOINTS).max() > 0.02  # it did not go on
    person.answers = ["q"]
    with pytest.raises(OperatorEnds):
        env.reset(seed=1)


def test_a_rating_pressed_during_the_retreat_counts_and_nobody_is_asked(tmp_path: Path) -> None:
    env, person, driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    env.reset(seed=0)
    person.questions.clear()
    env.step(DOWN)
    env.step(DOWN)
    driver.at(0.5, lambda: setattr(person, "keys", "5"))
    assert env.step(DOWN)[4]["truth/level"] == 5.0
    assert person.questions == []


def test_a_retreat_that_is_refused_costs_no_score(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env, _person, driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    env.reset(seed=0)
    env.step(DOWN)
    env.step(DOWN)
    # A mode that has to change where the arm would fall: `MotionRefused`.
    other = dataclasses.replace(driver.arm_facts, mode="velocity")
    driver.at(0.19, lambda: setattr(driver, "arm_facts", other))
    _, reward, _, truncated, _ = env.step(DOWN)
    assert (reward, truncated) == (0.75, True)
    assert "could not retreat" in caplog.text
    assert "would fall" in caplog.text


def test_a_space_in_an_answer_agrees_to_nothing(tmp_path: Path) -> None:
    env, person, _driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    person.answers = [" ", "  ", ""]
    env.reset(seed=0)
    assert len(person.questions) == 3
    assert "Space stops the arm" in person.questions[1]
    assert (person.places[2] == person.places[0]).all()


def test_a_rating_that_means_nothing_is_named_and_asked_again(tmp_path: Path) -> None:
    env, person, _ = beside_an_arm(tmp_path, FakeRewardModel(4))
    env.reset(seed=0)
    person.questions.clear()
    person.answers = ["8", "3"]
    for _ in range(STEPS):
        info = env.step(DOWN)[4]
    assert "'8' is not a rating" in person.questions[1]
    assert info["truth/level"] == 3.0


def test_the_end_says_whether_the_arm_is_under_torque(tmp_path: Path) -> None:
    env, _person, _driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    arm = env.unwrapped.arm
    assert arm.condition() == "The arm was not moved."
    env.reset(seed=0)
    assert "torque on" in arm.condition()
    env.close()
    assert arm.condition() == "The arm lies in its sleep pose and its torque is off."


def test_a_second_ctrl_c_leaves_it_under_torque_and_says_so(tmp_path: Path) -> None:
    env, _person, driver = beside_an_arm(tmp_path, FakeRewardModel(4))
    env.reset(seed=0)

    def interrupt() -> None:
        raise KeyboardInterrupt

    driver.at(1.0, interrupt)
    with pytest.raises(KeyboardInterrupt):
        env.close()
    assert "torque on: support it" in env.unwrapped.arm.condition()
