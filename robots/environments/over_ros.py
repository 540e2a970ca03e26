"""The environments over ROS 2: the same tasks as in simulation, on a real WidowX or behind a simulated driver."""

from pathlib import Path
from typing import Any

from roboreward_gym.errors import InvalidSetting
from robots.environments.simulated import IMAGE_SIZE
from robots.ros.ros_arm import RosArm, RosConfig
from robots.ros.simulator.table import SimulatedTable
from robots.safety import SafetyLimits, simulated_clock_limits
from robots.sim.tasks.drawer import DrawerScene
from robots.sim.tasks.toy import ToyScene
from robots.widowx import WidowXEnv
from robots.xs.interface import CAMERA_TOPIC, ROBOT_NAME
from robots.xs.keyboard import Terminal
from robots.xs.table import RealTable


def make_toy_on_towel(task: str = "put the duck on the towel", **kwargs: Any) -> WidowXEnv:
    """Two toys, a towel and a plate; `kwargs` go to `make`."""
    return make(task, ToyScene.commands, **kwargs)


def make_drawer(task: str = "open the left drawer", **kwargs: Any) -> WidowXEnv:
    """A cabinet with two drawers and a duck; `kwargs` go to `make`."""
    return make(task, DrawerScene.commands, **kwargs)


def make(
    task: str,
    commands: tuple[str, ...],
    *,
    watched: bool = False,
    robot_name: str = ROBOT_NAME,
    camera_topic: str = CAMERA_TOPIC,
    simulated_clock: bool = False,
    reset_script: Path | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    limits: SafetyLimits | None = None,
    **kwargs: Any,
) -> WidowXEnv:
    """An environment over an XS driver; nothing moves before its first reset.

    Args:
        task: The command of every episode.
        commands: Commands that the table has things for.
        watched: Somebody stands beside a real arm with a hand at its power switch. Without it the driver has
            to be a simulated one, whose scene is shuffled at every reset and tells its truth.
        robot_name: Namespace of the driver.
        camera_topic: Raw images, or compressed ones if it ends in `/compressed`.
        simulated_clock: Go by `/clock`, with a driver that has `--clock simulated`.
        reset_script: Scripted reset of a real table; without it the operator is asked.
        image_size: Height and width of observations [px].
        limits: Safety limits; by a simulated clock messages may be older by default.
        kwargs: For `WidowXEnv`.
    """
    if simulated_clock and watched:
        raise InvalidSetting("Expected the clock of the world for a real arm, got a simulated one.")
    if limits is None:
        limits = simulated_clock_limits() if simulated_clock else SafetyLimits()
    config = RosConfig(robot_name, camera_topic, simulated_clock=simulated_clock)
    arm = RosArm(config, image_size=tuple(image_size), limits=limits, watched=watched)
    if watched:
        scene = RealTable(arm, commands, Terminal(), script=reset_script)
    else:
        scene = SimulatedTable(arm, commands)
    return WidowXEnv(arm, scene, task, limits=limits, **kwargs)
