"""The WidowX as a LeRobot robot, and its keyboard, without a network."""

import importlib.util
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

from lerobot.robots.utils import make_robot_from_config

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.errors import ArmFault, ArmUnavailable, InvalidAction
from robots.lerobot_plugin import features, roboreward_widowx
from robots.lerobot_plugin.config_roboreward_keyboard import RoboRewardKeyboardConfig
from robots.lerobot_plugin.config_roboreward_widowx import RoboRewardWidowXConfig
from robots.lerobot_plugin.roboreward_keyboard import MOTION_KEYS, KeyState, RoboRewardKeyboard
from robots.lerobot_plugin.roboreward_widowx import PERIOD_S, RoboRewardWidowX
from robots.lerobot_plugin.shared_terminal import SharedTerminal
from robots.safety import SafetyLimits
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.interface import SLEEP_JOINTS
from robots.xs.operator import Operator
from robots.xs.table import RealTable
from tests.fakes_xs import FakeDriver
from tests.ros_driver import ROOT, until

TASKS = ("open the drawer",)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lerobot.robots.robot.HF_LEROBOT_CALIBRATION", tmp_path)
    monkeypatch.setattr("lerobot.teleoperators.teleoperator.HF_LEROBOT_CALIBRATION", tmp_path)


class Typist:
    """The person's side of a terminal; `descriptor` is what a program has as its standard input."""

    def __init__(self) -> None:
        self._keys, self.descriptor = pty.openpty()
        reader, self._screen = os.pipe()
        self.terminal = SharedTerminal(self.descriptor, self._screen)
        self._shown = reader

    def type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def shown(self) -> str:
        return os.read(self._shown, 1000).decode()

    def mode(self) -> list[Any]:
        return termios.tcgetattr(self._keys)


@pytest.fixture
def typist() -> Typist:
    return Typist()


@pytest.fixture
def robot(typist: Typist) -> Iterator[RoboRewardWidowX]:
    robot = RoboRewardWidowX(RoboRewardWidowXConfig(seed=3), terminal=typist.terminal)
    robot.connect()
    yield robot
    robot.disconnect()


def step(**values: float) -> dict[str, float]:
    return {**dict.fromkeys(features.ACTION_NAMES, 0.0), "gripper.pos": 1.0, **values}


def test_lerobot_makes_the_robot_from_its_type() -> None:
    robot = make_robot_from_config(RoboRewardWidowXConfig())
    assert isinstance(robot, RoboRewardWidowX)
    assert not robot.is_connected
    assert RoboRewardWidowXConfig().type == "roboreward_widowx"


def test_rollouts_pass_every_name_on() -> None:
    """LeRobot's rollout drops what ends otherwise."""
    for name in (*features.STATE_NAMES, *features.ACTION_NAMES):
        assert name.endswith((".pos", ".vel"))


def test_an_action_survives_its_names() -> None:
    action = np.linspace(-1, 1, 7).astype(np.float32)
    assert np.array_equal(features.action_from_names(features.named_action(action)), action)


def test_observations_have_the_promised_features(robot: RoboRewardWidowX) -> None:
    observation = robot.get_observation()
    assert list(observation) == list(robot.observation_features)
    assert observation[features.CAMERA].shape == robot.observation_features[features.CAMERA]
    assert observation["z.pos"] == pytest.approx(0.2, abs=0.03)


def test_a_step_moves_the_arm_and_returns_what_was_executed(robot: RoboRewardWidowX) -> None:
    before = robot.get_observation()
    for _ in range(3):
        sent = robot.send_action(step(**{"y.vel": 0.5}))
    assert sent["y.vel"] == pytest.approx(0.5)
    assert robot.get_observation()["y.pos"] - before["y.pos"] == pytest.approx(0.07, abs=0.02)


def test_at_the_edge_of_the_box_the_executed_step_is_shorter(robot: RoboRewardWidowX) -> None:
    for _ in range(4):
        sent = robot.send_action(step(**{"z.vel": 1.0}))
    assert 0.0 <= sent["z.vel"] < 0.5
    assert robot.get_observation()["z.pos"] < SafetyLimits().box_high[2] + 0.01


@pytest.mark.parametrize(
    "action",
    [
        {"delta_x": 0.1, "delta_y": 0.0, "delta_z": 0.0, "gripper": 1.0},  # LeRobot's keyboard_ee
        {"x.vel": 0.1},
        step(**{"x.vel": float("nan")}),
    ],
)
def test_another_robots_action_moves_nothing(
    robot: RoboRewardWidowX, action: dict[str, float]
) -> None:
    before = robot.get_observation()
    with pytest.raises(InvalidAction):
        robot.send_action(action)
    assert robot.get_observation()["x.pos"] == pytest.approx(before["x.pos"], abs=1e-4)


def test_return_to_the_initial_position_is_a_new_start(robot: RoboRewardWidowX) -> None:
    first = robot.get_observation()
    whole_state = {name: first[name] for name in features.STATE_NAMES}
    robot.send_action(step(**{"x.vel": 1.0}))
    robot.send_action(whole_state)
    second = robot.get_observation()
    assert second["x.pos"] == pytest.approx(first["x.pos"], abs=0.04)
    assert not np.array_equal(second[features.CAMERA], first[features.CAMERA])  # shuffled
    robot.send_action(whole_state)  # LeRobot asks for it many times
    assert np.array_equal(robot.get_observation()[features.CAMERA], second[features.CAMERA])


def test_the_space_bar_stops_it(robot: RoboRewardWidowX, typist: Typist) -> None:
    typist.type(" ")
    until(lambda: typist.terminal._stops, "key")
    with pytest.raises(ArmFault, match="space bar"):
        robot.send_action(step(**{"x.vel": 1.0}))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"backend": "gazebo"}, UnknownName, "sim"),
        ({"scene": "kitchen"}, UnknownName, "toy"),
        ({"watched": True}, InvalidSetting, "leave --robot.watched out"),
    ],
)
def test_bad_settings_are_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        RoboRewardWidowXConfig(**options)


def test_an_unknown_task_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ValueError, match="put the duck on the towel"):
        make_robot_from_config(RoboRewardWidowXConfig(task="put the duck on the towl"))


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is not None, reason="ROS 2 is here")
def test_without_ros_the_real_arm_says_what_to_install() -> None:
    with pytest.raises(ValueError, match="make setup-ros"):
        make_robot_from_config(RoboRewardWidowXConfig(backend="ros2"))


def test_a_real_arm_needs_a_terminal() -> None:
    reader, writer = os.pipe()
    config = RoboRewardWidowXConfig(backend="ros2", watched=True)
    with pytest.raises(ArmUnavailable, match="needs a terminal"):
        RoboRewardWidowX(config, terminal=SharedTerminal(reader, writer))


class WatchedRobot(RoboRewardWidowX):
    """Beside a real arm: the driver is one in memory."""

    def __init__(self, typist: Typist) -> None:
        self.driver = FakeDriver()
        config = RoboRewardWidowXConfig(
            backend="ros2", watched=True, image_height=48, image_width=64
        )
        super().__init__(config, terminal=typist.terminal)

    def _make(self) -> WidowXEnv:
        operator = Operator(self._terminal)
        arm = XsArm(
            self.driver, image_size=(48, 64), timer=self.driver, watched=True, operator=operator
        )
        return WidowXEnv(arm, RealTable(arm, TASKS, operator), TASKS[0])


class Answering:
    """Types a line each time that something is asked; notes the question and the set-points that were sent before it."""

    def __init__(self, typist: Typist, driver: FakeDriver, lines: list[str]) -> None:
        self.asked: list[tuple[str, int]] = []
        write, terminal = typist.terminal.write, typist.terminal

        def noted(text: str) -> None:
            self.asked.append((text, len(driver.set_points)))
            write(text)

        def answer() -> None:
            for count, line in enumerate(lines, start=1):
                until(
                    lambda n=count: len(self.asked) == n and terminal._line is not None, "question"
                )
                typist.type(line)

        terminal.write = noted  # ty: ignore[invalid-assignment]
        self._thread = threading.Thread(target=answer)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()


def test_a_watched_arm_asks_before_it_moves_and_the_space_bar_stops_it(typist: Typist) -> None:
    robot = WatchedRobot(typist)
    driver = robot.driver
    answering = Answering(typist, driver, ["\n", "\n"])
    robot.connect()
    assert "hands away" in answering.asked[0][0]
    assert answering.asked[0][1] == 0  # nothing was sent before
    robot.send_action(step(**{"y.vel": 0.5}))
    typist.type(" ")
    until(lambda: typist.terminal._stops, "key")
    driver.run(0.3)  # LeRobot is busy, and asks for nothing
    stopped = driver.position.copy()
    driver.run(1.0)
    assert np.abs(driver.position - stopped).max() < 1e-3
    with pytest.raises(ArmFault, match="operator stopped"):
        robot.send_action(step(**{"y.vel": 0.5}))
    assert np.abs(driver.position - stopped).max() < 1e-3
    robot.disconnect()
    answering.join()
    assert "stopped and holds" in answering.asked[1][0]
    assert np.abs(driver.position - SLEEP_JOINTS).max() < 0.1
    assert driver.torques["shoulder"] == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_connection_that_drops_puts_the_arm_to_sleep(typist: Typist, number: int) -> None:
    handlers = {n: signal.signal(n, signal.SIG_DFL) for n in (signal.SIGHUP, signal.SIGTERM)}
    robot = WatchedRobot(typist)
    answering = Answering(typist, robot.driver, ["\n"])
    try:
        robot.connect()
        assert signal.getsignal(number) is not signal.SIG_DFL  # else it would end these tests
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        robot.disconnect()  # as LeRobot's commands do when they are interrupted
    finally:
        for n, handler in handlers.items():
            signal.signal(n, handler)
    answering.join()
    assert np.abs(robot.driver.position - SLEEP_JOINTS).max() < 0.1
    assert robot.driver.torques["shoulder"] == 0


def test_signals_that_lerobot_handles_stay_its_own(robot: RoboRewardWidowX) -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _: taken.append(number))
    try:
        robot.disconnect()
        robot.connect()
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert taken == [signal.SIGHUP]


# --- keys ------------------------------------------------------------------------------------------


def test_a_key_is_one_step_along_its_axis() -> None:
    state = KeyState(0.5)
    action, home = state.take("w")
    assert action == pytest.approx([0.5, 0, 0, 0, 0, 0, 1])
    assert not home
    assert state.take("")[0] == pytest.approx([0, 0, 0, 0, 0, 0, 1])


def test_keys_of_several_axes_add_up_and_speed_stays() -> None:
    state = KeyState(0.5)
    assert state.take("3dc")[0] == pytest.approx([0, -1, -1, 0, 0, 0, 1])
    assert state.take("1j")[0] == pytest.approx([0, 0, 0, 0, 0, 0.2, 1])


def test_the_gripper_stays_closed_until_it_is_opened_or_the_arm_goes_back() -> None:
    state = KeyState(0.5)
    assert state.take("g")[0][-1] == -1.0
    assert state.take("w")[0][-1] == -1.0
    assert state.take("g")[0][-1] == 1.0
    state.take("g")
    action, home = state.take("h")
    assert home
    assert action[-1] == 1.0


def test_no_key_of_ours_is_one_of_lerobots() -> None:
    assert not MOTION_KEYS & set("nrqNRQ \x1b[CD")


@pytest.mark.parametrize("speed", [0.0, 1.5])
def test_a_speed_out_of_range_is_refused(speed: float) -> None:
    with pytest.raises(InvalidSetting, match="speed"):
        RoboRewardKeyboardConfig(speed=speed)


def test_without_a_terminal_the_keyboard_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedTerminal, "is_tty", False)
    with pytest.raises(ArmUnavailable, match="ssh -t"):
        RoboRewardKeyboard(RoboRewardKeyboardConfig()).connect()


def test_the_keyboard_gives_the_robots_action(
    typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedTerminal, "_shared", typist.terminal)
    keyboard = RoboRewardKeyboard(RoboRewardKeyboardConfig(speed=1.0))
    keyboard.connect()
    typist.type("w")
    action = until(lambda: (got := keyboard.get_action())["x.vel"] and got, "step of the keyboard")
    assert features.action_from_names(action) == pytest.approx([1, 0, 0, 0, 0, 0, 1])
    assert action[features.HOME] == 0.0
    keyboard.disconnect()
    assert not keyboard.is_connected


# --- the terminal ----------------------------------------------------------------------------------


def test_each_key_reaches_the_one_it_is_for(typist: Typist) -> None:
    """LeRobot reads standard input; it gets neither the space bar nor keys of motion."""
    terminal = typist.terminal
    terminal.open(MOTION_KEYS)
    typist.type("w n\x1b[Cd")
    assert until(lambda: len(terminal._moves) == 2 and terminal.motion_keys(), "keys") == "wd"
    assert terminal.pressed() == " "
    assert terminal.pressed() == ""
    # In line mode here, as LeRobot puts it into single-key mode itself.
    typist.type("\n")
    assert os.read(typist.descriptor, 10) == b"n\x1b[C\n"
    terminal.close()


def test_a_question_takes_the_whole_line(typist: Typist) -> None:
    terminal = typist.terminal
    terminal.open(MOTION_KEYS)
    typist.type("was \n")  # before the question: no answer to it
    until(lambda: len(terminal._moves) == 3, "keys")
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(terminal.ask("Ready?")))
    asking.start()
    assert "Ready?" in typist.shown()
    until(lambda: terminal._line is not None, "question")
    typist.type("yes sir\n")
    asking.join()
    assert answers == ["yes sir"]
    assert terminal.motion_keys() == "was"
    terminal.close()


def test_the_last_one_to_close_gives_the_terminal_back(typist: Typist) -> None:
    terminal, before = typist.terminal, typist.mode()
    terminal.open(MOTION_KEYS)
    terminal.open()
    assert typist.mode() != before
    terminal.close()
    assert typist.mode() != before
    terminal.close()
    terminal.close()
    assert typist.mode() == before
    typist.type("w\n")
    assert os.read(typist.descriptor, 10) == b"w\n"


def test_a_program_that_ends_without_closing_leaves_a_terminal_that_works(typist: Typist) -> None:
    code = "from robots.lerobot_plugin.shared_terminal import SharedTerminal as S; S.of_process().open()"
    before = typist.mode()
    subprocess.run([sys.executable, "-c", code], stdin=typist.descriptor, cwd=ROOT, check=True)
    assert typist.mode() == before


# --- what LeRobot's loop relies on ----------------------------------------------------------------


def test_an_action_takes_a_control_period_however_fast_they_come(robot: RoboRewardWidowX) -> None:
    began = time.monotonic()
    for _ in range(2):
        robot.send_action(step())
    assert time.monotonic() - began >= 2 * PERIOD_S


def test_after_a_pause_the_observation_is_of_now(
    robot: RoboRewardWidowX, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.send_action(step())
    before = robot.get_observation()
    arm = robot._env.arm
    assert isinstance(arm, MujocoArm)
    arm.data.qpos[0] += 0.3  # somebody pushes it
    monkeypatch.setattr(roboreward_widowx, "FRESH_S", -1.0)
    assert robot.get_observation()["y.pos"] != pytest.approx(before["y.pos"], abs=0.02)


def test_the_space_bar_holds_the_arm(
    robot: RoboRewardWidowX, typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[None] = []
    monkeypatch.setattr(robot._env.arm, "hold", lambda: held.append(None))
    typist.type(" ")
    until(lambda: typist.terminal._stops, "key")
    with pytest.raises(ArmFault):
        robot.send_action(step())
    assert held


def test_the_key_for_the_start_goes_there_and_the_gripper_is_open(robot: RoboRewardWidowX) -> None:
    first = robot.get_observation()
    robot.send_action(step(**{"x.vel": 1.0, "gripper.pos": -1.0}))
    sent = robot.send_action({**step(**{"x.vel": 1.0}), features.HOME: 1.0})
    assert sent == step()
    second = robot.get_observation()
    assert second["x.pos"] == pytest.approx(first["x.pos"], abs=0.04)
    assert second["gripper.pos"] == pytest.approx(1.0, abs=0.05)
    assert not np.array_equal(second[features.CAMERA], first[features.CAMERA])


def test_an_action_that_also_names_a_state_is_an_action(robot: RoboRewardWidowX) -> None:
    state = {name: robot.get_observation()[name] for name in features.STATE_NAMES}
    sent = robot.send_action({**state, **step(**{"x.vel": 0.5})})
    assert sent["x.vel"] == pytest.approx(0.5)


def test_the_seed_is_of_the_first_scene_and_disconnecting_gives_the_terminal_back(
    typist: Typist,
) -> None:
    before = typist.mode()
    images = []
    for seed in (3, 3, 4):
        robot = RoboRewardWidowX(RoboRewardWidowXConfig(seed=seed), terminal=typist.terminal)
        robot.connect()
        images.append(robot.get_observation()[features.CAMERA])
        assert typist.mode() != before
        robot.disconnect()
        assert typist.mode() == before
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_a_key_counts_once_and_disconnecting_the_keyboard_gives_the_terminal_back(
    typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedTerminal, "_shared", typist.terminal)
    before = typist.mode()
    keyboard = RoboRewardKeyboard(RoboRewardKeyboardConfig(speed=1.0))
    keyboard.connect()
    typist.type("hw")
    until(lambda: len(typist.terminal._moves) == 2, "keys")
    action = keyboard.get_action()
    assert (action[features.HOME], action["x.vel"]) == (1.0, 1.0)
    action = keyboard.get_action()
    assert (action[features.HOME], action["x.vel"]) == (0.0, 0.0)
    keyboard.disconnect()
    assert typist.mode() == before
