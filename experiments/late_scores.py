"""A person on a page who answers later: the run asks about each episode, plays on, and learns once there is an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.played_episode import PlayedEpisode, training_path
from policies.dsrl.late import LateScore
from policies.player import EpisodeRecord
from reward_models.labeling.human import VIDEO, HumanReward
from roboreward_gym.episode_scores import score_info
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import load_reward_model
from roboreward_gym.rewards import as_reward_map, guard_of, reward_of
from roboreward_gym.scorer import AWAITED
from roboreward_gym.types import Clip, ProgressScore
from roboreward_gym.wrapper import VLMRewardWrapper


class PersonLater:
    """The people of `human:...`, who may be some episodes behind.

    It is the reward model of the environment, which puts each episode on the page and has no score for it yet, and it has the
    answers for the fine-tuner (`policies.dsrl.late.LateScores`).

    Args:
        reward_model: Name of the reward model.
        reward_map: From the score to the reward.
        most: Most episodes that may be without a rating.
        run: Folder of the run, which gets every episode at once.

    Raises:
        InvalidSetting: Another reward model than `human:...`, a guard, or no episode that may wait.
    """

    def __init__(self, reward_model: str, reward_map: str, most: int, run: Path) -> None:
        model = load_reward_model(reward_model)
        if not isinstance(model, HumanReward):
            raise InvalidSetting(
                f"Only a person may be behind, and {reward_model!r} is not one. Leave out --episodes-behind, or use human:..."
            )
        self._map = as_reward_map(reward_map)
        if most < 1 or guard_of(self._map) is not None:
            raise InvalidSetting(
                f"--episodes-behind must be 1 or more, and takes no guard; got {most} and {reward_map!r}."
            )
        self.most = most
        self._model = model
        self._run = run
        self._asked: list[str] = []
        self._scores: dict[str, ProgressScore] = {}
        self._env: VLMRewardWrapper | None = None

    def watch(self, env: VLMRewardWrapper) -> None:
        """Take the episodes from this environment, whose reward model this is."""
        self._env = env

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Put the clips on the page."""
        self._asked = self._model.ask(clips)
        return [
            ProgressScore(None, text="not rated yet", manifest={AWAITED: True, VIDEO: name})
            for name in self._asked
        ]

    def ask(self, number: int, record: EpisodeRecord) -> str:
        """Save the episode that was played last; returns its name on the page."""
        assert self._env is not None
        episode = PlayedEpisode.last_of(self._env, record, "awaited")
        episode.save(training_path(self._run, number))
        return self._asked[-1]

    def answers(self, questions: Sequence[str], least: int) -> Mapping[str, LateScore]:
        """The ratings that there are, once there are enough."""
        scores = self._model.answers(questions, least)
        self._scores |= scores
        return {
            name: LateScore(reward_of(score, self._map), score_info(score))
            for name, score in scores.items()
        }

    def played(self, number: int, record: EpisodeRecord, phase: str) -> PlayedEpisode:
        """A saved episode with its rating and the record that was learned from."""
        episode = PlayedEpisode.load(training_path(self._run, number))
        assert episode.score is not None
        score = self._scores.pop(episode.score.manifest[VIDEO])
        return replace(episode, score=score, record=record, phase=phase)
