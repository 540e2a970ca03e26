"""The prefixes of running episodes: which are due, scored in one call, and what their rewards are."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from roboreward_gym.errors import RoboRewardError
from roboreward_gym.scorer import Scorer
from roboreward_gym.shaping import PrefixSettings, ProgressTrack, potential, shaping_reward
from roboreward_gym.types import Clip, ProgressScore

logger = logging.getLogger(__name__)

PROGRESS = "roboreward/progress"
PREFIX_FAILED = "roboreward/prefix_failed"
SHAPING = "roboreward/shaping"
SUCCESS_STOP = "roboreward/success_stop"


class PrefixScores:
    """Scores of the prefixes of the present episodes of one environment or several.

    A prefix without a score, because the model failed, has no value: it is logged and said in `info`,
    the potential stays where it was, and the next score makes up for it.

    Args:
        scorer: The reward model and the policy for its failures.
        settings: Which prefixes are scored, and what becomes of it.
        num_envs: How many environments.
        deferred: Keep the prefixes for the end of their episode, and score all in one call then.
    """

    def __init__(
        self, scorer: Scorer, settings: PrefixSettings, num_envs: int, *, deferred: bool
    ) -> None:
        self._scorer = scorer
        self.settings = settings
        self._deferred = deferred
        self._tracks = [ProgressTrack() for _ in range(num_envs)]
        self._due: dict[int, tuple[int, Clip]] = {}
        """Prefixes of the present step, until they are scored."""

    def start(self, envs: Iterable[int]) -> None:
        """Begin with the next episode of these environments."""
        for i in envs:
            self._tracks[i] = ProgressTrack()
            self._due.pop(i, None)

    def add(self, env: int, step: int, clip: Clip) -> None:
        """Take in a prefix that ends with this step of the episode."""
        if self._deferred:
            self._tracks[env].clips[step] = clip
        else:
            self._due[env] = (step, clip)

    def end(self, env: int, *, is_terminal: bool) -> ProgressTrack:
        """Hand over what is known of an episode that ended, and begin with the next one."""
        track = self._tracks[env]
        track.is_terminal = is_terminal
        self._tracks[env] = ProgressTrack()
        return track

    def finish_step(
        self, running: Iterable[int]
    ) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[Clip, ProgressScore]]]:
        """Score what is due, in one call.

        Args:
            running: Environments whose episode took a step and goes on.

        Returns:
            What comes into the infos, the reward under `SHAPING`; and of the environments whose episode
            is to end, because it succeeded, the clip with its score.
        """
        due = self._due
        clips = [clip for _, clip in due.values()]
        results = dict(zip(due, self._scorer.submit(clips).result() if clips else [], strict=True))
        self._due = {}
        entries: dict[int, dict[str, Any]] = {}
        succeeded: dict[int, tuple[Clip, ProgressScore]] = {}
        for i in running:
            track, entries[i] = self._tracks[i], {}
            before = track.known
            if i in results:
                step, clip = due[i]
                entries[i] = take_score(track, step, clip, results[i])
                score = results[i]
                if self._succeeds(track, score) and isinstance(score, ProgressScore):
                    succeeded[i] = (clip, score)
                    entries[i][SUCCESS_STOP] = True
            if self.settings.shaping != "none" and i not in succeeded and not self._deferred:
                entries[i][SHAPING] = shaping_reward(before, track.known, self.settings.discount)
        return entries, succeeded

    def _succeeds(self, track: ProgressTrack, result: object) -> bool:
        least = self.settings.success_from
        # NaN, of an unreadable score, is no success either.
        reached = (
            least is not None
            and isinstance(result, ProgressScore)
            and result.success_probability >= least
        )
        track.successes = track.successes + 1 if reached else 0
        return track.successes >= self.settings.hold


def take_score(track: ProgressTrack, step: int, clip: Clip, result: object) -> dict[str, Any]:
    """Note the progress of a prefix, if it got a score; returns what comes into `info`."""
    if isinstance(result, ProgressScore) and result.level is not None:
        track.progress[step] = potential(result)
        return {PROGRESS: track.progress[step]}
    why = result if isinstance(result, RoboRewardError) else "Its score is unreadable."
    logger.warning(
        "The first %d steps of an episode (%s) got no score, and no reward for progress: the next score makes up "
        "for it. %s",
        step,
        clip.task,
        why,
    )
    return {PREFIX_FAILED: True}


def take_deferred(track: ProgressTrack, results: Mapping[int, object]) -> None:
    """Note the progress of the prefixes of an episode, by step; those without a result have failed."""
    for step, clip in track.clips.items():
        if step in results:
            take_score(track, step, clip, results[step])
    track.clips = {}
