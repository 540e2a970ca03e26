"""A robot in place of the simulation: options, and the end of an episode without hands."""

import time
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import experiments.run
from experiments.robot import Robot, RobotOptions, robot_words, ros_id
from experiments.robot_episodes import KeepScores, ScoreWhileRetreating
from experiments.run import parse
from roboreward_gym import Clip, Episode, ProgressScore, RewardModel, VLMRewardWrapper
from roboreward_gym._cli import INTERRUPTED
from roboreward_gym.errors import RewardModelFailure
from robots.conventions import NEUTRAL_JOINTS
from robots.errors import ArmUnavailable, MotionRefused
from robots.recording import RecordEpisodes
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.link import Peers
from tests.fakes import FailingRewardModel, FakeRewardModel
from tests.fakes_robots import EmptyScene
from tests.fakes_xs import FakeDriver

DOWN = np.array([0.4, 0.4, -0.5, 0, 0, 0, -1], np.float32)


def stage(
    folder: Path, reward_model: RewardModel, **settings: bool
) -> tuple[KeepScores, FakeDriver]:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=(48, 64), timer=driver)
    env = gym.wrappers.TimeLimit(
        WidowXEnv(arm, EmptyScene(), "wave", render_mode="rgb_array"), max_episode_steps=3
    )
    recorded = RecordEpisodes(env, folder)
    model = ScoreWhileRetreating(reward_model, recorded, **settings)
    return KeepScores(VLMRewardWrapper(recorded, model, ending="unchanged")), driver


def play(env: gym.Env) -> tuple[float, dict[str, float]]:
    env.reset(seed=0)
    for _ in range(3):
        _, reward, _, _, info = env.step(DOWN)
    return float(reward), info


def test_the_last_step_returns_the_reward_and_the_score_joins_the_file(tmp_path: Path) -> None:
    env, driver = stage(tmp_path, FakeRewardModel(4))
    reward, info = play(env)
    assert (reward, info["roboreward/level"]) == (0.75, 4.0)
    score = Episode.load(tmp_path / "episode-000000.npz").score
    assert score is not None
    assert score.level == 4
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)
    env.close()
    assert driver.log[-2][:3] == ("torque", "arm", False)


def test_an_arm_that_cannot_retreat_does_not_cost_the_episode(tmp_path: Path) -> None:
    class Unplugs:
        """A reward model during whose call the driver dies."""

        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            return [ProgressScore(level=5)] * len(clips)

    env, driver = stage(tmp_path, Unplugs())
    env.reset(seed=0)
    env.step(DOWN)
    env.step(DOWN)
    driver.at(0.199, lambda: setattr(driver, "limp", 1))
    _, reward, _, truncated, _ = env.step(DOWN)
    assert (reward, truncated) == (1.0, True)
    assert Episode.load(tmp_path / "episode-000000.npz").invalid is None


def test_an_unavailable_reward_model_loses_no_episode(tmp_path: Path) -> None:
    env, driver = stage(tmp_path, FailingRewardModel(OSError("no network"), failures=1))
    env.reset(seed=0)
    env.step(DOWN)
    env.step(DOWN)
    with pytest.raises(RewardModelFailure, match="no network"):
        env.step(DOWN)
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)
    kept = Episode.load(tmp_path / "episode-000000.npz")
    assert (kept.score, kept.invalid, len(kept)) == (None, None, 3)
    assert env.step(DOWN)[1] == 0.75
    assert Episode.load(tmp_path / "episode-000000.npz").score is not None


@pytest.mark.parametrize("retreat_first", [True, False])
def test_the_arm_retreats_while_the_model_scores_unless_it_looks_at_the_arm(
    tmp_path: Path, *, retreat_first: bool
) -> None:
    class LooksAtTheArm:
        """Scores by whether the arm is at rest; given time, it waits for that."""

        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            deadline = time.monotonic() + (30 if retreat_first else 0)
            while not self.at_rest() and time.monotonic() < deadline:
                time.sleep(0.001)
            return [ProgressScore(5 if self.at_rest() else 1)]

        def at_rest(self) -> bool:
            return np.allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)

    env, driver = stage(tmp_path, LooksAtTheArm(), retreat_first=retreat_first)
    assert play(env)[0] == (1.0 if retreat_first else 0.0)
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)


def test_the_option_changes_the_environment_and_the_folder_only() -> None:
    plain = parse(["drawer-nano", "--seed", "3"])
    robot = parse(["drawer-nano", "--seed", "3", "--robot", "ros2"])
    assert plain.arm is None
    assert plain.config == plain.experiment
    assert robot.folder == Path("runs/drawer-nano-ros2-seed3")
    assert robot.config.env_id == "robots:WidowXDrawerRos-v0"
    assert robot.arm is not None
    assert not robot.arm.options.i_am_watching
    assert robot.config.dsrl.save_every == 1  # each episode has cost a person a minute


def test_the_options_of_a_robot_reach_its_environment(tmp_path: Path) -> None:
    made: dict[str, object] = {}

    def make(**options: object) -> gym.Env:
        made.update(options)
        arm = XsArm(FakeDriver(), image_size=(48, 64))
        return WidowXEnv(arm, EmptyScene(), "wave", render_mode="rgb_array")

    limits = tmp_path / "limits.json"
    limits.write_text('{"box_low": [0.15, -0.1, 0.03]}')
    options = ["--robot", "ros2", "--i-am-watching", "--camera-topic", "/top/compressed"]
    options += ["--robot-name", "left", "--limits", str(limits), "--reset-script", "shut.json"]
    options += ["--camera-reference", "view.png", "--out", str(tmp_path / "run")]
    options += ["--reward-model", "truth"]
    robot = parse(["drawer-nano", *options]).arm
    assert robot is not None
    gym.register("SomeRos-v0", make)
    try:
        robot.make("SomeRos-v0")
    finally:
        del gym.registry["SomeRos-v0"]
    assert made == {
        "watched": True, "dry_run": False, "simulated_clock": False, "camera_topic": "/top/compressed", "robot_name": "left",
        "limits": limits, "reset_script": Path("shut.json"), "camera_reference": Path("view.png"),
        "setup": None,
        "render_mode": "rgb_array",
    }  # fmt: skip
    assert robot.options.description()["limits"]["box_low"] == [0.15, -0.1, 0.03]
    assert robot.condition() == "The arm was not moved."


def watched(driver: FakeDriver) -> XsArm:
    driver.peers_now = Peers(drivers=1, others=0, simulated=False)
    return XsArm(driver, image_size=(48, 64), timer=driver, watched=True)


def test_the_end_says_how_the_last_phase_that_moved_the_arm_has_left_it(tmp_path: Path) -> None:
    left, asleep = FakeDriver(), FakeDriver()
    robot = Robot(tmp_path, arms=[watched(left)])
    robot.arms[0].reset(NEUTRAL_JOINTS, 1.0)
    robot.arms.append(watched(asleep))  # of the next phase, which ends before its first motion
    assert "with torque on" in robot.condition()
    robot.arms[1].reset(NEUTRAL_JOINTS, 1.0)
    robot.arms[1].close()
    assert robot.condition() == "The arm lies in its sleep pose and its torque is off."


def test_an_arm_that_a_phase_has_left_stopped_moves_in_the_next_one_only_with_consent(
    tmp_path: Path,
) -> None:
    driver = FakeDriver()

    def make(**_: object) -> gym.Env:
        return WidowXEnv(watched(driver), EmptyScene(), "wave", render_mode="rgb_array")

    robot = Robot(tmp_path)
    gym.register("SomeRos-v0", make)
    try:
        base = robot.make("SomeRos-v0")
        base.reset(seed=0)
        driver.errors["elbow"] = 4  # needs a person, so it cannot go to sleep
        robot.arms[0].hold()
        base.close()
        tuning, sent = robot.make("SomeRos-v0"), len(driver.set_points)
        driver.errors["elbow"] = 0
        with pytest.raises(MotionRefused, match=r"was stopped and holds.*allow_motion"):
            tuning.reset(seed=0)
        assert len(driver.set_points) == sent
        robot.arms[1].allow_motion()
        tuning.reset(seed=0)
    finally:
        del gym.registry["SomeRos-v0"]


def test_a_report_names_the_robot_that_it_was() -> None:
    options = RobotOptions(robot="ros2", robot_name="left")
    assert robot_words(None) == "the simulated WidowX"
    assert (
        robot_words(options.description()) == "the simulated WidowX behind the ROS 2 driver /left"
    )
    real = RobotOptions(robot="ros2", robot_name="left", i_am_watching=True)
    dry = RobotOptions(robot="ros2", robot_name="left", dry_run=True)
    assert "dry run that moved nothing" in robot_words(dry.description())
    assert robot_words(real.description()) == "the WidowX /left over ROS 2"


@pytest.mark.parametrize("env_id", ["robots:WidowXToyOnTowel-v0", "robots:WidowXDrawer-v0"])
def test_each_task_exists_over_ros_with_the_same_time_limit(env_id: str) -> None:
    simulated, ros = (gym.spec(i.removeprefix("robots:")) for i in (env_id, ros_id(env_id)))
    assert simulated.max_episode_steps == ros.max_episode_steps


def test_without_ros_the_option_says_how_to_set_it_up(tmp_path: Path) -> None:
    def make(**_: object) -> gym.Env:
        raise ModuleNotFoundError("No module named 'rclpy'")

    gym.register("NoRos-v0", make)
    try:
        with pytest.raises(ArmUnavailable, match=r"rclpy.*make setup-ros"):
            Robot(tmp_path).make("NoRos-v0")
    finally:
        del gym.registry["NoRos-v0"]


def test_a_run_that_is_stopped_says_what_is_kept_and_how_the_arm_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, robot: Robot, **__: object) -> None:
        driver = FakeDriver()
        arm = XsArm(driver, image_size=(48, 64), timer=driver)
        robot.arms.append(arm)
        arm.reset(NEUTRAL_JOINTS, 1.0)
        raise KeyboardInterrupt  # the second one: it was not closed

    monkeypatch.setattr(Robot, "check_installed", lambda _: None)
    monkeypatch.setattr(experiments.run, "open_run", lambda *_, **__: None)
    monkeypatch.setattr(experiments.run, "run", interrupted)
    out = str(tmp_path / "run")
    status = experiments.run.main(["drawer-nano", "--robot", "ros2", "--out", out])
    said = capsys.readouterr().out
    assert status == INTERRUPTED
    assert "what was played is kept" in said
    assert "--resume" in said
    assert "with torque on: support it before you switch the power off" in said
