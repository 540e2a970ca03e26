"""The environments over ROS 2: the same tasks as in simulation, on a real WidowX or behind a simulated driver."""

import atexit
from pathlib import Path
from typing import Any

from roboreward_gym.errors import InvalidSetting
from robots.catalogue import task_entry
from robots.environments.simulated import IMAGE_SIZE
from robots.limits import load_limits
from robots.ros.link import RosConfig, RosLink
from robots.ros.ros_arm import RosArm
from robots.ros.simulator.table import SimulatedTable
from robots.ros.simulator.time import simulated_clock_limits, simulated_time_arm
from robots.safety import SafetyLimits
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.dry import DryLink
from robots.xs.images import View, load_rgb
from robots.xs.interface import CAMERA_TOPIC, ROBOT_NAME
from robots.xs.keyboard import Keyboard, Terminal, require_terminal
from robots.xs.operator import Operator
from robots.xs.setup import FOLDER, VIEW, ArmSetup
from robots.xs.table import RealTable


def make(
    name: str,
    task: str | None = None,
    *,
    watched: bool = False,
    dry_run: bool = False,
    robot_name: str = ROBOT_NAME,
    camera_topic: str = CAMERA_TOPIC,
    simulated_clock: bool = False,
    reset_script: Path | None = None,
    camera_reference: Path | None = None,
    setup: Path | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    limits: SafetyLimits | Path | None = None,
    keyboard: Keyboard | None = None,
    **kwargs: Any,
) -> WidowXEnv:
    """An environment over an XS driver; nothing moves before its first reset.

    Args:
        name: Name of the task's entry in `robots.catalogue`.
        task: Another task of its scene.
        watched: Somebody stands beside a real arm with a hand at its power switch. Without it the driver has
            to be a simulated one, whose scene is shuffled at every reset and reports its true level.
        dry_run: Nothing is sent to the arm, which only seems to move: for the whole loop around it, the person included.
        robot_name: Namespace of the driver.
        camera_topic: Raw images, or compressed ones if it ends in `/compressed`.
        simulated_clock: Go by `/clock`, with a driver that has `--clock simulated`.
        reset_script: Scripted reset of a real table; without it the operator is asked.
        camera_reference: Image of the camera's view that a person has looked at; one that is upside down or has other
            colours is refused. By default that of the set-up.
        setup: Folder of the set-up of a real arm, which `python -m robots.check` writes; by default
            `robot_setup/<robot name>`.
        image_size: Height and width of observations [px].
        limits: Safety limits, or a JSON file of them; by a simulated clock messages may be older by default.
        keyboard: Keyboard of the operator of a real arm; by default the terminal.
        kwargs: For `WidowXEnv`.

    Raises:
        MotionRefused: A real arm without a keyboard, or without a set-up that has passed.
    """
    if simulated_clock and (watched or dry_run):
        raise InvalidSetting("A real arm moves in real time: leave simulated_clock out.")
    entry = task_entry(name)
    task, tasks = task or entry.task, entry.load_scene().tasks
    config, size = RosConfig(robot_name, camera_topic), tuple(image_size)
    setup = setup or FOLDER / robot_name
    checked = ArmSetup.load(setup) if watched and not dry_run else None
    limits = _limits(limits, checked, simulated_clock=simulated_clock)
    if not (watched or dry_run):
        arm = (simulated_time_arm if simulated_clock else RosArm)(
            config, image_size=size, limits=limits
        )
        return WidowXEnv(arm, SimulatedTable(arm, entry), task, limits=limits, **kwargs)
    if checked is not None:
        checked.require(robot_name, camera_topic, limits)
        camera_reference = camera_reference or setup / VIEW
    if keyboard is None and not (dry_run and reset_script):
        require_terminal()
    operator = Operator(keyboard or Terminal())
    view = None if camera_reference is None else View(load_rgb(camera_reference))
    arm = _watched_arm(
        config, dry_run=dry_run, image_size=size, limits=limits, operator=operator, view=view
    )
    table = RealTable(arm, tasks, operator, script=reset_script)
    return WidowXEnv(arm, table, task, limits=limits, **kwargs)


def _limits(
    limits: SafetyLimits | Path | None, checked: ArmSetup | None, *, simulated_clock: bool
) -> SafetyLimits:
    """The limits that were asked for; what a file leaves out is as in the set-up, or by default."""
    if isinstance(limits, SafetyLimits):
        return limits
    default = simulated_clock_limits() if simulated_clock else SafetyLimits()
    default = default if checked is None else checked.limits
    return default if limits is None else load_limits(limits, default)


def _watched_arm(config: RosConfig, *, dry_run: bool, **options: Any) -> XsArm:
    if not dry_run:
        return RosArm(config, watched=True, **options)
    # Nothing moves, so nobody has to watch.
    arm = XsArm(DryLink(RosLink(config)), watched=True, dry=True, **options)
    atexit.register(arm.close)  # a thread in ROS aborts the interpreter's end
    return arm
