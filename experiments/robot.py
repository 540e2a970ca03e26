"""A robot over ROS 2 in the place of the simulation: the same learning loop, hands-free."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

from experiments.config import TRUTH
from roboreward_gym.deferred import DEFERRED, IMMEDIATE
from roboreward_gym.wrapper import VLMRewardWrapper
from robots.errors import ArmFault, ArmUnavailable
from robots.recording import RecordEpisodes
from robots.widowx import widowx
from robots.xs.arm import XsArm

log = logging.getLogger(__name__)

RobotKind = Literal["sim", "ros2"]


@dataclass(frozen=True)
class Robot:
    """An arm over ROS 2.

    Attributes:
        episodes: Folder that gets every episode, the invalid ones too.
        watched: It is a real one, and somebody stands beside it with a hand at its power switch.
        simulated_clock: Go by the clock of a simulated driver that has `--clock simulated`.
    """

    episodes: Path
    watched: bool = False
    simulated_clock: bool = False

    def make(self, env_id: str) -> gym.Env:
        """Make the environment; nothing moves before its first reset.

        Raises:
            ArmUnavailable: ROS 2 is not installed.
        """
        options = {"watched": self.watched, "simulated_clock": self.simulated_clock}
        try:
            env = gym.make(env_id, render_mode="rgb_array", **options)
        except ModuleNotFoundError as error:
            raise ArmUnavailable(
                f"Expected ROS 2 and our messages for --robot ros2, got: {error}. Run `make setup-ros` "
                "and start the program with .venv-ros/bin/python, see docs/ros.md."
            ) from error
        return RecordEpisodes(env, self.episodes)


def ros_id(env_id: str) -> str:
    """The environment over ROS 2 that has the tasks of a simulated one."""
    return env_id if "Ros-v" in env_id else env_id.replace("-v", "Ros-v")


def scoring_of(robot: Robot | None, reward_model: str) -> str:
    """A judge of a robot may think while the arm retreats; the truth is that of the moment."""
    return IMMEDIATE if robot is None or reward_model == TRUTH else DEFERRED


class HandsFree(gym.Wrapper):
    """At the end of an episode the arm retreats while the judge thinks, and the score joins the file.

    The judge may be on another machine. While it cannot be reached the arm rests, the episode is on disk, and the
    step that ends the episode waits, for as long as the judge's own patience lasts.

    Args:
        env: With a `RecordEpisodes` and the arm inside.
    """

    def __init__(self, env: VLMRewardWrapper) -> None:
        super().__init__(env)
        self._judged = env

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; the last one of an episode returns with the judge's reward."""
        step = self._judged.step(action)
        if not (step[2] or step[3]):
            return step
        self._retreat()
        if step[4].get("roboreward/pending") == 1.0:
            step = self._judged.collect()
        if self._judged.last_score is not None:
            self.get_wrapper_attr("attach_score")(self._judged.last_score)
        return step

    def _retreat(self) -> None:
        arm = widowx(self._judged).arm
        if not isinstance(arm, XsArm):
            return
        try:
            arm.retreat()
        except (ArmFault, ArmUnavailable) as error:
            # The episode itself is sound; the next reset recovers the arm or says why it cannot.
            log.warning("The arm could not retreat. %s", error)


def hands_free(env: VLMRewardWrapper, robot: Robot | None) -> gym.Env:
    """What the player plays in: on a robot the arm retreats while the judge thinks."""
    return env if robot is None else HandsFree(env)
