"""What stops the arm, and how fast: every fault, with driver, client and observer in processes of their own.

    python -m benchmarks.ros_faults

Needs ROS 2 (`make setup-ros`) and a quiet machine with two cores: everything happens in real time, and takes about
eight minutes. Writes every row into `benchmarks/results/ros_faults.json` as soon as it is there; rows that are not
measured, with `--only`, stay as they were.
"""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import tyro
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from roboreward_sim_msgs.srv import SetFault
from sensor_msgs.msg import JointState

from robots.conventions import ARM_JOINTS
from robots.xs.interface import FAULT_SERVICE, ROBOT_NAME

OUT = Path(__file__).parent / "results" / "ros_faults.json"
STILL_RAD_S = 0.03
SLOW_RAD_S = 0.75
"""Faster than any slow move, slower than the swinging."""
STEPS_BEFORE = 8
CLOCK = ["wall"]
"""What driver and client go by; `simulated` in a rehearsal."""


FAULTS: dict[str, dict[str, Any]] = {
    "driver death": {"kind": "driver_death"},
    "frozen camera": {"kind": "frozen_camera"},
    "camera repeats its last image": {"kind": "frozen_camera", "repeat": True},
    "late joint states": {"kind": "late_joint_states", "delay_s": 0.3},
    "servo error": {"kind": "servo_error", "joint": "shoulder"},
    "lost commands": {"kind": "lost_messages", "stream": "commands", "probability": 1.0},
    "lost joint states": {"kind": "lost_messages", "stream": "joint_states", "probability": 1.0},
    "lost images": {"kind": "lost_messages", "stream": "images", "probability": 1.0},
    "wrong joint order": {"kind": "wrong_joint_order"},
    "NaN joints": {"kind": "nan_joints", "joint": "shoulder"},
    "clock jump": {"kind": "clock_jump", "offset_s": 3600.0},
    "bus that cannot be read": {"kind": "bus_error"},
    "gripper overload": {"kind": "servo_error", "joint": "gripper"},
    "camera at 3 Hz": {"kind": "slow_camera", "hz": 3.0},
    "image size that changes": {"kind": "image_size"},
}
UNSEEN = ("driver death", "lost joint states")
CLIENT_FAULTS = {
    "SIGTERM of the client": signal.SIGTERM,
    "Ctrl-C of the client": signal.SIGINT,
    "SIGHUP of the client": signal.SIGHUP,
    "kill -9 of the client": signal.SIGKILL,
}
REWARD_MODEL = "network loss of the reward model"
ALL = (*FAULTS, *CLIENT_FAULTS, REWARD_MODEL)


def patience_s() -> float:
    """How long to wait for an event."""
    return 90.0 if CLOCK == ["wall"] else 900.0


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        fault: What happened.
        stopped_ms: From the fault until the arm stood still, or until the client gave up where nobody could see
            the arm; None where nothing has to stop.
        marked_invalid: The episode is on disk with the reason; None where it is none of its fault.
        recovered: The next episode was played to its end.
        reason: What the client said.
    """

    fault: str
    stopped_ms: float | None
    marked_invalid: bool | None
    recovered: bool
    reason: str = ""


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

    def __init__(self, module: str, *arguments: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE, stderr=sys.stderr, text=True,
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


def driver() -> Process:
    """The simulated driver, with the camera at 30 Hz."""
    return Process(
        "robots.ros.simulator.driver",
        "--scene",
        "toy",
        "--camera-hz",
        "30",
        "--clock",
        *CLOCK,
    )


def client(folder: Path, *, episodes: int = 1000, reward_model: str = "constant") -> Process:
    """A client that swings the arm."""
    return Process("benchmarks.ros_client", str(folder), str(episodes), reward_model, *CLOCK)


def moving(event: dict[str, Any]) -> bool:
    """Whether an episode is well under way."""
    return event["event"] == "step" and event["step"] == STEPS_BEFORE


def invalid_on_disk(folder: Path) -> bool:
    """Whether the episode that ended last is on disk, marked."""
    lines = (folder / "episodes.jsonl").read_text().splitlines()
    return bool(lines) and json.loads(lines[-1])["invalid"] is not None


def rate(folder: Path, episodes: int) -> dict[str, Any]:
    """The undisturbed loop: rate, lateness and images, with the camera at 30 Hz."""
    child = client(folder / "rate", episodes=episodes)
    child.wait_for(lambda e: e["event"] == "ended")
    child.end(ask=False)
    reports = [e for e in child.events if e["event"] == "report"]
    first, report = reports[0], reports[-1]
    images_hz = (report["images"] - first["images"]) / (report["at"] - first["at"])
    return {
        "loop_hz": round(report["hz"], 4),
        "lateness_p95_ms": round(report["lateness_p95_ms"], 3),
        "periods": report["periods"],
        "overruns": report["overruns"],
        "images_hz": round(images_hz, 3),
        "images": report["images"],
        "images_lost": report["images_lost"],
    }


def driver_faults(
    observer: Observer, names: Sequence[str], folder: Path, machine: list[Process]
) -> Iterator[Fault]:
    """Break the driver in the middle of an episode, mend it, see the next episode through, and so on."""
    if not names:
        return
    child, seen = client(folder), 0
    try:
        for name in names:
            seen = child.wait_for(moving, seen)
            began = observer.inject(FAULTS[name])
            seen = child.wait_for(lambda e: e["event"] == "invalid", seen)
            event = child.events[seen - 1]
            time.sleep(1.0)
            last = event["at"] if name in UNSEEN else observer.last(began) or began
            if name == "driver death":
                machine[0].end()
                machine[0] = driver()
            else:
                observer.inject({})
            marked = invalid_on_disk(folder)
            seen = child.wait_for(lambda e: e["event"] == "step" and "reward" in e, seen)
            yield Fault(
                name, round(1e3 * (last - began), 1), marked, recovered=True, reason=event["reason"]
            )
    except TimeoutError as error:
        yield Fault(name, None, None, recovered=False, reason=str(error))
    finally:
        child.end()


def client_fault(observer: Observer, name: str, folder: Path) -> Fault:
    """End the client in the middle of an episode, and start another one."""
    number = CLIENT_FAULTS[name]
    child = client(folder)
    child.wait_for(moving)
    began = child.signal(number)
    orderly = number != signal.SIGKILL
    if orderly:
        child.wait_for(lambda e: e["event"] == "ended")
    time.sleep(1.0)
    # An orderly end goes on slowly to the sleep pose; what has to stop is the episode's motion.
    last = observer.last(began, SLOW_RAD_S if orderly else STILL_RAD_S) or began
    child.end(ask=False)
    marked = invalid_on_disk(folder) if orderly else None
    after = client(folder, episodes=1)
    try:
        after.wait_for(lambda e: e["event"] == "step" and "reward" in e)
        recovered = True
    except TimeoutError:
        recovered = False
    after.end(ask=not recovered)
    return Fault(name, round(1e3 * (last - began), 1), marked, recovered)


def reward_model_fault(folder: Path) -> Fault:
    """Take the reward model off the network for the end of an episode: the episode must not be lost."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = ("reward_models.serving.server", "--model", "constant:4", "--port", port)
    server = Process(*arguments)
    child = client(folder, episodes=1, reward_model=f"remote:http://127.0.0.1:{port}")
    try:
        child.wait_for(moving)
        server.end()
        seen = child.wait_for(lambda e: e["event"] == "step" and e["step"] == 39)
        time.sleep(8.0)
        waited = len(child.events) == seen
        server = Process(*arguments)
        seen = child.wait_for(lambda e: e["event"] == "step" and "reward" in e, seen)
        reward = child.events[seen - 1]["reward"]
        marked = invalid_on_disk(folder)
        return Fault(REWARD_MODEL, None, marked, waited and reward == 0.75)
    except TimeoutError as error:
        return Fault(REWARD_MODEL, None, None, recovered=False, reason=str(error))
    finally:
        child.end()
        server.end()


@dataclass(frozen=True)
class Args:
    """Measure what stops the arm over ROS 2."""

    out: Path = OUT
    """JSON file to write."""
    only: tuple[str, ...] = ()
    """Names of faults; by default all of them."""
    episodes: int = 4
    """Undisturbed episodes for the rate, two or more of 40 steps each; 0 leaves it out."""
    rehearse: bool = False
    """Go by a slow simulated clock, to try this program on a busy machine: the numbers mean nothing, and no
    file is written."""


def main(args: Args) -> None:
    """Measure and write."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if args.rehearse:
        CLOCK[:] = ["simulated"]
    wanted = [name for name in ALL if name in (args.only or ALL)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine, observer = [driver()], Observer()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if args.episodes:
                keep(args, rate(folder, args.episodes))
            of_driver = [name for name in FAULTS if name in wanted]
            for fault in driver_faults(observer, of_driver, folder / "driver", machine):
                keep(args, {}, fault)
            for name in CLIENT_FAULTS:
                if name in wanted:
                    keep(args, {}, client_fault(observer, name, folder / name))
            if REWARD_MODEL in wanted:
                keep(args, {}, reward_model_fault(folder / REWARD_MODEL))
    finally:
        observer.close()
        machine[0].end()


def keep(args: Args, found: dict[str, Any], fault: Fault | None = None) -> None:
    """Print what was measured, and write it at once, in the place of what was measured before."""
    print(fault or found, flush=True)
    if args.rehearse:
        return
    old = json.loads(args.out.read_text()) if args.out.exists() else {"faults": []}
    rows = {row["fault"]: row for row in old["faults"]}
    if fault is not None:
        rows[fault.fault] = asdict(fault)
    record = {**old, **found, "faults": [rows[n] for n in ALL if n in rows], "machine": _machine()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    load = os.getloadavg()[0]
    return {"cores": os.cpu_count(), "load": round(load, 2), "python": platform.python_version()}


if __name__ == "__main__":
    main(tyro.cli(Args))
