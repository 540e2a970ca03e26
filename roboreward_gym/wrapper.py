"""The plugin itself: any Gymnasium environment, rewarded by a model that saw the episode."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from roboreward_gym.episode_scores import EpisodeScores
from roboreward_gym.errors import InvalidReward, InvalidSetting
from roboreward_gym.frames import RENDER, FrameRecorder, Source, to_numpy
from roboreward_gym.info import ENV_REWARD, SHAPING, TRUNCATED
from roboreward_gym.recording import check_bounds, read_fps
from roboreward_gym.rewards import RewardMap, as_reward_map, guard_of
from roboreward_gym.scorer import FailurePolicy, Scorer
from roboreward_gym.shaping import DISCOUNT, Scoring, ScoringSettings, Shaping
from roboreward_gym.specs import record_arguments
from roboreward_gym.tasks import TaskFunction, announce_task, check_given_task, read_task
from roboreward_gym.types import (
    MAX_BYTES,
    MAX_FRAMES,
    Clip,
    ProgressScore,
    RewardModel,
    check_task,
)

Step = tuple[Any, float, bool, bool, dict[str, Any]]
Ending = Literal["terminated", "unchanged"]


@dataclass(eq=False)
class PartialStep:
    """A step of the environment, less what is to be scored."""

    observation: Any
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    is_final: bool
    """Whether its episode has ended."""


class VLMRewardWrapper(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs
):
    """Records each episode, has it scored where it ends, and returns that as the reward.

    The reward is 0.0 in every step but the one that ends the episode. Wrap the result of `gym.make`,
    so that the time limit is inside, and put statistics and normalisers outside.

    `info` holds, each where it applies: `roboreward/env_reward`, the environment's own
    reward; in the step that ends an episode `roboreward/truncated`, whether the environment called
    it a truncation; with a score `roboreward/level`, `/expected`, `/success_probability`,
    `/off_format` (probability that the answer is anything but one of the digits 1..5), and `/entropy`
    where the model gives probabilities.

    If the reward model fails and `on_failure` has no answer, `step` raises and nothing is lost: the
    next `step` takes no action, but has the episode scored again and returns its end.

    Args:
        env: Any environment that can be recorded.
        reward_model: A reward model, or the name of one (see `roboreward_gym.registry`). Only with
            names does `env.spec` work in another process.
        task: The task as text. By default the attribute `task`, `mission`, `instruction` or
            `task_description` of the environment, whichever there is; or a function of the
            environment, or its name `"module:function"`. Read at each reset.
        frame_source: `"render"`, a path into what that returns such as `"render/0"`, an observation
            key or a path of keys, or a function of the environment and the observation, or its name
            `"module:function"`. A list of these is several cameras, put side by side.
        reward_map: From score to reward: `"progress"` (0..1), `"expected_progress"`, `"binary"` or
            `"binary@4"`, `"minus_one"` (-1 or 0), `"level"`, `"calibrated:FILE"` of `roboreward
            calibrate`, `"guarded:progress?endings=3"` (a success counts only if the model says it again, see
            `roboreward_gym.guard`; `info` then says `roboreward/vetoed`), or a function of the score.
        on_failure: When the model fails or its answer is unreadable: `"raise"`, `"nan"`, `"nan_unreadable"` (NaN for
            an unreadable answer, as of a model that abstains; raise if it fails), `"retry"`, or another reward
            model or its name.
        retries: How often `"retry"` asks again before it raises.
        ending: What the end of an episode is to the learner. `"terminated"`: always a termination,
            because the score is the whole return; one that bootstraps past a time limit would count
            it twice. `"unchanged"`: as the environment returns it.
        fps: Steps per second, in [Hz]; by default `render_fps` of the environment's metadata. Pass
            it where a wrapper inside repeats actions or skips frames.
        record_fps: Record at least this many frames per second, in [Hz]; the last frame is always
            recorded. By default four times as many as the reward model samples (its `protocol.fps`):
            8 Hz for RoboReward, so that below 16 steps per second each step is recorded. Models
            without `protocol` get a frame of each step. Pass the rate of the steps to record each.
        max_frames: Most frames of an episode that are held; longer ones are thinned evenly.
        max_bytes: Most bytes of frames that are held, likewise.
        scoring: `"immediate"`: the step that ends the episode waits for the score. `"deferred"`: it
            returns at once with the reward NaN and the number of the episode as
            `roboreward/pending`, while a thread scores. The next `reset` waits for the score and has
            it in its `info`, with the number as `roboreward/episode` and the reward as
            `roboreward/reward`. Wrappers outside that change rewards do not see that reward: use
            `reward_map`. With prefixes they are scored in the same call, and `info` has what became of
            them as `roboreward/prefix_steps` and `/prefix_progress`, and the rewards of all steps as
            `roboreward/rewards`.
        score_every: Score the episode so far every `score_every` steps too. `info` then has its expected
            progress (0..1) as `roboreward/progress`. A prefix that got no score has no value: `info` has
            `roboreward/prefix_failed`, and the next score makes up for it.
        score_at: Score the episode so far after these steps, likewise.
        shaping: Rewards between the ends (see `roboreward_gym.shaping`), added to the reward of the end and
            in `info` as `roboreward/shaping`: `"none"`; `"progress"`, differences of discounted progress;
            `"potential"`, the same with a potential of 0 at terminations, which leaves the best policy
            as it is.
        discount: That of the learner, for `shaping`.
        terminate_on_success: End the episode where the probability of level 5 of its prefix is at least
            this; `info` has `roboreward/success_stop`.
        success_hold: Number of prefixes in a row that have to reach it.

    Raises:
        UnknownName: No reward model, reward map or failure policy of that name.
        InvalidSetting: No frame rate, or a setting out of its range.

    >>> import numpy as np
    >>> class Patient:
    ...     def score(self, clips):
    ...         return [ProgressScore(level=min(5, len(clip.frames) // 4)) for clip in clips]
    >>> def draw(env, observation):
    ...     return np.full((8, 8, 3), 100 * abs(observation[2]), np.uint8)
    >>> env = VLMRewardWrapper(
    ...     gym.make("CartPole-v1"), Patient(), "balance the pole", frame_source=draw
    ... )
    >>> observation, info = env.reset(seed=0)
    >>> terminated = truncated = False
    >>> while not (terminated or truncated):
    ...     observation, reward, terminated, truncated, info = env.step(1)
    >>> reward, info["roboreward/level"], info["roboreward/env_reward"]
    (0.25, 2.0, 1.0)
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        reward_model: RewardModel | str,
        task: str | TaskFunction | None = None,
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
        settings = record_arguments(self, locals())
        if isinstance(env, gym.vector.VectorEnv):
            raise InvalidSetting("This is a vector environment: use VLMRewardVectorWrapper.")
        if getattr(env.unwrapped, "num_envs", 1) != 1:
            raise InvalidSetting(
                f"{type(env.unwrapped).__name__} steps several environments at once: use "
                "VLMRewardVectorWrapper."
            )
        super().__init__(env)
        self._given_task = check_given_task(settings["task"])
        self._ends_terminated = is_terminated(ending)
        self._fps = read_fps(env, fps)
        reward_map_ = as_reward_map(settings["reward_map"])
        guard = guard_of(reward_map_)
        scorer = Scorer(settings["reward_model"], settings["on_failure"], retries, guard)
        bounds = check_bounds(max_frames, max_bytes, self._fps, record_fps, scorer.sampling_fps)
        self._recorder = FrameRecorder(settings["frame_source"], bounds)
        self._settings = ScoringSettings(
            scoring,
            score_every,
            () if score_at is None else tuple(score_at),
            shaping,
            discount,
            terminate_on_success,
            success_hold,
        )
        self._scores = EpisodeScores(scorer, reward_map_, 1, self._settings)
        self._task: str | None = None
        self._task_of_env = settings["task"] is None
        self._part: PartialStep | None = None
        """A step that the caller has not got yet, because the reward model failed."""

    def __getstate__(self) -> dict[str, Any]:
        """A copy begins with a reset."""
        return {**self.__dict__, "_part": None}

    @property
    def last_clip(self) -> Clip | None:
        """What the reward model saw of the last episode that ended; kept when it failed."""
        return self._scores.last_clips[0]

    @property
    def last_score(self) -> ProgressScore | None:
        """The score of that episode; None while there is none."""
        return self._scores.last_scores[0]

    @property
    def task(self) -> str | None:
        """The task of the present episode; None before the first reset.

        A task that is set is the one scored from the next reset on. Where
        the task was the environment's attribute, that is set too (and the environment may refuse a task
        that it does not know); one without a setter goes on with its own (its `reset` may have an
        option).
        """
        return self._task

    @task.setter
    def task(self, task: str) -> None:
        task = check_task(task)
        if self._task_of_env:
            with suppress(AttributeError):  # a property without a setter
                self.env.set_wrapper_attr("task", task)
        self._given_task = task

    def compute_reward(self, *args: Any, **kwargs: Any) -> float:
        """Refuse: relabelled goals (HER) would be rewarded by the simulator, not by the model.

        Raises:
            InvalidSetting: Always.
        """
        raise InvalidSetting(
            "A reward model scores recorded episodes, not goals. Do not relabel goals (HER): the "
            "environment's own compute_reward would give the learner the simulator's truth."
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset the environment and record its first frame.

        With deferred scoring it then waits for the score of the last episode.

        Raises:
            RewardModelFailure: The model failed on the last episode. It is raised once: `rescore`
                can still score that episode for the next `reset`, which else gives it up.
        """
        if self._recorder.stop():
            self._scores.count_interruption()
        self._part = None
        self._scores.start([0])
        observation, info = self.env.reset(seed=seed, options=options)
        entries = self._scores.finish_reset([0])
        self._task = self._read_task()
        self._recorder.start(self.env, observation)
        return observation, {**info, **entries.get(0, {})}

    def step(self, action: ActType) -> Step:
        """Step, record, and at the end of the episode have it scored.

        Raises:
            RewardModelFailure: The model failed. Call `step` again for the end of this episode.
            NoFrames: The environment cannot be recorded.
            InvalidReward: The environment's own reward is not a number.
        """
        if self._part is not None:
            return self._with_reward(self._part)
        observation, env_reward, terminated, truncated, info, buffer = self._recorder.step(
            self.env, action
        )
        ended = bool(terminated or truncated)
        info = {**info, **env_reward_info(env_reward)}
        if ended:
            info[TRUNCATED] = bool(truncated)
            if self._ends_terminated:
                terminated, truncated = True, False
            clip = buffer.to_clip(self._task or "", self._fps)
            self._scores.add(0, clip, is_terminal=bool(terminated))
        elif not self._settings.has_prefixes:
            return observation, 0.0, terminated, truncated, info
        elif self._settings.is_due(buffer.steps):
            prefix = self._recorder.prefix(buffer, self.env, observation)
            self._scores.add_prefix(0, buffer.steps, prefix.to_clip(self._task or "", self._fps))
        self._part = PartialStep(observation, terminated, truncated, info, is_final=ended)
        return self._with_reward(self._part)

    def rescore(self, reward_model: RewardModel | str | None = None) -> ProgressScore:
        """Score the last episode that ended again.

        For an episode on which the model failed, the score then gives the reward that `step` (or
        with deferred scoring `reset`) returns. Else it is a second opinion and changes nothing.

        Args:
            reward_model: Another reward model or its name; by default the one of this wrapper.

        Raises:
            NoEpisode: No episode has ended yet.
            RewardModelFailure: The model failed (again); the episode is still kept.
        """
        return self._scores.rescore(reward_model)[0]

    def close(self) -> None:
        """Close the environment and drop all frames; a shared reward model stays loaded.

        A pending score is dropped, without waiting for the model.
        """
        self._scores.close()
        self._recorder.stop()
        self._part = None
        super().close()

    def _with_reward(self, part: PartialStep) -> Step:
        """The step with its reward; what raises in here, the next `step` does again."""
        if not part.is_final:
            entries, succeeded = self._scores.score_prefixes([0])
            part.info.update(entries[0])
            if succeeded:
                self._recorder.stop()
                part.terminated = part.is_final = True
        reward = float(part.info.get(SHAPING, 0.0))
        if part.is_final:
            rewards, entries = self._scores.finish_step()
            reward, part.info = rewards[0], {**part.info, **entries[0]}
        self._part = None
        return part.observation, reward, part.terminated, part.truncated, part.info

    def _read_task(self) -> str:
        task = read_task(self.env, self._given_task)
        if self._given_task is None and self._task is None:
            announce_task(task)
        return task


def is_terminated(ending: str) -> bool:
    """Whether each end of an episode is a termination, or raise `InvalidSetting`."""
    if ending not in ("terminated", "unchanged"):
        raise InvalidSetting(f"ending is 'terminated' or 'unchanged', not {ending!r}.")
    return ending == "terminated"


def env_reward_info(env_reward: Any) -> dict[str, float]:
    """The entry of `info` for the environment's own reward; none where it gives None.

    Raises:
        InvalidReward: It is not a number.
    """
    if env_reward is None:
        return {}
    if not isinstance(env_reward, float):
        found = to_numpy(env_reward)
        if found.size != 1 or found.dtype.kind not in "biuf":
            raise InvalidReward(
                f"The environment's own reward is {env_reward!r}, not a number. Make one of it with a "
                "wrapper inside, such as gymnasium.wrappers.TransformReward."
            )
        env_reward = found.item()
    return {ENV_REWARD: float(env_reward)}
