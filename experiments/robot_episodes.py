"""The end of an episode on a robot: it is on disk, the arm retreats and the operator rates it while it is scored."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym

from roboreward_gym.registry import as_reward_model
from roboreward_gym.types import Clip, ProgressScore, RewardModel
from roboreward_gym.wrapper import VLMRewardWrapper
from robots.errors import ArmFault, ArmUnavailable, MotionRefused
from robots.widowx import widowx
from robots.xs.arm import XsArm
from robots.xs.operator import OperatorEnds
from robots.xs.rating import rating_info
from robots.xs.table import RealTable

log = logging.getLogger(__name__)

EPISODE = "truth/episode"
"""Info key at the end of an episode: its number on disk, by which a rating can be corrected later."""


class ScoreWhileRetreating:
    """A reward model that has the arm go back to its rest, and the operator rate the episode, while it scores.

    The reward model may be on another machine. While it cannot be reached the arm rests, the episode
    is on disk with its rating, and the step that ends the episode waits, for as long as the model's own
    patience lasts.

    Args:
        reward_model: A reward model or its name.
        env: With the arm and a `RecordEpisodes` inside.
        retreat_first: Whether the arm may move before the score is known: not for one that looks at
            the environment instead of the frames. On a real table such a one looks at the rating.
    """

    def __init__(
        self, reward_model: RewardModel | str, env: gym.Env, *, retreat_first: bool = True
    ) -> None:
        self._model = as_reward_model(reward_model)
        self._env = env
        self._retreat_first = retreat_first

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score the clips; the arm rests and the rating is on disk when this returns or raises."""
        if not self._retreat_first:
            self._rate()
        thread = ThreadPoolExecutor(1, "scoring")
        try:
            scores = thread.submit(self._model.score, clips)
            if not self._retreat_first:
                scores.exception()
            self._retreat()
            self._rate()
            return scores.result()
        finally:
            # Ctrl-C does not wait for a model that cannot be reached: the arm has to go to sleep.
            thread.shutdown(wait=False)

    def _retreat(self) -> None:
        arm = widowx(self._env).arm
        if not isinstance(arm, XsArm):
            return
        try:
            arm.retreat()
        except (ArmFault, ArmUnavailable, MotionRefused) as error:
            # The episode itself is sound; the next reset recovers the arm or says why it cannot.
            log.warning("The arm could not retreat. %s", error)
        except OperatorEnds:
            arm.rest()
            self._end_later()

    def _rate(self) -> None:
        """Ask, once; the answer is on disk before anything else can fail."""
        table = widowx(self._env).scene
        if isinstance(table, RealTable) and not table.rated:
            self._env.get_wrapper_attr("attach_rating")(table.rate())

    def _end_later(self) -> None:
        table = widowx(self._env).scene
        if isinstance(table, RealTable):
            table.end_before_next()


class KeepScores(gym.Wrapper):
    """Writes the score of each episode into its file, and the operator's rating into the last `info`.

    Args:
        env: With a `RecordEpisodes` inside.
        blind: Leave the rating out of `info`: nobody may report it.
    """

    def __init__(self, env: VLMRewardWrapper, *, blind: bool = False) -> None:
        super().__init__(env)
        self._scored, self._blind = env, blind

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; after the last one of an episode its score is on disk."""
        observation, reward, terminated, truncated, info = self._scored.step(action)
        if terminated or truncated:
            if self._scored.last_score is not None:
                self.get_wrapper_attr("attach_score")(self._scored.last_score)
            info = {**info, **self._rating(), EPISODE: float(self.get_wrapper_attr("last_number"))}
        return observation, reward, terminated, truncated, info

    def _rating(self) -> dict[str, float]:
        table = widowx(self).scene
        if self._blind or not isinstance(table, RealTable):
            return {}
        return rating_info(table.rating)
