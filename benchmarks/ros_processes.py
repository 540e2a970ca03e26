"""The processes of `benchmarks.ros_faults`: an observer, and children whose output is kept."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from roboreward_sim_msgs.srv import SetFault
from sensor_msgs.msg import JointState

from robots.conventions import ARM_JOINTS
from robots.xs.interface import FAULT_SERVICE, ROBOT_NAME

STILL_RAD_S = 0.03
CLOCK = ["wall"]
"""What driver and client go by; `simulated` in a rehearsal."""


def patience_s() -> float:
    """How long to wait for an event."""
    return 120.0 if CLOCK == ["wall"] else 900.0


class Observer:
    """Sees the arm's true motion, from a process that the client knows nothing of."""

    def __init__(self) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("observer")
        self.speeds: list[tuple[float, float]] = []
        self._node.create_subscription(
            JointState, f"/{ROBOT_NAME}/joint_states", self._on_joints, 10
        )
        self._fault = self._node.create_client(SetFault, FAULT_SERVICE)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def inject(self, fault: dict[str, Any]) -> float:
        """Begin a fault, or end all with `{}`; returns the date [s]."""
        if not self._fault.wait_for_service(timeout_sec=30.0):
            raise SystemExit("The simulated driver is not running. Start it first.")
        began, answered = time.time(), threading.Event()
        future = self._fault.call_async(SetFault.Request(fault=json.dumps(fault)))
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(5.0) and fault.get("kind") != "driver_death":
            raise SystemExit(f"The simulated driver did not answer to the fault {fault}.")
        return began

    def last(self, since: float, faster_than: float = STILL_RAD_S) -> float | None:
        """Date of the last motion after `since`; None if there was none."""
        dates = [date for date, speed in self.speeds if date >= since and speed > faster_than]
        return max(dates, default=None)

    def close(self) -> None:
        """Leave the network."""
        self._ended.set()
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while not self._ended.is_set():
                self._executor.spin_once(timeout_sec=0.1)

    def _on_joints(self, message: JointState) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        # A stamp that cannot be true is that of the jumping clock.
        date = stamp if abs(time.time() - stamp) < 10.0 else time.time()
        speed = dict(zip(message.name, message.velocity, strict=True))
        effort = dict(zip(message.name, message.effort, strict=True))
        if any(
            effort[j] for j in ARM_JOINTS
        ):  # else the torque is off: the arm settles in its sleep pose
            self.speeds.append((date, float(np.abs([speed[j] for j in ARM_JOINTS]).max())))


class Process:
    """A child whose output is kept; JSON lines of a client are its events."""

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for(self, condition: Callable[[dict[str, Any]], bool], after: int = 0) -> int:
        """Index behind the first event from `after` on that is wanted.

        Raises:
            TimeoutError: It did not come.
        """
        deadline, index = time.monotonic() + patience_s(), after
        while time.monotonic() < deadline:
            while index < len(self.events):
                index += 1
                if condition(self.events[index - 1]):
                    return index
            time.sleep(0.002)
        raise TimeoutError(f"The event did not come; the last ones were {self.events[-3:]}.")

    def signal(self, number: int) -> float:
        """Send a signal; returns the date [s]."""
        self._child.send_signal(number)
        return time.time()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._child.pid

    def end(self, *, ask: bool = True) -> None:
        """Stop it, or do not even `ask` one that ends by itself, and wait for its end."""
        if ask and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(patience_s())
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
