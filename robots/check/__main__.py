"""Set up a real arm: `python -m robots.check --i-am-watching`. Runs on it require the file that this writes.

The first four checks move nothing: joint states, the camera, its view beside the one that policies were trained on, and
its colours. With `--i-am-watching` (or on a simulated driver) the arm then opens and closes its gripper, and goes slowly
to the corners of the workspace, as low as it may. What is not checked this time stays as it was found before.
"""

import argparse
import logging
import os
import sys
import webbrowser
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from roboreward_gym._cli import INTERRUPTED, run_program
from robots.catalogue import SCENES
from robots.check import checks
from robots.check.checks import Bench
from robots.check.page import live_page, verdict, write_page
from robots.check.picture import TrainingView
from robots.disk import naming
from robots.environments.simulated import IMAGE_SIZE
from robots.errors import ArmFault, ArmUnavailable, CameraError, MotionRefused
from robots.limits import limits_to_json, load_limits
from robots.safety import SafetyLimits
from robots.signals import end_on_signals
from robots.xs.clock import SystemTimer
from robots.xs.interface import CAMERA_TOPIC, ROBOT_NAME
from robots.xs.keyboard import Terminal, require_terminal
from robots.xs.operator import Operator
from robots.xs.setup import CHECKS, FOLDER, VIEW, ArmSetup, Finding, of_all

PAGE = "check.html"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        "robots.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--robot-name", default=ROBOT_NAME, help="namespace of the driver")
    parser.add_argument("--camera-topic", default=CAMERA_TOPIC)
    parser.add_argument("--limits", type=Path, help="JSON file of the safety limits to check")
    parser.add_argument(
        "--i-am-watching", action="store_true",
        help="the arm is a real one, and I stand beside it with a hand at its power switch",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=CHECKS, metavar="CHECK",
                        help=f"some checks: {', '.join(CHECKS)}")  # fmt: skip
    parser.add_argument("--scene", choices=SCENES, default=SCENES[0], help="training view")
    parser.add_argument("--out", type=Path, help=f"folder to write; by default {FOLDER}/<name>")
    parser.add_argument("--port", type=int, default=0, help="of the live page; by default any")
    options = parser.parse_args(arguments)
    options.out = options.out or FOLDER / options.robot_name
    return options


def check(
    bench: Bench, only: tuple[str, ...], *, port: int = 0, say: Callable[[str], None]
) -> tuple[list[Finding], np.ndarray | None]:
    """Check, one after the other, and say what was found.

    Args:
        bench: Arm, person and limits.
        only: Names of the checks that are wanted.
        port: Port of the live page.
        say: Called with a line about each.

    Returns:
        The findings, and the last picture beside the training view if there is one.
    """
    findings: list[Finding] = []
    with live_page(bench.picture, port) as address:
        say(f"The camera beside the training view, live: {address}")
        if os.environ.get("DISPLAY"):
            webbrowser.open(address)
        looks: dict[str, Callable[[], Finding]] = {
            "joint states": lambda: checks.joint_states(bench),
            "camera": lambda: checks.camera(bench),
            "view": lambda: checks.view(bench, address),
            "colours": lambda: checks.colours(bench),
        }
        for name, look in looks.items():
            if name in only:
                findings.append(_guarded(name, look))
                say(f"{name}: {verdict(findings[-1])}, {findings[-1].found}")
        try:
            picture = bench.picture()
        except (ArmFault, ArmUnavailable, CameraError):
            picture = None
    for name, move in (("gripper", checks.gripper), ("workspace", checks.workspace)):
        if name in only:
            findings.append(move(bench))
            say(f"{name}: {verdict(findings[-1])}, {findings[-1].found}")
    return findings, picture


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """A camera or a driver that goes away in the middle is a finding too."""
    try:
        return look()
    except (ArmFault, ArmUnavailable, CameraError) as error:
        return Finding(name, passed=False, found=str(error))


def record(
    options: argparse.Namespace,
    limits: SafetyLimits,
    findings: list[Finding],
    picture: np.ndarray | None,
) -> bool:
    """Write set-up, reference of the view and page; whether all checks have passed, earlier ones counted."""
    whole = tuple(of_all([*earlier(options, limits), *findings]))
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    names = {"robot_name": options.robot_name, "camera_topic": options.camera_topic}
    setup = ArmSetup(**names, real=options.i_am_watching, limits=limits, findings=whole, date=date)
    path = setup.save(options.out)
    if picture is not None and all(f.passed for f in whole if f.check in ("view", "colours")):
        live = picture[:, : picture.shape[1] // 3]
        with naming(options.out / VIEW):
            cv2.imwrite(str(options.out / VIEW), cv2.cvtColor(live, cv2.COLOR_RGB2BGR))
    page = write_page(options.out / PAGE, picture, whole)
    sys.stdout.write(f"{path}\n{page}\n")
    return all(finding.passed for finding in whole)


def earlier(options: argparse.Namespace, limits: SafetyLimits) -> tuple[Finding, ...]:
    """What was found before of the same arm, camera and limits."""
    try:
        old = ArmSetup.load(options.out)
    except MotionRefused:
        return ()
    before = (old.robot_name, old.camera_topic, old.real, limits_to_json(old.limits))
    now = (
        options.robot_name, options.camera_topic, options.i_am_watching, limits_to_json(limits),
    )  # fmt: skip
    return old.findings if before == now else ()


def main(arguments: list[str]) -> int:
    """Check, and write what was found; 0 if every check has passed, 1 if not."""
    options = parse(arguments)
    logging.basicConfig(format="%(message)s")
    limits = SafetyLimits() if options.limits is None else load_limits(options.limits)
    if options.i_am_watching:
        require_terminal()
    try:
        from robots.ros.link import RosConfig
        from robots.ros.ros_arm import RosArm
    except ModuleNotFoundError as error:
        raise ArmUnavailable(
            f"The check needs ROS 2 and our messages ({error}). Run `make setup-ros` and start it with "
            ".venv-ros/bin/python, see docs/ros.md."
        ) from error
    operator = Operator(Terminal()) if sys.stdin.isatty() else None
    arm = RosArm(
        RosConfig(options.robot_name, options.camera_topic),
        image_size=IMAGE_SIZE,
        limits=limits,
        watched=options.i_am_watching,
        operator=operator,
    )
    end_on_signals()
    try:
        with closing(TrainingView(options.scene, IMAGE_SIZE)) as view, closing(arm):
            arm.connect()
            bench = Bench(arm, operator, limits, SystemTimer(), view)
            findings, picture = check(bench, tuple(options.only), port=options.port, say=_say)
    except KeyboardInterrupt:
        sys.stdout.write("\nStopped; nothing was written.\n")
        return INTERRUPTED
    finally:
        sys.stdout.write(f"{arm.condition()}\n")
    return 0 if record(options, limits, findings, picture) else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
