"""The LeRobot robot over ROS: the simulated driver in a process of its own, and LeRobot's real commands."""

import pty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.ros_driver import PATIENCE_S, DriverProcess, need_ros, running_driver

need_ros()
pytest.importorskip("lerobot", reason="needs the extra `lerobot`")
pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

import pyarrow.parquet as pq  # noqa: E402
from lerobot.robots.utils import make_robot_from_config  # noqa: E402

from robots.errors import ArmFault, MotionRefused  # noqa: E402
from robots.lerobot_plugin.config_roboreward_widowx import RoboRewardWidowXConfig  # noqa: E402
from robots.lerobot_plugin.features import ACTION_NAMES, CAMERA  # noqa: E402
from robots.lerobot_plugin.roboreward_widowx import RoboRewardWidowX  # noqa: E402
from robots.lerobot_plugin.shared_terminal import SharedTerminal  # noqa: E402
from tests.lerobot_commands import run_commands  # noqa: E402

CONFIG = {"backend": "ros2", "simulated_clock": True, "seed": 5, "ready_s": PATIENCE_S}


@pytest.fixture(scope="module")
def driver() -> Iterator[DriverProcess]:
    with running_driver() as driver:
        yield driver


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lerobot.robots.robot.HF_LEROBOT_CALIBRATION", tmp_path)


def step(**values: float) -> dict[str, float]:
    return {**dict.fromkeys(ACTION_NAMES, 0.0), "gripper.pos": 1.0, **values}


def test_without_a_driver_nothing_is_written(tmp_path: Path) -> None:
    """LeRobot makes the robot before the data set."""
    folder = tmp_path / "my_set"
    robot = [
        "--robot.type=roboreward_widowx",
        "--robot.backend=ros2",
        "--robot.robot_name=nobody",
        "--robot.ready_s=1",
    ]
    data = ["--dataset.repo_id=local/my_set", f"--dataset.root={folder}", "--dataset.fps=5"]
    status, said = run_commands(
        [("record", [*robot, *data, "--teleop.type=roboreward_keyboard", "--play_sounds=false"])],
        [],
        tmp_path,
    )
    assert status != 0
    assert "No XS driver answers at /nobody" in said
    assert not folder.exists()


def test_a_real_arm_needs_the_set_up_that_is_named(tmp_path: Path) -> None:
    _, terminal = pty.openpty()
    config = RoboRewardWidowXConfig(backend="ros2", watched=True, setup=tmp_path)
    with pytest.raises(MotionRefused, match=f"no {tmp_path}/setup.json.*robots.check"):
        RoboRewardWidowX(config, terminal=SharedTerminal(terminal))


def test_it_moves_the_arm_over_ros_and_says_what_was_executed(driver: DriverProcess) -> None:
    robot = make_robot_from_config(RoboRewardWidowXConfig(**CONFIG))
    robot.connect()
    before = robot.get_observation()
    assert before[CAMERA].shape == (192, 256, 3)
    for _ in range(3):
        sent = robot.send_action(step(**{"y.vel": 0.5}))
    assert sent["y.vel"] == pytest.approx(0.5, abs=0.01)
    after = robot.get_observation()
    assert after["y.pos"] - before["y.pos"] == pytest.approx(0.07, abs=0.03)
    assert not np.array_equal(after[CAMERA], before[CAMERA])
    robot.disconnect()
    assert not robot.is_connected


def test_a_demonstration_is_recorded_over_ros(driver: DriverProcess, tmp_path: Path) -> None:
    folder = tmp_path / "my_set"
    record = [
        "--robot.type=roboreward_widowx", "--robot.backend=ros2", "--robot.simulated_clock=true",
        f"--robot.ready_s={PATIENCE_S}",
        "--teleop.type=roboreward_keyboard", "--teleop.speed=1.0", "--play_sounds=false",
        "--dataset.repo_id=local/my_set", f"--dataset.root={folder}", "--dataset.fps=5",
        "--dataset.single_task=put the duck on the towel", "--dataset.num_episodes=1",
        "--dataset.episode_time_s=3", "--dataset.push_to_hub=false",
        "--dataset.rgb_encoder.vcodec=h264",
    ]  # fmt: skip
    status, said = run_commands([("record", record)], [("Recording episode 0", "w")], tmp_path)
    assert status == 0, said[-3000:]
    recorded = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    assert max(action[0] for action in recorded["action"]) == 1.0
    states = np.array(recorded["observation.state"])
    assert np.ptp(states[:, 0]) > 0.02


def test_a_driver_that_dies_ends_it_with_the_reason(
    driver: DriverProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = make_robot_from_config(RoboRewardWidowXConfig(**CONFIG))
    robot.connect()
    monkeypatch.setattr("robots.ros.simulator.time.SLOW_S", 2.0)
    robot._env.arm.ready_s = 1.0  # how long `disconnect` waits for a driver that is gone
    driver.process.kill()  # the last test that needs it
    driver.wait()

    def go_on() -> None:
        while True:
            robot.send_action(step())

    with pytest.raises(ArmFault):
        go_on()
    robot.disconnect()
    assert not robot.is_connected
