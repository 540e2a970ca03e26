"""Vector environments, rewarded by a model that saw each episode to its true end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym.batched import BatchedEnv
from roboreward_gym.episode_scores import EpisodeScores
from roboreward_gym.errors import InvalidSetting, NoEpisode
from roboreward_gym.frames import RENDER, FrameSource, Source, as_given, to_numpy
from roboreward_gym.info import SHAPING, TRUNCATED
from roboreward_gym.recording import check_bounds, read_fps
from roboreward_gym.rewards import RewardMap, as_reward_map, guard_of
from roboreward_gym.scorer import FailurePolicy, Scorer
from roboreward_gym.shaping import DISCOUNT, Scoring, ScoringSettings, Shaping
from roboreward_gym.tasks import (
    TasksFunction,
    announce_task,
    check_given_tasks,
    check_tasks,
    read_tasks,
)
from roboreward_gym.types import (
    MAX_BYTES,
    MAX_FRAMES,
    Clip,
    FrameBuffer,
    ProgressScore,
    RewardModel,
)
from roboreward_gym.vector_recording import (
    Autoreset,
    CapturedRecorder,
    Recorder,
    autoreset_of,
    choose_recorder,
    copy_infos,
    guess_autoreset,
    read_reset_mask,
)
from roboreward_gym.wrapper import Ending, env_reward_info, is_terminated

VectorStep = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@dataclass(eq=False)
class PartialStep:
    """A step of the environments, less the rewards.

    Attributes:
        observations: As they were.
        terminations: `(num_envs,)` bool, as they are returned.
        truncations: `(num_envs,)` bool, as they are returned.
        infos: Without recordings.
        entries: What comes into the infos of each environment, less its score.
        running: Environments whose prefixes are still to be scored: those that go on.
        given: Rewards and terminations of the environments, whose kind of array ours have.
    """

    observations: Any
    terminations: np.ndarray
    truncations: np.ndarray
    infos: dict[str, Any]
    entries: list[dict[str, Any]]
    running: list[int]
    given: tuple[Any, Any]


class VLMRewardVectorWrapper(gym.vector.VectorWrapper):
    """`VLMRewardWrapper` for vector environments: one call of the model for all that end together.

    The reward is 0.0 but for environments whose episode ends in this step, in each mode of
    autoreset. `info` holds the same keys as arrays, with Gymnasium's masks under `_roboreward/...`;
    also with same-step autoreset they are about the episode that ended.

    Frames come from a `FrameCapture` around each environment where there is one, which is right
    everywhere and cheapest with processes; else from `render()`, which cannot show the end under
    same-step autoreset, from the observations, or from a function.

    Args:
        envs: A vector environment.
        reward_model: As of `VLMRewardWrapper`; it is called in this process only.
        task: The task of all, a sequence with one for each environment, or a function of the vector
            environment that returns such. By default the attribute of each, as of `VLMRewardWrapper`
            (of processes without `FrameCapture` only `task`). Read after each reset, and used for
            the environments that were reset.
        frame_source: `"render"`, an observation key or path, or a function of the vector environment
            and its observations that returns `(num_envs, H, W, 3)`, or its name
            `"module:function"`. Under same-step autoreset the function is also called with the last
            observations, and must go by these.
        scoring: `"immediate"`, or `"deferred"`: a step that ends episodes returns at once with the
            reward NaN and their numbers as `roboreward/pending`. The score comes in the infos of a
            later step, with the number as `roboreward/episode` and the reward as
            `roboreward/reward`; at the latest when the next episode of that environment ends, or
            with the next `reset`, which wait for it.
        terminate_on_success: As of `VLMRewardWrapper`; only with `AutoresetMode.DISABLED`.
        reward_map, on_failure, retries, ending: As of `VLMRewardWrapper`, for each environment.
        fps, record_fps, max_frames, max_bytes: Likewise.
        score_every, score_at, shaping, discount, success_hold: Likewise.

    Raises:
        UnknownName: No reward model, reward map or failure policy of that name.
        InvalidSetting: No vector environment, no frame rate, or a setting out of its range.
    """

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        reward_model: RewardModel | str,
        task: str | Sequence[str] | TasksFunction | None = None,
        *,
        frame_source: Source = RENDER,
        reward_map: str | RewardMap = "progress",
        on_failure: RewardModel | FailurePolicy | str = "raise",
        retries: int = 2,
        ending: Ending = "terminated",
        fps: float | None = None,
        record_fps: float | None = None,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        scoring: Scoring = "immediate",
        score_every: int | None = None,
        score_at: Sequence[int] | None = None,
        shaping: Shaping = "none",
        discount: float = DISCOUNT,
        terminate_on_success: float | None = None,
        success_hold: int = 1,
    ) -> None:
        if not isinstance(envs, gym.vector.VectorEnv):
            envs = BatchedEnv(envs)
        self._given_task = check_given_tasks(task, envs.num_envs)
        self._frame_source = FrameSource(frame_source)
        self._ends_terminated = is_terminated(ending)
        self._fps = read_fps(envs, fps)
        self._mode = autoreset_of(envs)
        reward_map = as_reward_map(reward_map)
        scorer = Scorer(reward_model, on_failure, retries, guard_of(reward_map))
        self._bounds = check_bounds(
            max_frames, max_bytes, self._fps, record_fps, scorer.sampling_fps
        )
        defaults = (RENDER, None, MAX_FRAMES, MAX_BYTES)
        self._leaves_recording = (frame_source, record_fps, max_frames, max_bytes) == defaults
        self._settings = ScoringSettings(
            scoring,
            score_every,
            () if score_at is None else tuple(score_at),
            shaping,
            discount,
            terminate_on_success,
            success_hold,
        )
        if terminate_on_success is not None and self._mode is not Autoreset.DISABLED:
            raise InvalidSetting(
                "These environments reset themselves, at ends of their own only. With terminate_on_success make "
                "the vector with autoreset_mode=gymnasium.vector.AutoresetMode.DISABLED."
            )
        self._scores = EpisodeScores(scorer, reward_map, envs.num_envs, self._settings)
        # Last of all that may fail: before Gymnasium 1.3 a wrapper that is half made closes what it wraps.
        super().__init__(envs)
        self._recorder: Recorder | None = None
        """None before the first reset, and after a step or reset that failed half-way."""
        self._tasks: list[str] = [""] * self.num_envs
        self._awaits_reset = np.zeros(self.num_envs, np.bool_)
        self._resets_next = np.zeros(self.num_envs, np.bool_)
        self._unfinished = False
        """Whether steps were taken since the last reset of all, and no episode ended in these."""
        self._none_ended = True
        """Whether no episode has ended since that reset."""
        self._part: PartialStep | None = None
        """A step that the caller has not got yet, because the reward model failed."""

    def __getstate__(self) -> dict[str, Any]:
        """A copy begins with a reset of all environments."""
        return {**self.__dict__, "_part": None, "_recorder": None, "_unfinished": False}

    @property
    def last_clips(self) -> list[Clip | None]:
        """What the reward model saw of the last episode of each environment that ended."""
        return self._scores.last_clips

    @property
    def last_scores(self) -> list[ProgressScore | None]:
        """The score of that same episode; None while there is none."""
        return self._scores.last_scores

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task of the present episode of each environment."""
        return tuple(self._tasks)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of `options["reset_mask"]`, and record their first frames.

        With deferred scoring it then waits for the pending scores of those that it reset.

        Raises:
            RewardModelFailure: The model failed on one of these. It is raised once: `rescore` can
                still score that episode for the next `reset`, which else gives it up.
            NoFrames: The ends of episodes could not be seen.
        """
        reset_mask = read_reset_mask(options, self.num_envs)
        recorder = None if reset_mask.all() else self._check_recorder()
        if recorder is None:
            if self._unfinished:
                self._scores.count_interruption()
            self._unfinished, self._none_ended = False, True
        begun = np.flatnonzero(reset_mask).tolist()
        self._scores.start(begun)
        self._part, self._recorder = None, None
        observations, infos = self.env.reset(seed=seed, options=options)
        infos = copy_infos(infos, self.env)
        if recorder is None:
            recorder = choose_recorder(
                self.env,
                infos,
                self._frame_source,
                self._bounds,
                self._mode,
                self._settings,
                may_be_captured=self._leaves_recording,
            )
        recorder.start(reset_mask, observations, infos)
        self._read_tasks(reset_mask, recorder)
        self._recorder, self._resets_next = recorder, self._resets_next & ~reset_mask
        self._awaits_reset |= reset_mask  # stays so where a pending score is a failure
        entries = self._scores.finish_reset(begun)
        self._awaits_reset &= ~reset_mask
        return observations, self._with_entries(infos, entries)

    def step(self, actions: Any) -> VectorStep:
        """Step, record, and have the episodes that end scored, in one call.

        Raises:
            RewardModelFailure: The model failed on some; the others keep their scores. Call `step`
                again for the rest of this step: no action is taken, and the failed are scored again.
            NoFrames: The environments cannot be recorded.
            InvalidReward: An environment's own reward is not a number.
        """
        if self._part is not None:
            return self._with_rewards(self._part)
        recorder = self._check_recorder()
        if self._awaits_reset.any():
            raise gym.error.ResetNeeded(
                f"The environments {np.flatnonzero(self._awaits_reset).tolist()} have ended their "
                "episodes. Call reset(options={'reset_mask': terminations | truncations}) before "
                "step()."
            )
        self._recorder, self._unfinished = None, False
        observations, env_rewards, terminations, truncations, infos = self.env.step(actions)
        infos = copy_infos(infos, self.env)
        given = env_rewards, terminations
        # Copies: a success may end more of them.
        terminations, truncations = np.array(to_numpy(terminations)), to_numpy(truncations)
        ended, was_reset = np.logical_or(terminations, truncations), self._resets_next
        if self._mode is None and ended.any():
            self._mode = guess_autoreset(infos)
        begun = ended if self._mode is Autoreset.SAME_STEP else was_reset
        buffers = recorder.record(observations, infos, ended, begun)
        entries = [
            {} if reset else env_reward_info(reward)
            for reset, reward in zip(was_reset, to_numpy(env_rewards), strict=True)
        ]
        for i in buffers:
            entries[i][TRUNCATED] = bool(truncations[i])
        if self._ends_terminated:
            terminations, truncations = np.array(ended), np.zeros_like(ended)
        for i, buffer in buffers.items():
            self._scores.add(i, self._clip(i, buffer), is_terminal=bool(terminations[i]))
        for i, buffer in recorder.prefixes.items():
            self._scores.add_prefix(i, buffer.steps, self._clip(i, buffer))
        self._read_tasks(begun, recorder)
        self._recorder = recorder
        if ended.any():
            self._none_ended = False
        self._unfinished = self._none_ended
        if self._mode in (None, Autoreset.NEXT_STEP):
            self._resets_next = ended
        elif self._mode is Autoreset.DISABLED:
            self._awaits_reset = ended
        running = (
            np.flatnonzero(~ended & ~was_reset).tolist() if self._settings.has_prefixes else []
        )
        self._part = PartialStep(
            observations, terminations, truncations, infos, entries, running, given
        )
        return self._with_rewards(self._part)

    def rescore(self, reward_model: RewardModel | str | None = None) -> list[ProgressScore | None]:
        """Score the last episode of each environment again; None where none has ended.

        For episodes on which the model failed, the scores then give the rewards that `step` (or with
        deferred scoring a later one, or `reset`) returns, and only these are scored. Where there are
        none, it is a second opinion and changes nothing.

        Args:
            reward_model: Another reward model or its name; by default the one of this wrapper.

        Raises:
            NoEpisode: No episode has ended yet.
            RewardModelFailure: The model failed (again) on some; all are still kept.
        """
        scores = self._scores.rescore(reward_model)
        return [scores.get(i) for i in range(self.num_envs)]

    def close(self, **kwargs: Any) -> None:
        """Close the environments and drop all frames; a shared reward model stays loaded.

        Pending scores are dropped, without waiting for the model.
        """
        self._scores.close()
        self._recorder, self._part = None, None
        super().close(**kwargs)

    def _check_recorder(self) -> Recorder:
        if self._part is not None:
            raise NoEpisode(
                "The reward model failed, and the rewards of the last step are still to come. Call "
                "step() again, or give that step up by a reset() of all environments."
            )
        if self._recorder is None:
            raise gym.error.ResetNeeded(
                "Call reset() of all environments first: none was called yet, or the last step or "
                "reset failed half-way."
            )
        return self._recorder

    def _read_tasks(self, reset_mask: np.ndarray, recorder: Recorder) -> None:
        if not reset_mask.any():
            return
        if callable(self._given_task):
            tasks = check_tasks(self._given_task(self.env), self.num_envs)
        elif self._given_task is not None:
            tasks = self._given_task
        else:
            tasks = read_tasks(self.env, captured=isinstance(recorder, CapturedRecorder))
            if not any(self._tasks):
                announce_task(tasks[0])
        for i in np.flatnonzero(reset_mask):
            self._tasks[i] = tasks[i]

    def _with_rewards(self, part: PartialStep) -> VectorStep:
        """The step with all that is known; what raises in here, the next `step` does again."""
        if part.running:
            prefixes, succeeded = self._scores.score_prefixes(part.running)
            part.running = []
            for i, entry in prefixes.items():
                part.entries[i].update(entry)
            part.terminations[succeeded] = self._awaits_reset[succeeded] = True
            if succeeded:
                self._unfinished = self._none_ended = False
        known, scored = self._scores.finish_step()
        self._part = None
        rewards = np.array([entry.get(SHAPING, 0.0) for entry in part.entries])
        for i, reward in known.items():
            rewards[i] = reward
        entries = {i: {**entry, **scored.get(i, {})} for i, entry in enumerate(part.entries)}
        infos = self._with_entries(part.infos, entries)
        like, flags_like = part.given
        flags = (as_given(part.terminations, flags_like), as_given(part.truncations, flags_like))
        return part.observations, as_given(rewards, like), *flags, infos

    def _clip(self, env: int, buffer: FrameBuffer) -> Clip:
        return buffer.to_clip(self._tasks[env], self._fps)

    def _with_entries(
        self, infos: dict[str, Any], entries: Mapping[int, dict[str, Any]]
    ) -> dict[str, Any]:
        """The infos with the entries of each environment in Gymnasium's way: arrays and masks."""
        infos = dict(infos)
        for i, entry in entries.items():
            infos = self._add_info(infos, entry, i)
        return infos
