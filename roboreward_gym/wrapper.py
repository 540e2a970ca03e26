"""The plugin itself: any Gymnasium environment, rewarded by a judge that watched the episode."""

import logging
import math
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from roboreward_gym.deferred import IMMEDIATE, BackgroundScoring, PendingScore, is_deferred
from roboreward_gym.errors import InvalidSetting, NoEpisode, RewardModelFailure
from roboreward_gym.judging import Judging
from roboreward_gym.portable import record_arguments
from roboreward_gym.recording import Camera, Film, FrameFunction, check_fps
from roboreward_gym.rewards import RewardMap, as_reward_map, reward_of
from roboreward_gym.step_info import ENV_REWARD, NO_SCORE, late_info, score_info
from roboreward_gym.types import Clip, ProgressScore, RewardModel, check_task

logger = logging.getLogger(__name__)

TaskFunction = Callable[[gym.Env[Any, Any]], str]
Step = tuple[Any, float, bool, bool, dict[str, Any]]


class VLMRewardWrapper(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs
):
    """Films each episode, has it judged where it ends, and returns that as the reward.

    The reward is 0.0 in every step but the one that ends the episode, terminated or truncated;
    neither flag is changed. The environment's own reward appears only in `info`. Wrap the result of
    `gym.make`, so that the time limit is seen, and put statistics and normalisers outside.

    `info` holds, in every step and at the reset, as floats and NaN where there is no score:
    `roboreward/level`, `/expected`, `/success_probability`, `/entropy`, `/off_format`,
    `/env_reward`, and `/scored`, which is 1.0 in a step that got a score and else 0.0.

    Args:
        env: Any environment that can be filmed.
        reward_model: A judge, or the name of one (see `roboreward_gym.registry`). Only with names
            can `gym.make(env.spec)` make the environment again.
        task: The command. By default the attribute `task` of the environment; or a function of the
            environment. Read at each reset, so it is the command of the episode that is filmed.
        frame_source: `"render"`, an observation key or a path of keys, or a function of the
            environment and the observation.
        reward_map: From score to reward: `"progress"` (0..1), `"expected_progress"`, `"binary"` or
            `"binary@4"`, `"minus_one"` (-1 or 0), `"level"`, or a function of the score.
        on_failure: When the judge fails or its answer is unreadable: `"raise"`, `"nan"`, `"retry"`,
            or another reward model or its name.
        retries: How often `"retry"` asks again before it raises.
        fps: Steps per second, in [Hz]; by default `render_fps` of the environment's metadata.
        max_frames: Most frames of an episode that are held; longer ones are thinned evenly.
        scoring: `"immediate"`: the step that ends the episode waits for the judge. `"deferred"`: it
            returns at once with the reward NaN and `roboreward/pending` 1.0, while a thread asks.
            The score comes by `collect`, or in the `info` of the next `reset` with the reward as
            `roboreward/reward`; both wait for it. A failure of the judge is raised there.

    Raises:
        UnknownName: No reward model, reward map or failure policy of that name.
        InvalidSetting: No frame rate, or a number out of range.

    >>> import numpy as np
    >>> class Patient:
    ...     def score(self, clips):
    ...         return [ProgressScore(level=min(5, len(clip.frames) // 4)) for clip in clips]
    >>> def draw(env, observation):
    ...     return np.full((8, 8, 3), 255, np.uint8)
    >>> env = VLMRewardWrapper(
    ...     gym.make("CartPole-v1"), Patient(), "balance the pole", frame_source=draw
    ... )
    >>> observation, info = env.reset(seed=0)
    >>> ended = False
    >>> while not ended:
    ...     observation, reward, terminated, truncated, info = env.step(1)
    ...     ended = terminated or truncated
    >>> reward, info["roboreward/level"], info["roboreward/env_reward"]
    (0.25, 2.0, 1.0)
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        reward_model: RewardModel | str,
        task: str | TaskFunction | None = None,
        *,
        frame_source: str | FrameFunction = "render",
        reward_map: str | RewardMap = "progress",
        on_failure: RewardModel | str = "raise",
        retries: int = 2,
        fps: float | None = None,
        max_frames: int = 256,
        scoring: str = IMMEDIATE,
    ) -> None:
        record_arguments(
            self,
            reward_model=reward_model,
            task=task,
            frame_source=frame_source,
            reward_map=reward_map,
            on_failure=on_failure,
            retries=retries,
            fps=fps,
            max_frames=max_frames,
            scoring=scoring,
        )
        super().__init__(env)
        self._given_task = task if task is None or callable(task) else check_task(task)
        self._camera = Camera(frame_source, max_frames)
        self._reward_map = as_reward_map(reward_map)
        self._fps = check_fps(env.metadata.get("render_fps") if fps is None else fps)
        self._background = BackgroundScoring() if is_deferred(scoring) else None
        self._judging = Judging(reward_model, on_failure, retries)
        self._task: str | None = None
        self._awaits_reset = True
        self._ending: Step | None = None
        self._pending: PendingScore | None = None
        self.last_clip: Clip | None = None
        """What the judge saw of the last episode that ended; kept when the judge failed."""
        self.last_score: ProgressScore | None = None
        """What it said of that episode; None if it failed and that was raised."""

    @property
    def task(self) -> str | None:
        """The command of the present episode; None before the first reset."""
        return self._task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset the environment and film its first frame.

        With deferred scoring it then waits for the score of the last episode, unless that was
        collected, and tells it in `info`.

        Raises:
            RewardModelFailure: The judge of the last episode failed. It is raised once: `rescore`
                can still judge that episode, and another `reset` drops it.
        """
        self._camera.stop()
        self._awaits_reset = True
        if self._pending is None:
            self._ending = None
        observation, info = self.env.reset(seed=seed, options=options)
        entries = self._reset_entries()
        self._ending = None
        self._task = self._read_task()
        self._awaits_reset = False
        self._camera.start(self.env, observation)
        return observation, {**info, **entries}

    def step(self, action: ActType) -> Step:
        """Step, film, and at the end of the episode have it judged.

        Raises:
            RewardModelFailure: The judge failed; the episode is kept, see `rescore`.
            NoFrames: The environment cannot be filmed.
        """
        if self._awaits_reset:
            raise gym.error.ResetNeeded(
                "Expected reset() before step(): the episode has ended or never began. "
                "Put gymnasium.wrappers.Autoreset outside of this wrapper."
            )
        film = self._camera.take(self.env)
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        self._camera.record(film, self.env, observation, final=ended)
        info = {**info, **score_info(None, env_reward)}
        if self._background is not None:
            info |= late_info(pending=ended)
        step: Step = (observation, 0.0, terminated, truncated, info)
        if not ended:
            return step
        self._keep(film, step)
        return self.rescore() if self._background is None else self._defer(self._background)

    def collect(self) -> Step:
        """Wait for a deferred score and return what `step` would have returned with it.

        Raises:
            NoEpisode: No score is pending.
            RewardModelFailure: The judge failed; the episode is kept, see `rescore`.
        """
        pending = self._pending
        if pending is None:
            raise NoEpisode(
                "Expected a pending score, got none: it was collected, or scoring is immediate. "
                "collect() once after a step with info['roboreward/pending'] == 1."
            )
        pending.wait()
        self._pending = None
        outcome = pending.outcome()
        if isinstance(outcome, RewardModelFailure):
            raise outcome
        return self._pay(outcome)

    def rescore(self, reward_model: RewardModel | str | None = None) -> Step:
        """Judge the ended episode again and return what `step` returns at its end.

        For an episode whose judge failed, and for a second opinion on one that was scored.

        Args:
            reward_model: Another judge or its name; by default the one of this wrapper.

        Raises:
            NoEpisode: No episode has ended since the last reset.
            RewardModelFailure: The judge failed (again); the episode is still kept.
        """
        if self._pending is not None:
            raise NoEpisode(
                "Expected a scored or failed episode, got a pending one. Call collect()."
            )
        if self._ending is None or self.last_clip is None:
            raise NoEpisode("Expected an ended episode, got none since the last reset. Finish one.")
        judging = self._judging if reward_model is None else self._judging.by(reward_model)
        self.last_score = None
        return self._pay(judging.score(self.last_clip))

    def close(self) -> None:
        """Close the environment and let go of all frames; a shared reward model stays loaded.

        A pending score is given up, without waiting for the judge.
        """
        if self._background is not None and self._background.close():
            logger.warning("Closed while a score was pending: that episode stays without a score.")
        self._camera.stop()
        self._pending, self._ending, self.last_clip, self._awaits_reset = None, None, None, True
        super().close()

    def _read_task(self) -> str:
        if isinstance(self._given_task, str):
            return self._given_task
        if self._given_task is not None:
            return check_task(self._given_task(self.env))
        try:
            return check_task(self.env.get_wrapper_attr("task"))
        except AttributeError as error:
            raise InvalidSetting(
                "Expected a task, got none, and the environment has no attribute `task`. "
                "Pass task= the command as text, or a function of the environment."
            ) from error

    def _keep(self, film: Film, ending: Step) -> None:
        self.last_clip = film.cut(self._task or "", self._fps)
        self._ending, self._awaits_reset = ending, True

    def _defer(self, background: BackgroundScoring) -> Step:
        assert self.last_clip is not None
        assert self._ending is not None
        self.last_score = None
        (self._pending,) = background.submit(self._judging, [self.last_clip])
        observation, _, terminated, truncated, info = self._ending
        return observation, math.nan, terminated, truncated, info

    def _pay(self, score: ProgressScore) -> Step:
        assert self._ending is not None
        reward = reward_of(score, self._reward_map)
        self.last_score = score
        observation, _, terminated, truncated, info = self._ending
        info = {**info, **score_info(score, info[ENV_REWARD])}
        if self._background is not None:
            info |= late_info(reward)
        return observation, reward, terminated, truncated, info

    def _reset_entries(self) -> dict[str, float]:
        if self._background is None:
            return score_info(None, NO_SCORE)
        if self._pending is None:
            return {**score_info(None, NO_SCORE), **late_info()}
        reward = self.collect()[1]
        return {**score_info(self.last_score, NO_SCORE), **late_info(reward)}
