"""A robot over ROS 2 in the place of the simulation: the same learning loop, and it needs no hands."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym

from roboreward_gym.registry import as_reward_model
from roboreward_gym.types import Clip, ProgressScore, RewardModel
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
                f"--robot ros2 needs ROS 2 and our messages ({error}). Run `make setup-ros` and start the program with "
                ".venv-ros/bin/python, see docs/ros.md."
            ) from error
        return RecordEpisodes(env, self.episodes)


def ros_id(env_id: str) -> str:
    """The environment over ROS 2 that has the tasks of a simulated one."""
    return env_id if "Ros-v" in env_id else env_id.replace("-v", "Ros-v")


class ScoreWhileRetreating:
    """A reward model that has the arm go back to its rest while it scores.

    The reward model may be on another machine. While it cannot be reached the arm rests, the episode
    is on disk, and the step that ends the episode waits, for as long as the model's own patience
    lasts.

    Args:
        reward_model: A reward model or its name.
        env: With the arm inside.
        retreat_first: Whether the arm may move before the score is known: not for one that looks at
            the environment instead of the frames.
    """

    def __init__(
        self, reward_model: RewardModel | str, env: gym.Env, *, retreat_first: bool = True
    ) -> None:
        self._model = as_reward_model(reward_model)
        self._env = env
        self._retreat_first = retreat_first

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score the clips; the arm rests when this returns or raises."""
        with ThreadPoolExecutor(1, "scoring") as thread:
            scores = thread.submit(self._model.score, clips)
            try:
                if not self._retreat_first:
                    scores.exception()
            finally:
                self._retreat()
            return scores.result()

    def _retreat(self) -> None:
        arm = widowx(self._env).arm
        if not isinstance(arm, XsArm):
            return
        try:
            arm.retreat()
        except (ArmFault, ArmUnavailable) as error:
            # The episode itself is sound; the next reset recovers the arm or says why it cannot.
            log.warning("The arm could not retreat. %s", error)


class KeepScores(gym.Wrapper):
    """Writes the score of each episode into its file.

    Args:
        env: With a `RecordEpisodes` inside.
    """

    def __init__(self, env: VLMRewardWrapper) -> None:
        super().__init__(env)
        self._scored = env

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; after the last one of an episode its score is on disk."""
        step = self._scored.step(action)
        if (step[2] or step[3]) and self._scored.last_score is not None:
            self.get_wrapper_attr("attach_score")(self._scored.last_score)
        return step
