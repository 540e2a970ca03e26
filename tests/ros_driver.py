"""A simulated driver in a process of its own, for the tests marked `ros`.

Everything goes by the driver's simulated clock, so that a slow machine only makes the tests slower. Each test
process has a ROS domain of its own, and nothing leaves the loopback interface.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from robots.ros import dds

REASON = "needs ROS 2 and the messages (make setup-ros)"
ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 300.0
"""Wall time that a slow machine gets for what takes a second."""
SPEED = "4"
"""Simulated seconds in a second, at most: the simulation waits for a client that gets little time."""

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
dds.large_images()


def need_ros() -> None:
    """Skip the test, or at module level the module, without ROS 2 and the messages."""
    for module in ("rclpy", "interbotix_xs_msgs", "roboreward_msgs", "roboreward_sim_msgs"):
        pytest.importorskip(module, reason=REASON)


class DriverProcess:
    """A driver that runs; `log` is what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        """Standard output and error so far."""
        return self._log.read_text(encoding="utf-8")

    def wait(self) -> int:
        """Wait for its end; the exit status."""
        return self.process.wait(PATIENCE_S)


@contextmanager
def running_driver(
    *arguments: str,
    simulated_clock: bool = True,
    program: Sequence[str] = ("-m", "robots.ros.simulator.driver"),
) -> Iterator[DriverProcess]:
    """A driver from its start to an orderly end."""
    command = [sys.executable, *program, *arguments]
    if simulated_clock:
        command += ["--clock", "simulated", "--speed", SPEED]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream)
        try:
            yield DriverProcess(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            sys.stdout.write(log.read_text(encoding="utf-8"))  # pytest shows it with a failure


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for something that comes; its value."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"no {what} within {patience_s:g} s"
        time.sleep(0.01)
    return value


class Inbox:
    """Keeps the newest messages of a topic."""

    def __init__(self, node: Any, kind: Any, topic: str, qos: Any = 10) -> None:
        self._lock = threading.Lock()
        self._messages: list[Any] = []
        node.create_subscription(kind, topic, self._take, qos)

    def clear(self) -> None:
        """Forget what came."""
        with self._lock:
            self._messages.clear()

    def messages(self) -> list[Any]:
        """What came since the last `clear`."""
        with self._lock:
            return list(self._messages)

    def next(self, count: int = 1) -> list[Any]:
        """The next messages to come."""
        self.clear()
        until(lambda: len(self.messages()) >= count, f"{count} messages")
        return self.messages()

    def _take(self, message: Any) -> None:
        with self._lock:
            self._messages.append(message)
