"""A reward model as a node: another process shows it a camera, starts, stops and gets the score."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ros_driver import PATIENCE_S, ROOT, need_ros, until

need_ros()
pytestmark = [pytest.mark.ros, pytest.mark.slow]

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from roboreward_msgs.srv import ScoreRecording, StartRecording  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

CAMERA, OTHER = "/camera/test", "/camera/other"
TASK = "put the duck on the towel"
RED = (200, 30, 20)


class Client:
    """A robot's camera, and a caller of the services."""

    def __init__(self) -> None:
        rclpy.init()
        self.node = Node("client")
        self._publishers = {
            topic: self.node.create_publisher(Image, topic, 5) for topic in (CAMERA, OTHER)
        }
        self.shown: set[str] = {CAMERA}
        self.size = (48, 64)
        self.encoding = "rgb8"
        self._count = 0
        self.node.create_timer(0.05, self._show)
        self._clients = {
            "start": self.node.create_client(StartRecording, "/reward_model/start"),
            "score": self.node.create_client(ScoreRecording, "/reward_model/score"),
        }
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def call(self, name: str, request: Any) -> Any:
        client = self._clients[name]
        until(client.service_is_ready, "service")
        future = client.call_async(request)
        return until(lambda: future.done() and future.result(), "answer")

    def start(self, task: str = TASK, camera_topic: str = "") -> Any:
        return self.call("start", StartRecording.Request(task=task, camera_topic=camera_topic))

    def score(self) -> Any:
        return self.call("score", ScoreRecording.Request())

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _show(self) -> None:
        self._count += 1
        pixels = np.full((*self.size, 3), RED, np.uint8)
        pixels[:, : self._count % self.size[1]] = 255
        for topic in self.shown:
            message = Image(
                height=self.size[0],
                width=self.size[1],
                encoding=self.encoding,
                step=3 * self.size[1],
            )
            message.data = pixels.tobytes()
            self._publishers[topic].publish(message)

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


NODE = """
import sys
from pathlib import Path
from reward_models.judges.by_name import clock
from roboreward_gym.registry import register_reward_model
from robots.ros.reward_model_node import main

class Fragile:
    def score(self, clips):
        if Path(sys.argv[1]).exists():
            raise RuntimeError("out of memory")
        return clock("2").score(clips)

register_reward_model("fragile", Fragile)
sys.exit(main(["--model", "fragile", "--camera-topic", sys.argv[2]]))
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reward model fails while this file exists."""
    return tmp_path_factory.mktemp("node") / "broken"


@pytest.fixture(scope="module", autouse=True)
def _node(broken: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", NODE, str(broken), CAMERA], cwd=ROOT)
    yield
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


def test_an_episode_is_recorded_and_scored(client: Client) -> None:
    started = client.start()
    assert started.success, started.message
    time.sleep(1.0)
    answer = client.score()
    assert answer.success, answer.message
    assert answer.task == TASK
    assert answer.level in range(1, 6)
    assert answer.frames >= 2
    assert answer.duration_s == pytest.approx(answer.frames / 5.0)
    assert json.loads(answer.manifest)
    assert len(answer.probabilities) in (0, 5)


def test_without_a_start_there_is_no_score(client: Client) -> None:
    answer = client.score()
    assert not answer.success
    assert answer.level == 0
    assert "start" in answer.message


def test_after_a_failure_of_the_model_the_episode_can_be_scored_again(
    client: Client, broken: Path
) -> None:
    assert client.start().success
    broken.touch()
    failed = client.score()
    assert not failed.success
    assert "out of memory" in failed.message
    broken.unlink()
    answer = client.score()
    assert answer.success, answer.message
    assert answer.task == TASK
    assert "start" in client.score().message


def test_a_start_without_a_task_or_a_camera_says_so(client: Client) -> None:
    assert "task" in client.start(task="").message
    missing = client.start(camera_topic="/camera/nobody")
    assert not missing.success
    assert "camera" in missing.message
    assert client.start(camera_topic=CAMERA).success


def test_another_camera_can_be_named(client: Client) -> None:
    client.shown = {OTHER}
    assert client.start(camera_topic=OTHER).success
    assert client.score().success
    client.shown = {CAMERA}
    until(lambda: client.start(camera_topic=CAMERA).success, "camera")


def test_a_camera_that_falls_silent_gives_no_score(client: Client) -> None:
    assert client.start().success
    client.shown = set()
    time.sleep(1.2)
    client.shown = {CAMERA}
    answer = client.score()
    assert not answer.success
    assert "cannot be scored" in answer.message
    until(lambda: client.start().success, "camera")
    assert client.score().success


def test_an_encoding_that_is_not_understood_gives_no_score(client: Client) -> None:
    assert client.start().success
    client.encoding = "mono16"
    time.sleep(0.3)
    client.encoding = "rgb8"
    assert "encoding" in client.score().message


def test_an_unknown_reward_model_is_refused_with_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "robots.ros.reward_model_node", "--model", "roboreward-nanoo"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "roboreward-nano" in done.stderr
