"""The scores of episodes that have ended, at once or later: which is owed to whom, each handed out once."""

import logging
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Literal

from roboreward_gym.errors import (
    InvalidSetting,
    NoEpisode,
    RewardModelFailure,
    RoboRewardError,
)
from roboreward_gym.frames import dead_camera
from roboreward_gym.prefixes import SHAPING, take_deferred
from roboreward_gym.rewards import RewardMap, reward_of
from roboreward_gym.scorer import ScoreOrError, Scorer
from roboreward_gym.shaping import PrefixSettings, ProgressTrack, end_potential, shaping_rewards
from roboreward_gym.types import Clip, ProgressScore, RewardModel

logger = logging.getLogger(__name__)

Scoring = Literal["immediate", "deferred"]

ENV_REWARD = "roboreward/env_reward"
TRUNCATED = "roboreward/truncated"
LEVEL = "roboreward/level"
EXPECTED = "roboreward/expected"
SUCCESS_PROBABILITY = "roboreward/success_probability"
ENTROPY = "roboreward/entropy"
OFF_FORMAT = "roboreward/off_format"
PENDING = "roboreward/pending"
EPISODE = "roboreward/episode"
REWARD = "roboreward/reward"
REWARDS = "roboreward/rewards"
PREFIX_STEPS = "roboreward/prefix_steps"
PREFIX_PROGRESS = "roboreward/prefix_progress"

LATER = (EPISODE, REWARD, REWARDS, PREFIX_STEPS, PREFIX_PROGRESS)
"""Entries for those who did not get them in the steps that they belong to."""

RESETS_WITHOUT_A_SCORE = 3
"""So many in a row, each in the middle of an episode, are no coincidence."""

Entries = dict[int, dict[str, Any]]
"""What comes into `info`, by environment."""


@dataclass(eq=False)
class PendingEpisode:
    """An episode that has ended and whose score was not handed out.

    Attributes:
        episode: How many episodes of its environment had ended before.
        clip: What the reward model is asked about.
        answer: Results of all clips of a call; None before it.
        place: Which of these is this episode's.
        failed: That it has no reward was raised already.
        track: What is known of its prefixes.
    """

    episode: int
    clip: Clip
    track: ProgressTrack = field(default_factory=ProgressTrack)
    answer: "Future[list[ScoreOrError]] | None" = None
    place: int = 0
    failed: bool = False

    def set_result(self, score: ProgressScore) -> None:
        """Put a score in the place of a failure."""
        self.answer, self.place, self.failed = Future(), 0, False
        self.answer.set_result([score])

    def take_result(self) -> ScoreOrError:
        """Wait for the result; those of the prefixes are behind it, and go into the track."""
        assert self.answer is not None
        result, *prefixes = self.answer.result()[self.place :]
        take_deferred(self.track, dict(zip(self.track.clips, prefixes, strict=False)))
        return result


class EpisodeScores:
    """Scores of the episodes of one environment or several, and the rewards that come of them.

    An episode is pending from its end (`add`) until its score is handed out: immediate ones by
    `finish_step` for the same step, deferred ones by `finish_step` for a later step or by `finish_reset`. No
    environment has two pending episodes but while the next one's end waits for the last one's score.
    A failure is raised and leaves everything as it is, so the same call can be made again.

    Args:
        scorer: The reward model and the policy for its failures.
        reward_map: From score to reward.
        num_envs: How many environments.
        scoring: `"immediate"` or `"deferred"`.
        prefixes: What the scores of their prefixes change in the rewards.
    """

    def __init__(
        self,
        scorer: Scorer,
        reward_map: RewardMap,
        num_envs: int,
        scoring: Scoring,
        prefixes: PrefixSettings,
    ) -> None:
        self._scorer = scorer
        self._reward_map = reward_map
        self._deferred = is_deferred(scoring)
        self._prefixes = prefixes
        self._episodes = [0] * num_envs
        self._interruptions = 0
        """Resets in the middle of an episode, since an episode has ended."""
        self._warned_of_camera = False
        self._ended: dict[int, PendingEpisode] = {}
        """Episodes that ended in the present step, until `finish_step` succeeds."""
        self._pending: dict[int, PendingEpisode] = {}
        """Episodes that ended in earlier steps; deferred only."""
        self.last_clips: list[Clip | None] = [None] * num_envs
        self.last_scores: list[ProgressScore | None] = [None] * num_envs

    def __getstate__(self) -> dict[str, Any]:
        """A copy owes nothing: it begins with a reset."""
        return {**self.__dict__, "_ended": {}, "_pending": {}}

    def add(
        self, env: int, clip: Clip, track: ProgressTrack, score: ProgressScore | None = None
    ) -> None:
        """Take in an episode that ended in this step, with its score if there is one."""
        self._interruptions = 0
        self._ended[env] = PendingEpisode(self._episodes[env], clip, track)
        if score is not None:
            self._ended[env].set_result(score)
        self._episodes[env] += 1
        self.last_clips[env], self.last_scores[env] = clip, None
        self._warn_of_camera(clip)

    def _warn_of_camera(self, clip: Clip) -> None:
        if not self._warned_of_camera and (fault := dead_camera(clip)) is not None:
            self._warned_of_camera = True
            logger.warning(
                "The recording of an episode (%s) shows nothing: %s. Check the camera; the "
                "reward model scores whatever it is shown.",
                clip.task,
                fault,
            )

    def count_interruption(self) -> None:
        """Count a reset in the middle of an episode, and warn once they are too many."""
        self._interruptions += 1
        if self._interruptions == RESETS_WITHOUT_A_SCORE:
            logger.warning(
                "%d episodes in a row were reset before they ended, so none was scored and every "
                "reward was 0. If a TimeLimit is outside of this wrapper, put it inside: wrap the "
                "result of gym.make.",
                RESETS_WITHOUT_A_SCORE,
            )

    def finish_step(self) -> tuple[dict[int, float], Entries]:
        """Rewards of the episodes that ended in this step, and what comes into the infos.

        Raises:
            RewardModelFailure: The model failed on some; the next call asks about these again.
        """
        if self._deferred:
            return self._finish_deferred_step()
        if not self._ended:
            return {}, {}
        self._ask(self._ended)
        found = self._hand_out(self._ended)
        self._ended = {}
        rewards = {i: entry[REWARD] for i, entry in found.items()}
        return rewards, {i: {k: e[k] for k in e if k not in LATER} for i, e in found.items()}

    def finish_reset(self, envs: Iterable[int]) -> Entries:
        """Wait for the pending scores of these environments, and return what comes into the infos.

        Raises:
            RewardModelFailure: The model failed on some. It is raised once: the next call gives these
                up, unless `rescore` has scored them.
        """
        due = {i: self._pending[i] for i in envs if i in self._pending}
        for i in [i for i, pending in due.items() if pending.failed]:
            logger.warning(
                "Episode %d of environment %d was given up: it stays without a score.",
                due.pop(i).episode,
                i,
            )
            del self._pending[i]
        found = self._hand_out(due)
        for i in due:
            del self._pending[i]
        return found

    def give_up_step(self) -> None:
        """Let go of the episodes of the present step, if `finish_step` has not succeeded."""
        if self._ended:
            logger.warning(
                "%d ended episodes were given up: they stay without a score.", len(self._ended)
            )
        self._ended = {}

    def rescore(self, reward_model: RewardModel | str | None) -> dict[int, ProgressScore]:
        """Score the episodes again on which the model failed; else the last ones, changing nothing.

        Raises:
            NoEpisode: None has ended.
            RewardModelFailure: The model failed on some.
        """
        failed = {i: p for i, p in {**self._pending, **self._ended}.items() if p.failed}
        clips = {i: pending.clip for i, pending in failed.items()}
        clips = clips or {i: clip for i, clip in enumerate(self.last_clips) if clip is not None}
        if not clips:
            raise NoEpisode("No episode has ended yet. Play one to its end before rescore().")
        results = self._scorer.submit(list(clips.values()), reward_model).result()
        scores = self._succeeded(dict(zip(clips, results, strict=True)))
        for i, pending in failed.items():
            pending.set_result(scores[i])
        return scores

    def close(self) -> None:
        """Let go of all clips, and of pending scores, without waiting for the model."""
        if self._pending:
            logger.warning("Closed with %d scores pending: there is none.", len(self._pending))
        self._scorer.close()
        self._ended, self._pending = {}, {}
        self.last_clips = [None] * len(self.last_clips)

    def _finish_deferred_step(self) -> tuple[dict[int, float], Entries]:
        # An environment has one pending episode: where the next one ended, the score is waited for.
        due = {
            i: pending
            for i, pending in self._pending.items()
            if i in self._ended or pending.failed or (pending.answer and pending.answer.done())
        }
        self._ask({i: pending for i, pending in due.items() if pending.failed})
        entries = self._hand_out(due)
        for i in due:
            del self._pending[i]
        self._ask(self._ended)
        for i, pending in self._ended.items():
            entries[i] = {**entries.get(i, {}), PENDING: pending.episode}
        rewards = dict.fromkeys(self._ended, math.nan)
        self._pending |= self._ended
        self._ended = {}
        return rewards, entries

    def _ask(self, episodes: Mapping[int, PendingEpisode]) -> None:
        """Ask about those that were not asked about, or failed, in one call."""
        asked = [p for p in episodes.values() if p.answer is None or p.failed]
        if not asked:
            return
        for pending in asked:
            pending.failed = True  # unless an answer is on its way
        clips: list[Clip] = []
        places = []
        for pending in asked:
            places.append(len(clips))
            clips += [pending.clip, *pending.track.clips.values()]
        answer = self._scorer.submit(clips, in_thread=self._deferred)
        for place, pending in zip(places, asked, strict=True):
            pending.answer, pending.place, pending.failed = answer, place, False

    def _hand_out(self, episodes: Mapping[int, PendingEpisode]) -> Entries:
        """Wait for these, and return the entries of each."""
        answers = [p.answer for p in episodes.values() if p.answer is not None]
        wait(answers)  # Ctrl-C gets through and leaves all as it is
        results: dict[int, ScoreOrError] = {}
        for i, pending in episodes.items():
            pending.failed = True  # unless a score comes of it
            results[i] = pending.take_result()
            if isinstance(score := results[i], ProgressScore):
                pending.failed = False
                if self.last_clips[i] is pending.clip:
                    self.last_scores[i] = score
        return {
            i: {EPISODE: episodes[i].episode, **self._reward_info(episodes[i], score)}
            | score_info(score)
            for i, score in self._succeeded(results).items()
        }

    def _reward_info(self, pending: PendingEpisode, score: ProgressScore) -> dict[str, Any]:
        """The reward of the step that ended the episode, and those of all its steps where they are shaped."""
        terminal, track = reward_of(score, self._reward_map), pending.track
        info: dict[str, Any] = {REWARD: terminal}
        if self._prefixes:
            info[PREFIX_STEPS] = tuple(track.progress)
            info[PREFIX_PROGRESS] = tuple(track.progress.values())
        if self._prefixes.shaping != "none":
            rewards = shaping_rewards(
                (pending.clip.num_frames or len(pending.clip.frames)) - 1,
                track.progress,
                end_potential(score, track, self._prefixes.shaping),
                self._prefixes.discount,
            )
            info[SHAPING] = rewards[-1]
            rewards[-1] += terminal
            info |= {REWARD: rewards[-1], REWARDS: tuple(rewards)}
        return info

    def _succeeded(self, results: Mapping[int, ScoreOrError]) -> dict[int, ProgressScore]:
        """The scores, by environment, or the failures among them raised as one."""
        failures = {i: r for i, r in results.items() if isinstance(r, RoboRewardError)}
        if failures:
            first = next(iter(failures.values()))
            where = f"In environments {sorted(failures)}: " if len(self.last_clips) > 1 else ""
            raise RewardModelFailure(
                f"{where}{first} The episode is kept: the same call again has it scored again, "
                "rescore() by another reward model."
            ) from first.__cause__
        return {i: r for i, r in results.items() if isinstance(r, ProgressScore)}


def is_deferred(scoring: str) -> bool:
    """Whether scores come later, or raise `InvalidSetting`."""
    if scoring not in ("immediate", "deferred"):
        raise InvalidSetting(f"scoring is 'immediate' or 'deferred', not {scoring!r}.")
    return scoring == "deferred"


def score_info(score: ProgressScore) -> dict[str, float]:
    """The entries of `info` for a score; none for an unreadable one."""
    if score.level is None:
        return {}
    entries = {
        LEVEL: float(score.level),
        EXPECTED: score.expected,
        SUCCESS_PROBABILITY: score.success_probability,
        OFF_FORMAT: float(score.off_format),
    }
    return entries if score.probabilities is None else {**entries, ENTROPY: score.entropy}
