"""The configuration that registers the type `roboreward_widowx` with LeRobot."""

from dataclasses import dataclass
from pathlib import Path

from lerobot.robots import RobotConfig

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.catalogue import SCENES
from robots.xs.arm import READY_S
from robots.xs.interface import CAMERA_TOPIC, ROBOT_NAME

BACKENDS = ("sim", "ros2")


@RobotConfig.register_subclass("roboreward_widowx")
@dataclass(kw_only=True)
class RoboRewardWidowXConfig(RobotConfig):
    """Which WidowX, and what lies on its table."""

    backend: str = "sim"
    """`sim`: simulated in this process. `ros2`: behind an XS driver, a real arm or a simulated driver."""
    scene: str = "toy"
    """What lies on the table: `toy` or `drawer`."""
    task: str = ""
    """The task that a simulated scene is reset for; its first one if empty. The data set has its own `single_task`."""
    seed: int = 0
    """Seed of the first scene of a simulation; each return to the start draws the next."""
    watched: bool = False
    """Somebody stands beside a real arm with a hand at its power switch, and this terminal's space bar stops it.
    Without it only simulated arms move."""
    robot_name: str = ROBOT_NAME
    """Namespace of the driver."""
    camera_topic: str = CAMERA_TOPIC
    """Raw images, or compressed ones if it ends in `/compressed`."""
    camera_reference: Path | None = None
    """Image of the camera's view that a person has looked at (see docs/robot_safety.md); by default that of the set-up."""
    setup: Path | None = None
    """Folder of the set-up of a real arm, which `python -m robots.check` writes; by default `robot_setup/<robot name>`."""
    ready_s: float = READY_S
    """How long to wait for driver and camera [s]."""
    limits: Path | None = None
    """JSON file of safety limits in place of the default ones (see docs/robot_safety.md)."""
    reset_script: Path | None = None
    """Scripted reset of a real table; without it the operator is asked."""
    simulated_clock: bool = False
    """Go by `/clock`, with a simulated driver that has `--clock simulated`."""
    image_height: int = 192
    """Height of observations [px]."""
    image_width: int = 256
    """Width of observations [px]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backend not in BACKENDS:
            raise UnknownName("backend", self.backend, BACKENDS)
        if self.scene not in SCENES:
            raise UnknownName("scene", self.scene, SCENES)
        if self.watched and self.backend == "sim":
            raise InvalidSetting(
                "A simulated arm needs nobody beside it: leave --robot.watched out."
            )
