"""A robot over ROS 2 in place of the simulation: which arm it is, and the environment around it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import split_name
from robots.errors import ArmUnavailable
from robots.limits import limits_to_json, load_limits
from robots.recording import RecordEpisodes
from robots.widowx import widowx
from robots.xs.arm import NOT_MOVED, XsArm
from robots.xs.interface import CAMERA_TOPIC, ROBOT_NAME

RobotKind = Literal["sim", "ros2"]


@dataclass(frozen=True)
class RobotOptions:
    """Where a policy plays."""

    robot: RobotKind = "sim"
    """`sim`: simulated in this process. `ros2`: the arm behind an Interbotix XS driver, see docs/robot.md."""
    i_am_watching: bool = False
    """With `ros2`: the arm is a real one, and I stand beside it with a hand at its power switch. Without
    this only a simulated driver moves."""
    dry_run: bool = False
    """With `ros2`: the whole loop with driver, camera and person, but nothing is sent to the arm."""
    simulated_clock: bool = False
    """With `ros2`: go by the clock of a simulated driver that has `--clock simulated`."""
    robot_name: str = ROBOT_NAME
    """With `ros2`: namespace of the driver."""
    camera_topic: str = CAMERA_TOPIC
    """With `ros2`: raw images, or compressed ones if it ends in `/compressed`."""
    limits: Path | None = None
    """With `ros2`: JSON file of safety limits; what it does not name keeps its default."""
    reset_script: Path | None = None
    """With a real arm: JSON file of a scripted reset; without it a person puts things back."""
    camera_reference: Path | None = None
    """With a real arm: image of the camera's view that a person has looked at; by default that of the set-up."""
    setup: Path | None = None
    """With a real arm: folder of its set-up, which `python -m robots.check` writes; by default
    `robot_setup/<robot name>`."""

    def check(self, workers: int, reward_model: str = "") -> None:
        """Refuse options that do not go together.

        Args:
            workers: Processes that are to play.
            reward_model: Name of the reward model.

        Raises:
            InvalidSetting: They do not, or the file of the limits cannot be used.
        """
        if self.robot == "sim":
            names = [name for name in vars(self) if name != "robot"]
            self._refuse(names, "for a robot. Add --robot ros2, or leave it out.")
        elif workers > 1:
            raise InvalidSetting(
                f"--robot ros2 is one arm and takes one worker, got {workers}. Leave --workers out."
            )
        elif self.dry_run:
            self._refuse(["i_am_watching"], "for an arm that moves. Leave it or --dry-run out.")
            self._refuse(["simulated_clock"], "for a simulated driver that moves. Leave it out.")
        elif self.i_am_watching:
            self._refuse(["simulated_clock"], "for a simulated driver. Leave it out.")
        else:
            names = ["reset_script", "camera_reference", "setup"]
            self._refuse(names, "for a real arm. Add --i-am-watching, or leave it out.")
        if self.limits is not None:
            load_limits(self.limits)
        if self.i_am_watching and split_name(reward_model)[0] == "roboreward-nano":
            raise InvalidSetting(
                "roboreward-nano was trained on the simulation only, and its scores of a real arm mean nothing. "
                "Pass another --reward-model: remote:http://HOST:PORT, openai:MODEL, or truth for your own ratings."
            )

    def _refuse(self, names: list[str], why: str) -> None:
        default = RobotOptions()
        for name in names:
            if getattr(self, name) != getattr(default, name):
                raise InvalidSetting(f"--{name.replace('_', '-')} is {why}")

    def description(self) -> dict[str, Any]:
        """Which arm it is and what it may do, JSON-serialisable: what the outcome of a run depends on."""
        limits = None if self.limits is None else limits_to_json(load_limits(self.limits))
        dry = {"dry_run": True} if self.dry_run else {}
        return {"name": self.robot_name, "real": self.i_am_watching, "limits": limits, **dry}


def _no_ros(reason: str) -> ArmUnavailable:
    return ArmUnavailable(
        f"--robot ros2 needs ROS 2 and our messages ({reason}). Run `make setup-ros` and start the program with "
        ".venv-ros/bin/python, see docs/ros.md."
    )


@dataclass(frozen=True)
class Robot:
    """An arm over ROS 2.

    Attributes:
        episodes: Folder that gets every episode, the invalid ones too.
        options: Which arm.
        arms: Those that `make` has made, the newest last.
    """

    episodes: Path
    options: RobotOptions = field(default_factory=lambda: RobotOptions(robot="ros2"))
    arms: list[XsArm] = field(default_factory=list, compare=False, repr=False)

    def make(self, env_id: str) -> gym.Env:
        """Make the environment; nothing moves before its first reset.

        It does not ask the operator for a rating: that is done once the episode is on disk, by
        `experiments.robot_episodes`.

        Raises:
            ArmUnavailable: ROS 2 is not installed.
        """
        options = {k: v for k, v in vars(self.options).items() if k != "robot"}
        options["watched"] = options.pop("i_am_watching")
        module, _, name = env_id.rpartition(":")
        if module:
            import_module(module)  # registers its environments
        spec = copy.deepcopy(gym.spec(name))
        spec.additional_wrappers = ()
        try:
            env = gym.make(spec, render_mode="rgb_array", **options)
        except ModuleNotFoundError as error:
            raise _no_ros(str(error)) from error
        arm = widowx(env).arm
        if isinstance(arm, XsArm):
            if self.arms and (reason := self.arms[-1].consent.missing):
                # The last phase ended with an arm that was stopped and could not be put to sleep.
                arm.consent.withdraw(reason)
            self.arms.append(arm)
        return RecordEpisodes(env, self.episodes)

    def check_installed(self) -> None:
        """Look for ROS 2 before anything is written.

        Raises:
            ArmUnavailable: It is not installed.
        """
        if find_spec("rclpy") is None:
            raise _no_ros("there is no rclpy")

    def condition(self) -> str:
        """How the arm was left, for the person beside it: by the last phase that has moved it."""
        left = [arm.condition() for arm in self.arms]
        return next((words for words in reversed(left) if words != NOT_MOVED), NOT_MOVED)


def robot_words(robot: Mapping[str, Any] | None) -> str:
    """The robot of a run, by the description of its options, for a report; None is the simulation in process."""
    if robot is None:
        return "the simulated WidowX"
    if robot.get("dry_run"):
        return f"the WidowX /{robot['name']} in a dry run that moved nothing"
    if robot["real"]:
        return f"the WidowX /{robot['name']} over ROS 2"
    return f"the simulated WidowX behind the ROS 2 driver /{robot['name']}"


def ros_id(env_id: str) -> str:
    """The environment over ROS 2 that has the tasks of a simulated one."""
    return env_id if "Ros-v" in env_id else env_id.replace("-v", "Ros-v")


def simulated_id(env_id: str) -> str:
    """The simulated environment that has the observations and actions of one over ROS 2."""
    return env_id.replace("Ros-v", "-v")
