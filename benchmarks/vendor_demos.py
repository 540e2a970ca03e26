"""Which of the vendor's demo scripts run on our toolbox part and our simulated driver.

    .venv-ros/bin/python -m benchmarks.vendor_demos PATH

PATH is a checkout of https://github.com/Interbotix/interbotix_ros_manipulators (its branch `jazzy`). Its Python files are
run as they are, one after the other in real time (about three minutes); nothing is fetched or built. A script that
names an arm that we cannot simulate is run once more with the name of one that we can, in a temporary copy, and is
reported as changed. Needs ROS 2 (`make setup-ros`). Writes `benchmarks/results/vendor_demos.json`.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import rclpy
import tyro
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState

from robots.xs.models import MODELS

OUT = Path(__file__).parent / "results" / "vendor_demos.json"
DEMOS = (
    "interbotix_ros_xsarms/interbotix_xsarm_control/demos",
    "interbotix_ros_xsarms/examples/interbotix_xsarm_dual/demos",
)
STAND_IN = "wx250"
"""In the place of another arm with five joints; all others of the demos have five."""
PATIENCE_S = 180.0
LATE_S = 0.5
"""What the last commands get to arrive and to act."""
MOVED_RAD = 0.05
REFUSED = "Nothing moves."


@dataclass(frozen=True)
class Demo:
    """How a script went.

    Attributes:
        script: Path below the checkout.
        arm: The arm that it names.
        unchanged: It was run as it is.
        ran: It ended without an error, nothing was refused, commands came and the arm moved.
        commands: Commands that reached the driver's topics.
        moved_rad: Largest range of a joint while it ran.
        why: What stood in its way, or how it was changed.
    """

    script: str
    arm: str
    unchanged: bool
    ran: bool
    commands: int
    moved_rad: float
    why: str


def named_arms(source: str) -> list[str]:
    """Models that a script makes arms of."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            not isinstance(node, ast.Call)
            or getattr(node.func, "id", "") != "InterbotixManipulatorXS"
        ):
            continue
        named = [word.value for word in node.keywords if word.arg == "robot_model"]
        for value in [*named, *node.args[:1]][:1]:
            if isinstance(value, ast.Constant):
                found.append(str(value.value))
    return found


class Watch:
    """Listens to the joints of an arm."""

    def __init__(self, namespace: str) -> None:
        self._node = Node("watch")
        self._seen: list[np.ndarray] = []
        self._node.create_subscription(JointState, f"/{namespace}/joint_states", self._take, 10)
        self._commands = 0
        for kind, topic in (
            (JointGroupCommand, "joint_group"),
            (JointSingleCommand, "joint_single"),
        ):
            self._node.create_subscription(kind, f"/{namespace}/commands/{topic}", self._count, 100)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)

    def follow(self, process: "subprocess.Popen[str]") -> tuple[int, float]:
        """Listen until a process ends, at most for our patience; returns commands and the largest range of a joint [rad]."""
        deadline = time.monotonic() + PATIENCE_S
        while process.poll() is None and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.1)
        end = time.monotonic() + LATE_S
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)
        return self._commands, float(np.ptp(self._seen, axis=0).max())

    def wait(self) -> None:
        """Wait for the driver."""
        while not self._seen:
            self._executor.spin_once(timeout_sec=0.1)
        self._seen.clear()

    def close(self) -> None:
        """Leave."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _take(self, message: JointState) -> None:
        self._seen.append(np.array(message.position[:-2]))  # without the fingers, in [m]

    def _count(self, _: JointGroupCommand | JointSingleCommand) -> None:
        self._commands += 1


@contextmanager
def driver(model: str) -> Generator[None]:
    """A simulated driver of that model, in real time."""
    command = [
        sys.executable,
        "-m",
        "robots.ros.simulator.driver",
        "--model",
        model,
        "--camera-hz=0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def run(script: Path, model: str) -> tuple[int, float, str]:
    """Run a script beside a driver; returns commands, how far the arm moved [rad], and what went wrong if anything did."""
    command = [sys.executable, "-m", "robots.ros.toolbox.run", str(script)]
    with driver(model):
        watch = Watch(model)
        try:
            watch.wait()
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            commands, moved = watch.follow(process)
            process.kill()  # nothing happens to one that has ended
            said, _ = process.communicate()
        finally:
            watch.close()
    refused = [line for line in said.splitlines() if REFUSED in line]
    why = ""
    if process.returncode:
        why = f"exit status {process.returncode}: {said.strip().splitlines()[-1]}"
    elif refused:
        why = refused[0].partition(REFUSED)[2].strip()
    elif not commands:
        why = "no command reached the driver"
    elif moved < MOVED_RAD:
        why = "the arm did not move"
    return commands, round(moved, 2), why


def judge(checkout: Path, script: Path) -> Demo:
    """Run one script, unchanged if we can simulate its arm."""
    source = script.read_text(encoding="utf-8")
    arms = named_arms(source)
    name, arm = str(script.relative_to(checkout)), " and ".join(dict.fromkeys(arms)) or "none"
    if len(arms) != 1:
        why = f"needs {len(arms)} arms; a simulated table has one"
        return Demo(name, arm, unchanged=True, ran=False, commands=0, moved_rad=0.0, why=why)
    if arms[0] in MODELS:
        commands, moved, why = run(script, arms[0])
        return Demo(
            name, arm, unchanged=True, ran=not why, commands=commands, moved_rad=moved, why=why
        )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / script.name
        copy.write_text(source.replace(f"'{arms[0]}'", f"'{STAND_IN}'"), encoding="utf-8")
        commands, moved, why = run(copy, STAND_IN)
    changed = f"we do not know the geometry of a {arms[0]}: run as {STAND_IN}, the only change"
    return Demo(
        name,
        arm,
        unchanged=False,
        ran=not why,
        commands=commands,
        moved_rad=moved,
        why=f"{changed}; {why}" if why else changed,
    )


def main(checkout: Path, /, only: str = "") -> int:
    """Run the demos.

    Args:
        checkout: Checkout of interbotix_ros_manipulators.
        only: Run scripts whose name contains this, print, and write nothing.
    """
    scripts = [path for folder in DEMOS for path in sorted((checkout / folder).glob("*.py"))]
    scripts = [path for path in scripts if only in path.name]
    if not scripts:
        sys.stderr.write(
            f"{checkout} holds no demos (expected {DEMOS[0]}/*.py): give a checkout of interbotix_ros_manipulators.\n"
        )
        return 1
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    rclpy.init()
    demos = []
    try:
        for script in scripts:
            demos.append(judge(checkout, script))
            print(f"{'ran' if demos[-1].ran else 'did NOT run':12} {asdict(demos[-1])}", flush=True)
    except ExternalShutdownException:
        return 130
    rclpy.try_shutdown()
    if not only:
        OUT.write_text(json.dumps({"demos": [asdict(demo) for demo in demos]}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
