"""Vector environments, rewarded by a judge that watched each episode to its true end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym.backlog import Backlog, ScoredEpisode
from roboreward_gym.deferred import IMMEDIATE, is_deferred
from roboreward_gym.errors import InvalidSetting, NoEpisode, RewardModelFailure
from roboreward_gym.judging import Judging, raise_failures
from roboreward_gym.recording import RENDER, Film, check_fps, check_max_frames
from roboreward_gym.rewards import RewardMap, as_reward_map, reward_of
from roboreward_gym.step_info import NO_SCORE, batch_info, late_info, score_info
from roboreward_gym.types import Clip, ProgressScore, RewardModel, check_task
from roboreward_gym.vector_filming import (
    Autoreset,
    VectorFilms,
    autoreset_of,
    check_source,
    choose_films,
    own_infos,
)

TasksFunction = Callable[[gym.vector.VectorEnv], Sequence[str]]
"""Takes the vector environment, returns the present task of each of its environments."""

VectorStep = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]

RESET_MASK = "reset_mask"


@dataclass(frozen=True, eq=False)
class Shown:
    """What a step of the environments showed, less the rewards.

    Attributes:
        observations: As they were.
        terminations: `(num_envs,)` bool.
        truncations: `(num_envs,)` bool.
        infos: Without films.
        env_rewards: Of the environments themselves; NaN for a step that was a reset.
        ended: Indices of the environments whose episode ended.
    """

    observations: Any
    terminations: np.ndarray
    truncations: np.ndarray
    infos: dict[str, Any]
    env_rewards: list[float]
    ended: list[int]


class VLMRewardVectorWrapper(gym.vector.VectorWrapper):
    """`VLMRewardWrapper` for vector environments: one call of the judge for all that end together.

    The reward is 0.0 but for environments whose episode ends in this step, in each mode of
    autoreset. `info` holds the same keys as arrays of floats, with Gymnasium's masks under
    `_roboreward/...`; also with same-step autoreset they tell of the episode that ended.

    Frames come from a `FrameCapture` around each environment where there is one, which is right
    everywhere and cheapest with processes; else from `render()`, which cannot show the end under
    same-step autoreset, or from the observations.

    Args:
        envs: A vector environment.
        reward_model: As of `VLMRewardWrapper`; it is called in this process only.
        task: The command of all, a sequence with one for each environment, or a function of the
            vector environment that returns such. By default the attribute `task` of each. Read
            after each reset, and used for the environments that were reset.
        frame_source: `"render"`, or an observation key or path. Functions go to `FrameCapture`.
        reward_map: As of `VLMRewardWrapper`.
        on_failure: As of `VLMRewardWrapper`, for each episode by itself.
        retries: As of `VLMRewardWrapper`.
        fps: As of `VLMRewardWrapper`.
        max_frames: As of `VLMRewardWrapper`, for each environment.
        scoring: `"immediate"`, or `"deferred"`: see `collect`.

    Raises:
        UnknownName: No reward model, reward map or failure policy of that name.
        InvalidSetting: No frame rate, or a number out of range.
    """

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        reward_model: RewardModel | str,
        task: str | Sequence[str] | TasksFunction | None = None,
        *,
        frame_source: str = RENDER,
        reward_map: str | RewardMap = "progress",
        on_failure: RewardModel | str = "raise",
        retries: int = 2,
        fps: float | None = None,
        max_frames: int = 256,
        scoring: str = IMMEDIATE,
    ) -> None:
        named = isinstance(task, (str, Sequence))
        self._fixed_tasks = _check_tasks(task, envs.num_envs) if named else None
        self._tasks_of = _ask_tasks if named or task is None else task
        self._frame_source = check_source(frame_source)
        self._reward_map = as_reward_map(reward_map)
        self._fps = check_fps(envs.metadata.get("render_fps") if fps is None else fps)
        self._max_frames = check_max_frames(max_frames)
        self._mode = autoreset_of(envs)
        self._judging = Judging(reward_model, on_failure, retries)
        later = is_deferred(scoring)
        # Last of all that may fail: before Gymnasium 1.3 a wrapper that is half made closes what it wraps.
        super().__init__(envs)
        self._backlog: Backlog | None = None
        if later:
            self._backlog = Backlog(self._judging, self._reward_of, self.num_envs)
        self._films: VectorFilms | None = None
        self._tasks: list[str] = [""] * self.num_envs
        self._broken = True
        self._awaits_reset = np.zeros(self.num_envs, np.bool_)
        self._resets_next = np.zeros(self.num_envs, np.bool_)
        self._ending: Shown | None = None
        self._unpaid = False
        self.last_clips: list[Clip | None] = [None] * self.num_envs
        """What the judge saw of the last episode of each environment that ended."""
        self.last_scores: list[ProgressScore | None] = [None] * self.num_envs
        """What it said of that episode; None while it has not, or if it failed and that was raised."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The command of the present episode of each environment."""
        return tuple(self._tasks)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of `options["reset_mask"]`, and film their first frames.

        With deferred scoring it then waits for the score of the last episode of each environment
        that it reset, unless that was collected, and tells it in the infos.

        Raises:
            RewardModelFailure: The judge failed on one of these. It is raised once: `collect` can
                still have that episode judged, and another `reset` gives it up.
            NoFrames: The ends of episodes could not be seen.
        """
        begun = self._reset_mask(options)
        films = None if begun.all() else self._check_unbroken()
        self._broken, self._ending, self._unpaid = True, None, False
        observations, infos = self.env.reset(seed=seed, options=options)
        infos = own_infos(infos)
        if films is None:
            films = choose_films(self.env, infos, self._frame_source, self._max_frames, self._mode)
        films.begin(begun, observations, infos)
        self._films = films
        self._read_tasks(begun)
        self._broken, self._resets_next = False, self._resets_next & ~begun
        self._awaits_reset |= begun  # stays so where the late score is a failure
        entries = self._reset_entries(begun)
        self._awaits_reset &= ~begun
        return observations, {**infos, **batch_info(entries, begun)}

    def step(self, actions: Any) -> VectorStep:
        """Step, film, and have the episodes that end judged, in one call.

        Raises:
            RewardModelFailure: The judge failed on some; nothing is lost, see `rescore`.
            NoFrames: The environments cannot be filmed.
        """
        films = self._check_unbroken()
        self._check_no_reset_needed()
        if self._backlog is not None:
            self._backlog.make_room()
        self._broken, self._ending = True, None
        observations, env_rewards, terminations, truncations, infos = self.env.step(actions)
        infos = own_infos(infos)
        ended, reset = np.logical_or(terminations, truncations), self._resets_next
        begun = ended if self._mode is Autoreset.SAME_STEP else reset
        finished = films.record(observations, infos, ended, begun)
        self._keep(finished)
        self._read_tasks(begun)
        self._broken = False
        if self._mode is Autoreset.NEXT_STEP:
            self._resets_next = ended
        elif self._mode is Autoreset.DISABLED:
            self._awaits_reset = ended
        own = [NO_SCORE if r else float(x) for r, x in zip(reset, env_rewards, strict=True)]
        shown = Shown(observations, terminations, truncations, infos, own, sorted(finished))
        if self._backlog is not None:
            return self._defer(shown, self._backlog)
        if not finished:
            return self._pay(shown)
        self._ending, self._unpaid = shown, True
        return self.rescore()

    def rescore(self, reward_model: RewardModel | str | None = None) -> VectorStep:
        """Judge episodes of the last step again and return what `step` returns, with all rewards.

        Asks about those without a score, or if each has one about all of them.

        Args:
            reward_model: Another judge or its name; by default the one of this wrapper.

        Raises:
            NoEpisode: No episode ended in the last step, or scoring is deferred.
            RewardModelFailure: The judge failed (again) on some; the scores of others are kept.
        """
        if self._ending is None:
            raise NoEpisode(
                "Expected episodes that ended in the last step, got none. "
                "With deferred scoring call collect(reward_model=...)."
            )
        judging = self._judging if reward_model is None else self._judging.by(reward_model)
        unscored = [i for i in self._ending.ended if self.last_scores[i] is None]
        self._judge(unscored or self._ending.ended, judging)
        step = self._pay(self._ending)
        self._unpaid = False
        return step

    def collect(
        self, *, wait: bool = True, reward_model: RewardModel | str | None = None
    ) -> list[ScoredEpisode]:
        """Hand out deferred scores, in the order in which episodes ended, each score once.

        With `scoring="deferred"` a step that ends episodes returns at once: their rewards are NaN,
        their `roboreward/pending` is 1.0, and a thread asks the judge. A step waits only while more
        clips than there are environments are without a score.

        Args:
            wait: Wait for all; else stop before the first score that is not known yet.
            reward_model: Another judge for the episodes whose failure was raised before; by default
                they are put to the same again.

        Raises:
            NoEpisode: Scoring is not deferred.
            RewardModelFailure: The judge failed on some; no score is lost, and `collect` again asks
                again about these.
        """
        if self._backlog is None:
            raise NoEpisode(
                "Expected deferred scoring, got scoring='immediate', where step() returns the "
                "rewards. Pass scoring='deferred'."
            )
        self._backlog.ask_again(None if reward_model is None else self._judging.by(reward_model))
        scored = self._backlog.take(wait=wait)
        self._note(scored)
        return scored

    def close(self, **kwargs: Any) -> None:
        """Close the environments and let go of all frames; a shared reward model stays loaded.

        Pending scores are given up, without waiting for the judge.
        """
        if self._backlog is not None:
            self._backlog.close()
        self._films, self._ending, self._unpaid, self._broken = None, None, False, True
        self.last_clips = [None] * self.num_envs
        super().close(**kwargs)

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray:
        # Read before the environments see the options: they take the mask out.
        mask = (options or {}).get(RESET_MASK)
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not hasattr(gym.vector, "AutoresetMode"):
            raise InvalidSetting(
                f"Expected no {RESET_MASK!r}, which this version of Gymnasium would ignore. "
                "Install gymnasium>=1.1, or reset all environments."
            )
        return np.array(mask, np.bool_)

    def _check_unbroken(self) -> VectorFilms:
        if self._unpaid:
            raise NoEpisode(
                "Expected rescore() first: the judge failed, and the rewards of the last step are "
                "still to come. Or give that step up by a reset() of all environments."
            )
        if self._films is None:
            raise gym.error.ResetNeeded("Expected reset() before anything else.")
        if self._broken:
            raise NoEpisode(
                "Expected unbroken episodes, got some whose last step or reset failed. "
                "Reset all environments."
            )
        return self._films

    def _check_no_reset_needed(self) -> None:
        if self._awaits_reset.any():
            raise gym.error.ResetNeeded(
                "Expected reset() before step(): the episodes of the environments "
                f"{np.flatnonzero(self._awaits_reset).tolist()} have ended. "
                "Pass options={'reset_mask': terminations | truncations}."
            )

    def _read_tasks(self, begun: np.ndarray) -> None:
        if not begun.any():
            return
        tasks = self._fixed_tasks or _check_tasks(self._tasks_of(self.env), self.num_envs)
        for i in np.flatnonzero(begun):
            self._tasks[i] = tasks[i]

    def _keep(self, finished: dict[int, Film]) -> None:
        for i, film in finished.items():
            self.last_clips[i] = film.cut(self._tasks[i], self._fps)
            self.last_scores[i] = None

    def _clips(self, envs: Sequence[int]) -> list[Clip]:
        return [clip for i in envs if (clip := self.last_clips[i]) is not None]

    def _judge(self, envs: Sequence[int], judging: Judging) -> None:
        for i in envs:
            self.last_scores[i] = None
        failures: dict[int, BaseException] = {}
        for i, outcome in zip(envs, judging.outcomes(self._clips(envs)), strict=True):
            if isinstance(outcome, RewardModelFailure):
                failures[i] = outcome
            else:
                self.last_scores[i] = outcome
        raise_failures(failures)

    def _reward_of(self, score: ProgressScore) -> float:
        return reward_of(score, self._reward_map)

    def _pay(self, shown: Shown) -> VectorStep:
        """The step with the rewards of the episodes that ended in it."""
        rewards = np.zeros(self.num_envs)
        scores: list[ProgressScore | None] = [None] * self.num_envs
        for i in shown.ended:
            score = scores[i] = self.last_scores[i]
            assert score is not None
            rewards[i] = self._reward_of(score)
        entries = [score_info(s, r) for s, r in zip(scores, shown.env_rewards, strict=True)]
        return _step(shown, rewards, entries)

    def _defer(self, shown: Shown, backlog: Backlog) -> VectorStep:
        rewards = np.zeros(self.num_envs)
        if shown.ended:
            rewards[shown.ended] = math.nan
            backlog.add(shown.ended, self._clips(shown.ended))
        entries = [
            {**score_info(None, reward), **late_info(pending=i in shown.ended)}
            for i, reward in enumerate(shown.env_rewards)
        ]
        return _step(shown, rewards, entries)

    def _reset_entries(self, begun: np.ndarray) -> list[dict[str, float]]:
        entries = [score_info(None, NO_SCORE) for _ in range(self.num_envs)]
        if self._backlog is None:
            return entries
        entries = [{**entry, **late_info()} for entry in entries]
        scored = self._backlog.take_last(begun)
        self._note(scored)
        for episode in scored:
            score = score_info(episode.score, NO_SCORE)
            entries[episode.env] = {**score, **late_info(episode.reward)}
        return entries

    def _note(self, scored: Sequence[ScoredEpisode]) -> None:
        for episode in scored:
            self.last_scores[episode.env] = episode.score


def _step(shown: Shown, rewards: np.ndarray, entries: list[dict[str, float]]) -> VectorStep:
    infos = {**shown.infos, **batch_info(entries, np.ones(len(entries), np.bool_))}
    return shown.observations, rewards, shown.terminations, shown.truncations, infos


def _check_tasks(tasks: str | Sequence[str], num_envs: int) -> list[str]:
    tasks = [tasks] * num_envs if isinstance(tasks, str) else list(tasks)
    if len(tasks) != num_envs:
        raise InvalidSetting(
            f"Expected a task for each of {num_envs} environments, got {len(tasks)}."
        )
    return [check_task(task) for task in tasks]


def _ask_tasks(envs: gym.vector.VectorEnv) -> Sequence[str]:
    try:
        return envs.unwrapped.get_attr("task")  # ty: ignore[missing-attribute]
    except AttributeError as error:
        raise InvalidSetting(
            "Expected a task, got none, and the environments have no attribute `task`. Pass task= "
            "the command as text, one for each environment, or a function of the vector environment."
        ) from error
