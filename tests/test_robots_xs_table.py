"""A real table: the operator puts things back, says how it went, and can stop at any moment."""

import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

import robots  # noqa: F401 - registers the environments
from robots.conventions import NEUTRAL_JOINTS
from robots.errors import ArmFault, MotionRefused, NoTruth, UnreachablePose
from robots.widowx import WidowXEnv
from robots.xs.keyboard import Terminal, require_terminal
from robots.xs.rating import AskRating
from robots.xs.table import RealTable
from tests.fakes_xs import FakeDriver, FakePerson, real_arm

TASKS = ("open the drawer", "close the drawer")


def table(script: Path | None = None) -> tuple[WidowXEnv, FakePerson, FakeDriver]:
    arm, operator, keyboard, driver = real_arm()
    scene = RealTable(arm, TASKS, operator, script=script)
    return WidowXEnv(arm, scene, TASKS[0]), keyboard, driver


def test_the_operator_is_asked_before_the_arm_moves() -> None:
    env, keyboard, _ = table()
    env.reset(seed=0)
    assert keyboard.sent == [0]


def test_the_arm_is_out_of_the_way_while_hands_are_on_the_table() -> None:
    env, keyboard, _ = table()
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.array([0.5, 0.5, -1, 0, 0, 0, -1]))
    env.reset(seed=1)
    np.testing.assert_allclose(keyboard.places[-1], NEUTRAL_JOINTS, atol=0.02)


@pytest.mark.parametrize(
    ("key", "level"), [("s", 5.0), ("f", 1.0), ("sf", 1.0), ("xs", 5.0), ("3", 3.0), ("52", 2.0)]
)
def test_the_last_rating_is_the_true_level_for_reports(key: str, level: float) -> None:
    env, keyboard, _ = table()
    env.reset(seed=0)
    assert np.isnan(env.step(np.zeros(7))[4]["truth/level"])
    keyboard.keys = key
    info = env.step(np.zeros(7))[4]
    assert info["truth/level"] == level
    env.reset(seed=1)
    assert np.isnan(env.step(np.zeros(7))[4]["truth/level"])


def test_keys_of_before_the_episode_count_for_nothing() -> None:
    env, keyboard, _ = table()
    keyboard.keys = "s"
    env.reset(seed=0)
    assert np.isnan(env.step(np.zeros(7))[4]["truth/level"])


@pytest.mark.parametrize(("key", "words"), [(" ", "operator stopped the arm"), ("i", "spoiled")])
def test_the_operator_can_stop_and_spoil_an_episode(key: str, words: str) -> None:
    env, keyboard, driver = table()
    env.reset(seed=0)
    keyboard.keys = key
    with pytest.raises(ArmFault, match=words):
        env.step(np.array([0.5, 0, 0, 0, 0, 0, 1]))
    driver.run(0.5)
    np.testing.assert_allclose(driver.position, driver.set_points[-1][1], atol=1e-6)


def test_q_ends_it_during_an_episode_and_at_the_question() -> None:
    env, keyboard, _ = table()
    env.reset(seed=0)
    keyboard.keys = "q"
    with pytest.raises(KeyboardInterrupt):
        env.step(np.zeros(7))
    keyboard.answer = "q"
    with pytest.raises(KeyboardInterrupt):
        env.reset(seed=1)


def test_the_rating_is_about_its_task_only() -> None:
    env, keyboard, _ = table()
    env.reset(seed=0)
    keyboard.keys = "s"
    env.step(np.zeros(7))
    with pytest.raises(NoTruth):
        env.level(TASKS[1])


def test_a_scripted_reset_asks_nobody(tmp_path: Path) -> None:
    push = NEUTRAL_JOINTS + np.array([0.3, 0, 0, 0, 0, 0])
    script = tmp_path / "shut.json"
    script.write_text(json.dumps([{"joints": push.tolist(), "gripper": 0.0}]))
    env, keyboard, driver = table(script)
    env.reset(seed=0)
    assert keyboard.questions == []
    visited = np.array([joints for _, joints in driver.set_points])
    assert np.abs(visited - push).max(axis=1).min() < 1e-9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON list"),
        ("[]", "must have 6 joints"),
        ('[{"joints": [1], "gripper": 0}]', "must have 6 joints"),
    ],
)
def test_a_script_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    script = tmp_path / "shut.json"
    script.write_text(text)
    with pytest.raises(UnreachablePose, match=message):
        table(script)


def test_a_script_past_the_limits_moves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "shut.json"
    script.write_text(json.dumps([{"joints": [9.0] * 6, "gripper": 0.0}]))
    env, _, driver = table(script)
    with pytest.raises(MotionRefused):
        env.reset(seed=0)
    assert driver.set_points == []


# --- the rating ------------------------------------------------------------------------------------


def rated(
    answer: str, keys: str = "", script: Path | None = None
) -> tuple[float, dict[str, float], FakePerson]:
    """Reward and info of the last step of an episode, with an operator who presses and answers."""
    env, keyboard, driver = table(script)
    wrapped = AskRating(TimeLimit(env, 3))
    wrapped.reset(seed=0)
    keyboard.answer = answer
    keyboard.questions.clear()
    for _ in range(2):
        wrapped.step(np.zeros(7))
    keyboard.keys = keys
    _, reward, _, truncated, info = wrapped.step(np.zeros(7))
    assert truncated
    sent = len(driver.set_points)
    driver.run(5.0)
    assert len(driver.set_points) == sent  # it rests meanwhile
    return reward, info, keyboard


@pytest.mark.parametrize(("answer", "level"), [("1", 1.0), ("4", 4.0), ("5", 5.0), ("s", 5.0)])
def test_at_the_end_of_an_episode_the_operator_is_asked_how_it_went(
    answer: str, level: float
) -> None:
    reward, info, keyboard = rated(answer)
    assert keyboard.questions == [f"How far did it get with {TASKS[0]!r}? 1 no success .. 5 perfect, "
                                  "Enter for unknown (q to end):"]  # fmt: skip
    assert (info["truth/level"], reward) == (level, float(level == 5.0))


def test_who_does_not_know_leaves_it_unknown() -> None:
    reward, info, _ = rated("")
    assert np.isnan([reward, info["truth/level"], info["truth/success"]]).all()


def test_who_has_pressed_a_key_is_not_asked() -> None:
    _, info, keyboard = rated("1", keys="5")
    assert (keyboard.questions, info["truth/level"]) == ([], 5.0)


def test_a_key_that_means_nothing_is_asked_again() -> None:
    answers = iter(["8", "yes", "2"])
    env, keyboard, _ = table()
    wrapped = AskRating(TimeLimit(env, 1))
    wrapped.reset(seed=0)
    keyboard.ask = lambda question: next(answers)
    assert wrapped.step(np.zeros(7))[4]["truth/level"] == 2.0


def test_q_at_the_rating_keeps_the_episode_and_ends_before_the_next() -> None:
    env, keyboard, driver = table()
    wrapped = AskRating(TimeLimit(env, 1))
    wrapped.reset(seed=0)
    keyboard.answer = "q"
    assert wrapped.step(np.zeros(7))[3]
    sent = len(driver.set_points)
    with pytest.raises(KeyboardInterrupt):
        wrapped.reset(seed=1)
    assert len(driver.set_points) == sent


def test_with_a_scripted_reset_nobody_is_asked(tmp_path: Path) -> None:
    script = tmp_path / "shut.json"
    script.write_text(json.dumps([{"joints": (NEUTRAL_JOINTS).tolist(), "gripper": 0.0}]))
    _, info, keyboard = rated("5", script=script)
    assert keyboard.questions == []
    assert np.isnan(info["truth/level"])


def test_the_environments_over_ros_ask_outside_of_their_time_limit() -> None:
    for env_id in ("WidowXToyOnTowelRos-v0", "WidowXDrawerRos-v0"):
        assert [w.name for w in gym.spec(env_id).additional_wrappers] == ["AskRating"]


# --- a real terminal -------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_keys_come_without_enter_and_nothing_waits(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    keyboard = Terminal(theirs, theirs)
    assert keyboard.pressed() == ""
    os.write(ours, b"sf")  # before it looks: the terminal is in line mode then
    assert keyboard.pressed() == "sf"
    assert keyboard.pressed() == ""


def test_a_question_waits_for_a_line(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    os.write(ours, b"yes\n")
    assert Terminal(theirs, theirs).ask("Ready?") == "yes"


def test_without_a_terminal_there_are_no_keys_and_a_question_ends_it() -> None:
    read, write = os.pipe()
    os.close(write)
    keyboard = Terminal(read, 2)
    assert keyboard.pressed() == ""
    with pytest.raises(KeyboardInterrupt, match="operator"):
        keyboard.ask("Ready?")
    os.close(read)


def test_a_keyboard_that_is_no_terminal_is_refused_for_a_real_arm(
    terminal: tuple[int, int],
) -> None:
    require_terminal(terminal[1])
    read, write = os.pipe()
    with pytest.raises(MotionRefused, match="standard input is not a terminal"):
        require_terminal(read)
    os.close(read)
    os.close(write)
