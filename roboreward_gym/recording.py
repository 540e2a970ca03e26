"""How an episode is recorded: how often and how much of it, and in each environment of a vector by itself."""

import logging
import math
import re
from contextlib import suppress
from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from roboreward_gym.errors import InvalidSetting
from roboreward_gym.frames import RENDER, Bounds, FrameRecorder, Source
from roboreward_gym.info import CAPTURED, PREFIX, RECORDING
from roboreward_gym.shaping import ScoringSettings
from roboreward_gym.specs import record_arguments
from roboreward_gym.tasks import find_task
from roboreward_gym.types import MAX_BYTES, MAX_FRAMES

logger = logging.getLogger(__name__)

RECORDED_PER_SAMPLED = 4
"""Frames recorded for each that a reward model samples per second. Which ones it samples is known when the
episode ends only; at RoboReward's 2 Hz a recorded frame is at most 1/16 s away from any of them."""


class FrameCapture(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs
):
    """Records each episode inside its environment and puts it into `info` when it ends.

    The outermost wrapper of each environment of a vector, outside of the time limit, with
    `VLMRewardVectorWrapper` around the vector. A vector environment that resets in the same step
    leaves no other chance to see the end, and one of processes is sent each episode once instead of
    each frame. It knows no reward model, so none is loaded in a worker process.

    Args:
        env: One environment.
        record_fps: As of `VLMRewardWrapper`, with `fps`; by default `VLMRewardVectorWrapper` sets it to
            what its reward model needs.
        frame_source, fps, max_frames, max_bytes: As of `VLMRewardWrapper`.

    >>> envs = gym.make_vec(
    ...     "CartPole-v1", num_envs=2, vectorization_mode="sync", wrappers=[FrameCapture]
    ... )
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        *,
        frame_source: Source = RENDER,
        fps: float | None = None,
        record_fps: float | None = None,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        settings = record_arguments(self, locals())
        super().__init__(env)
        rate = 1.0 if record_fps is None else read_fps(env, fps)
        bounds = check_bounds(max_frames, max_bytes, rate, record_fps)
        self._recorder = FrameRecorder(settings["frame_source"], bounds)
        self._has_own_rate = record_fps is not None
        self._prefixes = ScoringSettings()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset the environment and record its first frame."""
        self._recorder.stop()
        observation, info = self.env.reset(seed=seed, options=options)
        self._recorder.start(self.env, observation)
        return observation, {**info, CAPTURED: True}

    def step(self, action: ActType) -> tuple[ObsType, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step and record; at the end of the episode the recording is in `info`.

        Raises:
            NoFrames: The environment cannot be recorded.
        """
        observation, reward, terminated, truncated, info, buffer = self._recorder.step(
            self.env, action
        )
        if terminated or truncated:
            info = {**info, RECORDING: buffer}
        elif self._prefixes.is_due(buffer.steps):
            info = {**info, PREFIX: self._recorder.prefix(buffer, self.env, observation)}
        return observation, reward, terminated, truncated, info

    def read_task(self) -> Any:
        """Return the task that the environment reports; None without one."""
        with suppress(AttributeError):
            return find_task(self.env.get_wrapper_attr)
        return None

    def record_every(self, steps: int) -> None:
        """Record a frame every `steps` steps; without effect where `record_fps` was given."""
        if not self._has_own_rate:
            self._recorder.use_stride(steps)

    def hand_over_prefixes(self, settings: ScoringSettings) -> None:
        """Put the episode so far into `info` where its prefix is to be scored."""
        self._prefixes = settings


def read_fps(env: Any, fps: object = None) -> float:
    """Return the steps per second in [Hz], by default those of the environment's metadata.

    Raises:
        InvalidSetting: There is no such number.
    """
    if fps is None:
        _warn_of_skipped_frames(env)
        fps = (env.metadata or {}).get("render_fps")
    if isinstance(fps, bool) or not isinstance(fps, SupportsFloat):
        raise InvalidSetting(
            f"The steps per second in [Hz] are not known: metadata['render_fps'] or fps is {fps!r}. "
            "Pass fps= a number."
        )
    if not (math.isfinite(float(fps)) and float(fps) > 0):
        raise InvalidSetting(f"fps is above 0 Hz, not {fps}.")
    return float(fps)


def _warn_of_skipped_frames(env: Any) -> None:
    if isinstance(env, gym.vector.VectorEnv):  # with processes the environments are out of sight
        env = next(iter(getattr(env.unwrapped, "envs", ())), None)
    while env is not None:
        if _skips_frames(env):
            logger.warning(
                "%s skips frames, so a step takes longer than metadata['render_fps'] says, and the "
                "reward model would receive a wrong rate. Pass fps= the steps per second.",
                type(env).__name__,
            )
            return
        env = env.env if isinstance(env, gym.Wrapper) else None


def _skips_frames(env: Any) -> bool:
    if isinstance(env, gym.Wrapper):
        # Gymnasium's MaxAndSkipObservation and AtariPreprocessing, SB3's MaxAndSkipEnv, and so on.
        is_named_so = re.search("skip|repeat", type(env).__name__, re.IGNORECASE)
        return bool(is_named_so) or vars(env).get("frame_skip", 1) != 1
    # ALE's; MuJoCo's environments have it in their rate, and have the time of a step as `dt`.
    options = getattr(getattr(env, "spec", None), "kwargs", {})
    return options.get("frameskip", 1) != 1 and not hasattr(env, "dt")


def check_bounds(
    max_frames: int,
    max_bytes: int,
    fps: float = 1.0,
    record_fps: float | None = None,
    sampling_fps: float | None = None,
) -> Bounds:
    """Return the bounds of a recording.

    Args:
        max_frames: Most frames.
        max_bytes: Most bytes.
        fps: Steps per second, in [Hz].
        record_fps: Least frames per second, in [Hz].
        sampling_fps: Frames per second that the reward model samples, in [Hz]: where `record_fps` is
            None, `RECORDED_PER_SAMPLED` times as many are recorded. None: one each step.

    Raises:
        InvalidSetting: One is out of its range.
    """
    for name, value, least in (("max_frames", max_frames, 2), ("max_bytes", max_bytes, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidSetting(f"{name} is a whole number >= {least}, not {value!r}.")
    if record_fps is None:
        if sampling_fps is None:
            return max_frames, max_bytes, 1
        record_fps = RECORDED_PER_SAMPLED * sampling_fps
    if isinstance(record_fps, bool) or not (math.isfinite(record_fps) and record_fps > 0):
        raise InvalidSetting(f"record_fps is above 0 Hz, not {record_fps!r}.")
    return max_frames, max_bytes, max(1, math.floor(fps / record_fps + 1e-9))
