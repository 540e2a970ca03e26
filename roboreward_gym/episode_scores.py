"""Scores of episodes and their prefixes, at once or later: which are pending, and each is returned once."""

import logging
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from roboreward_gym.errors import NoEpisode, RewardModelFailure, RoboRewardError
from roboreward_gym.frames import dead_camera
from roboreward_gym.guard import GUARD
from roboreward_gym.info import (
    ENTROPY,
    EPISODE,
    EXPECTED,
    LEVEL,
    OFF_FORMAT,
    PENDING,
    PREFIX_PROGRESS,
    PREFIX_STEPS,
    REWARD,
    REWARDS,
    SHAPING,
    SUCCESS_PROBABILITY,
    SUCCESS_STOP,
    TRUNCATED,
    VETOED,
)
from roboreward_gym.rewards import RewardMap, reward_of
from roboreward_gym.scorer import ScoreOrError, Scorer
from roboreward_gym.shaping import (
    ProgressTrack,
    ScoringSettings,
    potential,
    shaping_reward,
    shaping_rewards,
)
from roboreward_gym.types import Clip, ProgressScore, RewardModel

logger = logging.getLogger(__name__)

RESETS_WITHOUT_A_SCORE = 3
"""So many in a row, each in the middle of an episode, are no coincidence."""

Entries = dict[int, dict[str, Any]]
"""What comes into `info`, by environment."""


@dataclass(eq=False)
class PendingEpisode:
    """An episode that has ended and whose score was not returned yet.

    Attributes:
        episode: How many episodes of its environment had ended before.
        clip: What the reward model scores.
        track: What is known of its prefixes.
        is_terminal: Whether its end is a termination to the learner.
        answer: Results of all clips of a call; None before it.
        place: Which of these is this episode's; those of its prefixes are behind it.
        failed: That it has no reward was raised already.
    """

    episode: int
    clip: Clip
    track: ProgressTrack
    is_terminal: bool
    answer: "Future[list[ScoreOrError]] | None" = None
    place: int = 0
    failed: bool = False

    def set_result(self, score: ProgressScore) -> None:
        """Put a score in place of a failure."""
        self.answer, self.place, self.failed = Future(), 0, False
        self.answer.set_result([score])


class EpisodeScores:
    """Scores of the episodes of one environment or several, and the rewards that come of them.

    Of a running episode (`start`) the prefixes of a step (`add_prefix`) are scored by `score_prefixes`. It
    is pending from its end (`add`) until its score is returned: immediate ones by `finish_step` for the
    same step, deferred ones by `finish_step` for a later step or by `finish_reset`. No environment has two
    pending episodes but while the next one's end waits for the last one's score.
    A failure is raised and leaves everything as it is, so the same call can be made again; that of a prefix
    is logged and marked in `info`.

    Args:
        scorer: The reward model and the policy for its failures.
        reward_map: From score to reward.
        num_envs: How many environments.
        settings: When they are scored. With deferred scoring prefixes are kept for the end of their episode,
            and all scored in one call then.
    """

    def __init__(
        self, scorer: Scorer, reward_map: RewardMap, num_envs: int, settings: ScoringSettings
    ) -> None:
        self._scorer = scorer
        self._reward_map = reward_map
        self._settings = settings
        self._deferred = settings.is_deferred
        self._has_prefixes = settings.has_prefixes
        self._is_shaped = settings.shaping != "none"
        self._episodes = [0] * num_envs
        self._interruptions = 0
        """Resets in the middle of an episode, since an episode has ended."""
        self._warned_of_camera = False
        self._tracks = [ProgressTrack() for _ in range(num_envs)]
        self._due: dict[int, tuple[int, Clip]] = {}
        """Prefixes of the present step, until they are scored."""
        self._ended: dict[int, PendingEpisode] = {}
        """Episodes that ended in the present step, until `finish_step` succeeds."""
        self._pending: dict[int, PendingEpisode] = {}
        """Episodes that ended in earlier steps; deferred only."""
        self.last_clips: list[Clip | None] = [None] * num_envs
        self.last_scores: list[ProgressScore | None] = [None] * num_envs

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no pending episodes: it begins with a reset."""
        return {**self.__dict__, "_ended": {}, "_pending": {}}

    def start(self, envs: Iterable[int]) -> None:
        """Begin the next episode of these environments, and drop episodes of the present step that have no score yet."""
        if self._ended:
            logger.warning(
                "%d ended episodes were given up: they stay without a score.", len(self._ended)
            )
        self._ended = {}
        for i in envs:
            self._tracks[i] = ProgressTrack()
            self._due.pop(i, None)

    def add_prefix(self, env: int, step: int, clip: Clip) -> None:
        """Take in a prefix that ends with this step of the episode."""
        if self._deferred:
            self._tracks[env].clips[step] = clip
        else:
            self._due[env] = (step, clip)

    def add(
        self, env: int, clip: Clip, *, is_terminal: bool, score: ProgressScore | None = None
    ) -> None:
        """Take in an episode that ended in this step, with its score if there is one."""
        self._interruptions = 0
        pending = PendingEpisode(self._episodes[env], clip, self._tracks[env], is_terminal)
        if score is not None:
            pending.set_result(score)
        self._ended[env], self._tracks[env] = pending, ProgressTrack()
        self._episodes[env] += 1
        self.last_clips[env], self.last_scores[env] = clip, None
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

    def score_prefixes(self, running: Iterable[int]) -> tuple[Entries, list[int]]:
        """Score the prefixes that are due, in one call; where they succeed, the episode ends with that score.

        Args:
            running: Environments whose episode took a step and goes on.

        Returns:
            What comes into the infos, the reward under `SHAPING`; and the environments whose episode ended.
        """
        due = self._due
        clips = [clip for _, clip in due.values()]
        results = dict(zip(due, self._scorer.submit(clips).result() if clips else [], strict=True))
        self._due = {}
        entries: Entries = {}
        succeeded: list[int] = []
        for i in running:
            track, entries[i] = self._tracks[i], {}
            before = track.known
            if i in results:
                (step, clip), result = due[i], results[i]
                entries[i] = track.note(step, clip, result)
                if self._succeeds(track, result) and isinstance(result, ProgressScore):
                    entries[i] |= {SUCCESS_STOP: True, TRUNCATED: False}
                    self.add(i, clip, is_terminal=True, score=result)
                    succeeded.append(i)
                    continue
            if self._is_shaped and not self._deferred:
                entries[i][SHAPING] = shaping_reward(before, track.known, self._settings.discount)
        return entries, succeeded

    def _succeeds(self, track: ProgressTrack, result: ScoreOrError) -> bool:
        least = self._settings.terminate_on_success
        # NaN, of an unreadable score, is not a success either.
        reached = (
            least is not None
            and isinstance(result, ProgressScore)
            and result.success_probability >= least
        )
        track.successes = track.successes + 1 if reached else 0
        return track.successes >= self._settings.success_hold

    def finish_step(self) -> tuple[dict[int, float], Entries]:
        """Rewards of the episodes that ended in this step, and what comes into the infos.

        Raises:
            RewardModelFailure: The model failed on some; the next call scores these again.
        """
        if self._deferred:
            return self._finish_deferred_step()
        if not self._ended:
            return {}, {}
        self._submit(self._ended)
        entries = self._collect(self._ended)
        self._ended = {}
        return {i: entry.pop(REWARD) for i, entry in entries.items()}, entries

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
        found = self._collect(due)
        for i in due:
            del self._pending[i]
        return found

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
        answer = self._scorer.submit(list(clips.values()), reward_model)
        results = dict(zip(clips, answer.result(), strict=True))
        scores = {i: r for i, r in results.items() if isinstance(r, ProgressScore)}
        if len(scores) < len(results):
            raise self._failure(results)
        for i, pending in failed.items():
            pending.set_result(scores[i])
        return scores

    def close(self) -> None:
        """Let go of all clips, and of pending scores, without waiting for the model."""
        if self._pending:
            logger.warning("Closed with %d scores pending: there is none.", len(self._pending))
        self._scorer.close()
        self._ended, self._pending, self._due = {}, {}, {}
        self.last_clips = [None] * len(self.last_clips)

    def _finish_deferred_step(self) -> tuple[dict[int, float], Entries]:
        # An environment has one pending episode: where the next one ended, the score is waited for.
        due = {
            i: pending
            for i, pending in self._pending.items()
            if i in self._ended or pending.failed or (pending.answer and pending.answer.done())
        }
        self._submit({i: pending for i, pending in due.items() if pending.failed})
        entries = self._collect(due)
        for i in due:
            del self._pending[i]
        self._submit(self._ended)
        for i, pending in self._ended.items():
            entries[i] = {**entries.get(i, {}), PENDING: pending.episode}
        rewards = dict.fromkeys(self._ended, math.nan)
        self._pending |= self._ended
        self._ended = {}
        return rewards, entries

    def _submit(self, episodes: Mapping[int, PendingEpisode]) -> None:
        """Submit those that were not submitted, or failed, in one call."""
        unscored = [p for p in episodes.values() if p.answer is None or p.failed]
        if not unscored:
            return
        for pending in unscored:
            pending.failed = True  # unless an answer is on its way
        clips: list[Clip] = []
        places = []
        for pending in unscored:
            places.append(len(clips))
            clips += [pending.clip, *pending.track.clips.values()]
        answer = self._scorer.submit(clips, in_thread=self._deferred)
        for place, pending in zip(places, unscored, strict=True):
            pending.answer, pending.place, pending.failed = answer, place, False

    def _collect(self, episodes: Mapping[int, PendingEpisode]) -> Entries:
        """Wait for these, and return the entries of each."""
        wait([p.answer for p in episodes.values() if p.answer])  # Ctrl-C leaves all as it is
        results: dict[int, ScoreOrError] = {}
        scores: dict[int, ProgressScore] = {}
        for i, pending in episodes.items():
            pending.failed = True  # unless a score comes of it
            assert pending.answer is not None
            result, *prefixes = pending.answer.result()[pending.place :]
            for (step, clip), of_prefix in zip(pending.track.clips.items(), prefixes, strict=False):
                pending.track.note(step, clip, of_prefix)
            pending.track.clips = {}
            results[i] = result
            if isinstance(result, ProgressScore):
                scores[i], pending.failed = result, False
                if self.last_clips[i] is pending.clip:
                    self.last_scores[i] = result
        if len(scores) < len(results):
            raise self._failure(results)
        entries: Entries = {}
        for i, score in scores.items():
            entries[i] = {REWARD: reward_of(score, self._reward_map), **score_info(score)}
            if self._has_prefixes:
                self._shape(entries[i], episodes[i], score)
            if self._deferred:
                entries[i][EPISODE] = episodes[i].episode
        return entries

    def _shape(self, info: dict[str, Any], pending: PendingEpisode, score: ProgressScore) -> None:
        """Add shaping to the reward of the end and, with deferred scoring, the rewards and the progress of the steps before."""
        progress = pending.track.progress
        if self._deferred:
            info[PREFIX_STEPS], info[PREFIX_PROGRESS] = tuple(progress), tuple(progress.values())
        if not self._is_shaped:
            return
        # Phi(T) is 0 in a terminal state, which keeps the best policy.
        is_zero = self._settings.shaping == "potential" and pending.is_terminal
        rewards = shaping_rewards(
            (pending.clip.num_frames or len(pending.clip.frames)) - 1,
            progress,
            0.0 if is_zero else potential(score),
            self._settings.discount,
        )
        info[SHAPING] = rewards[-1]
        info[REWARD] += rewards[-1]
        if self._deferred:
            info[REWARDS] = (*rewards[:-1], info[REWARD])

    def _failure(self, results: Mapping[int, ScoreOrError]) -> RewardModelFailure:
        """The failures among the results of these environments, as one."""
        failures = {i: r for i, r in results.items() if isinstance(r, RoboRewardError)}
        first = next(iter(failures.values()))
        where = f"In environments {sorted(failures)}: " if len(self.last_clips) > 1 else ""
        failure = RewardModelFailure(
            f"{where}{first} The episode is kept: the same call again has it scored again, "
            "rescore() by another reward model."
        )
        failure.__cause__ = first.__cause__
        return failure


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
    if GUARD in score.manifest:
        entries[VETOED] = float(score.manifest[GUARD]["vetoed"])
    return entries if score.probabilities is None else {**entries, ENTROPY: score.entropy}
