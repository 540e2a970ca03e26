"""The plugin itself: any Gymnasium environment, rewarded by a model that saw the episode."""

import logging
import math
from collections.abc import Callable
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType, ObsType

from roboreward_gym.errors import InvalidReward, InvalidSetting, NoEpisode, RewardModelFailure
from roboreward_gym.recording import (
    MAX_BYTES,
    MAX_FRAMES,
    RENDER,
    DeadCameraWarning,
    FrameFunction,
    FrameRecorder,
    read_fps,
    stride_of,
)
from roboreward_gym.rewards import RewardMap, as_reward_map, reward_of
from roboreward_gym.scorer import (
    ENV_REWARD,
    EPISODE,
    PENDING,
    REWARD,
    TRUNCATED,
    FailurePolicy,
    PendingEpisode,
    Scorer,
    Scoring,
    is_deferred,
    score_info,
)
from roboreward_gym.specs import is_function_name, load_function, record_arguments
from roboreward_gym.types import Clip, ProgressScore, RewardModel, check_task

logger = logging.getLogger(__name__)

TaskFunction = Callable[[gym.Env[Any, Any]], str]
Step = tuple[Any, float, bool, bool, dict[str, Any]]
Ending = Literal["terminated", "unchanged"]

RESETS_WITHOUT_A_SCORE = 3
"""So many in a row, each in the middle of an episode, are no coincidence."""


class VLMRewardWrapper(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs
):
    """Records each episode, has it scored where it ends, and returns that as the reward.

    The reward is 0.0 in every step but the one that ends the episode. Wrap the result of `gym.make`,
    so that the time limit is inside, and put statistics and normalisers outside.

    `info` holds, where there is something to say: `roboreward/env_reward`, the environment's own
    reward; in the step that ends an episode `roboreward/truncated`, whether the environment called
    it a truncation; with a score `roboreward/level`, `/expected`, `/success_probability`,
    `/off_format`, and `/entropy` where the model gives probabilities.

    If the reward model fails and `on_failure` has no answer, `step` raises and nothing is lost: the
    next `step` takes no action, but has the episode scored again and returns its end.

    Args:
        env: Any environment that can be recorded.
        reward_model: A reward model, or the name of one (see `roboreward_gym.registry`). Only with
            names does `env.spec` work in another process.
        task: The task as text. By default the attribute `task` of the environment; or a function of
            the environment, or its name `"module:function"`. Read at each reset.
        frame_source: `"render"`, an observation key or a path of keys, or a function of the
            environment and the observation, or its name `"module:function"`.
        reward_map: From score to reward: `"progress"` (0..1), `"expected_progress"`, `"binary"` or
            `"binary@4"`, `"minus_one"` (-1 or 0), `"level"`, or a function of the score.
        on_failure: When the model fails or its answer is unreadable: `"raise"`, `"nan"`, `"retry"`,
            or another reward model or its name.
        retries: How often `"retry"` asks again before it raises.
        ending: What the end of an episode is to the learner. `"terminated"`: always a termination,
            because the score is the whole return; one that bootstraps past a time limit would count
            it twice. `"unchanged"`: what the environment says.
        fps: Steps per second, in [Hz]; by default `render_fps` of the environment's metadata. Pass
            it where a wrapper inside repeats actions or skips frames.
        record_fps: Record at least so many frames per second instead of one each step, in [Hz], so
            that an expensive `render` is called less often; the last frame is always recorded.
        max_frames: Most frames of an episode that are held; longer ones are thinned evenly.
        max_bytes: Most bytes of frames that are held, likewise.
        scoring: `"immediate"`: the step that ends the episode waits for the score. `"deferred"`: it
            returns at once with the reward NaN and the number of the episode as
            `roboreward/pending`, while a thread scores. The next `reset` waits for the score and has
            it in its `info`, with the number as `roboreward/episode` and the reward as
            `roboreward/reward`. Wrappers outside that change rewards do not see that reward: use
            `reward_map`.

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
        frame_source: str | FrameFunction = RENDER,
        reward_map: str | RewardMap = "progress",
        on_failure: RewardModel | FailurePolicy | str = "raise",
        retries: int = 2,
        ending: Ending = "terminated",
        fps: float | None = None,
        record_fps: float | None = None,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        scoring: Scoring = "immediate",
    ) -> None:
        settings = record_arguments(
            self,
            reward_model=reward_model,
            task=task,
            frame_source=frame_source,
            reward_map=reward_map,
            on_failure=on_failure,
            retries=retries,
            ending=ending,
            fps=fps,
            record_fps=record_fps,
            max_frames=max_frames,
            max_bytes=max_bytes,
            scoring=scoring,
        )
        if isinstance(env, gym.vector.VectorEnv):
            raise InvalidSetting("This is a vector environment: use VLMRewardVectorWrapper.")
        super().__init__(env)
        self._given_task = check_given_task(settings["task"])
        self._reward_map = as_reward_map(settings["reward_map"])
        self._ends_terminated = is_terminated(ending)
        self._fps = read_fps(env, fps)
        self._recorder = FrameRecorder(
            settings["frame_source"], max_frames, max_bytes, stride_of(self._fps, record_fps)
        )
        self._is_deferred = is_deferred(scoring)
        self._scorer = Scorer(settings["reward_model"], settings["on_failure"], retries)
        self._dead_camera = DeadCameraWarning()
        self._task: str | None = None
        self._resets_without_a_score = 0
        self._episodes = 0
        # At most one of these two is set: the end of an episode that `step` still owes, or one
        # whose score the next `reset` brings.
        self._unscored: Step | None = None
        self._pending: PendingEpisode | None = None
        self.last_clip: Clip | None = None
        """What the reward model saw of the last episode that ended; kept when it failed."""
        self.last_score: ProgressScore | None = None
        """The score of that episode; None while there is none."""

    def __getstate__(self) -> dict[str, Any]:
        """A copy begins with a reset."""
        return {**self.__dict__, "_unscored": None, "_pending": None}

    @property
    def task(self) -> str | None:
        """The task of the present episode; None before the first reset. Set it for the next one."""
        return self._task

    @task.setter
    def task(self, task: str) -> None:
        if self._given_task is None:
            self.env.set_wrapper_attr("task", check_task(task))
        else:
            self._given_task = check_task(task)

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
            self._count_unfinished()
        if self._unscored is not None:
            self._unscored = None
            logger.warning("An episode stays without a score: reset() gave it up.")
        observation, info = self.env.reset(seed=seed, options=options)
        entries = {} if self._pending is None else self._deferred_info(self._pending)
        self._task = self._read_task()
        self._recorder.start(self.env, observation)
        return observation, {**info, **entries}

    def step(self, action: ActType) -> Step:
        """Step, record, and at the end of the episode have it scored.

        Raises:
            RewardModelFailure: The model failed. Call `step` again for the end of this episode.
            NoFrames: The environment cannot be recorded.
            InvalidReward: The environment's own reward is no number.
        """
        if self._unscored is not None:
            return self._with_reward(self._unscored)
        buffer = self._recorder.take(self.env)
        observation, env_reward, terminated, truncated, info = self.env.step(action)
        ended = bool(terminated or truncated)
        self._recorder.record(buffer, self.env, observation, final=ended)
        info = {**info, **env_reward_info(env_reward)}
        if not ended:
            return observation, 0.0, terminated, truncated, info
        info[TRUNCATED] = bool(truncated)
        if self._ends_terminated:
            terminated, truncated = True, False
        self.last_clip, self.last_score = buffer.to_clip(self._task or "", self._fps), None
        self._dead_camera.check(self.last_clip)
        self._resets_without_a_score = 0
        self._episodes += 1
        if self._is_deferred:
            answer = self._scorer.submit([self.last_clip])
            self._pending = PendingEpisode(0, self._episodes - 1, self.last_clip, answer)
            return (
                observation,
                math.nan,
                terminated,
                truncated,
                {**info, PENDING: self._episodes - 1},
            )
        self._unscored = (observation, 0.0, terminated, truncated, info)
        return self._with_reward(self._unscored)

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
        if self.last_clip is None:
            raise NoEpisode("No episode has ended yet. Play one to its end before rescore().")
        score = self._scorer.score(self.last_clip, reward_model)
        if self._unscored is not None:
            self.last_score = score
        elif self._pending is not None and self._pending.failed:
            self._pending.set_result(score)
        return score

    def close(self) -> None:
        """Close the environment and let go of all frames; a shared reward model stays loaded.

        A pending score is given up, without waiting for the model.
        """
        if self._pending is not None:
            logger.warning("Closed while a score was pending: that episode stays without a score.")
        self._scorer.close()
        self._recorder.stop()
        self._pending, self._unscored, self.last_clip = None, None, None
        super().close()

    def _with_reward(self, step: Step) -> Step:
        """The end of an episode with its reward."""
        assert self.last_clip is not None
        if self.last_score is None:
            self.last_score = self._scorer.score(self.last_clip)
        reward = reward_of(self.last_score, self._reward_map)
        self._unscored = None
        observation, _, terminated, truncated, info = step
        return observation, reward, terminated, truncated, {**info, **score_info(self.last_score)}

    def _deferred_info(self, pending: PendingEpisode) -> dict[str, Any]:
        if pending.failed:
            self._pending = None
            logger.warning("Episode %d stays without a score: reset() gave it up.", pending.episode)
            return {}
        pending.wait()
        pending.failed = True  # unless a number comes of it
        result = pending.result()
        if isinstance(result, RewardModelFailure):
            raise RewardModelFailure(
                f"{result} The episode is kept: rescore() can still score it for the next reset()."
            ) from result
        self.last_score = result
        reward = reward_of(result, self._reward_map)
        self._pending = None
        return {EPISODE: pending.episode, REWARD: reward, **score_info(result)}

    def _read_task(self) -> str:
        if isinstance(self._given_task, str):
            return self._given_task
        if self._given_task is not None:
            return check_task(self._given_task(self.env))
        try:
            task = check_task(self.env.get_wrapper_attr("task"))
        except AttributeError as error:
            raise InvalidSetting(
                "The environment has no attribute `task`. Pass task= the task as text, or a function "
                "of the environment."
            ) from error
        if self._task is None:
            announce_task(task)
        return task

    def _count_unfinished(self) -> None:
        self._resets_without_a_score += 1
        if self._resets_without_a_score == RESETS_WITHOUT_A_SCORE:
            logger.warning(
                "%d episodes in a row were reset before they ended, so none was scored and every "
                "reward was 0. If a TimeLimit is outside of this wrapper, put it inside: wrap the "
                "result of gym.make.",
                RESETS_WITHOUT_A_SCORE,
            )


def check_given_task(task: object) -> Any:
    """Return the task, the function that a name stands for, or None, or raise `InvalidClip`."""
    if isinstance(task, str) and is_function_name(task):
        return load_function(task)
    return task if task is None or callable(task) else check_task(task)


def announce_task(task: str) -> None:
    """Say which task was taken from an environment's attribute, and if it is hardly one."""
    logger.info("The task is %r, the attribute `task` of the environment.", task)
    if len(task.split()) < 2:
        logger.warning(
            "The task %r, the attribute `task` of the environment, is no sentence. Reward models "
            "read what the robot was told to do: pass task='...' if this is only a name.",
            task,
        )


def is_terminated(ending: str) -> bool:
    """Whether each end of an episode is a termination, or raise `InvalidSetting`."""
    if ending not in ("terminated", "unchanged"):
        raise InvalidSetting(f"ending is 'terminated' or 'unchanged', not {ending!r}.")
    return ending == "terminated"


def env_reward_info(env_reward: Any) -> dict[str, float]:
    """The entry of `info` for the environment's own reward; none where it gives None.

    Raises:
        InvalidReward: It is no number.
    """
    if env_reward is None:
        return {}
    if not isinstance(env_reward, float):
        if np.size(env_reward) != 1 or np.asarray(env_reward).dtype.kind not in "biuf":
            raise InvalidReward(
                f"The environment's own reward is {env_reward!r}, not a number. Make one of it with a "
                "wrapper inside, such as gymnasium.wrappers.TransformReward."
            )
        env_reward = np.asarray(env_reward).item()
    return {ENV_REWARD: float(env_reward)}
