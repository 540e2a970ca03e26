"""Recording an episode: where its frames come from, and how many of them are kept."""

import copy
import logging
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType, ObsType

from roboreward_gym.errors import InvalidSetting, NoFrames
from roboreward_gym.frames import RENDER, FrameSource, Source
from roboreward_gym.shaping import PrefixSettings
from roboreward_gym.specs import record_arguments
from roboreward_gym.tasks import find_task
from roboreward_gym.types import Clip

logger = logging.getLogger(__name__)

Bounds = tuple[int, int, int]
"""Most frames of an episode that are held, most bytes, and steps from one frame to the next."""

MAX_FRAMES = 256
MAX_BYTES = 256 * 2**20

RECORDED_PER_SAMPLED = 4
"""Frames recorded for each that a reward model samples per second. Which ones it samples is known when the
episode ends only; at RoboReward's 2 Hz a recorded frame is at most 1/16 s away from any of them."""

CAPTURED = "roboreward/captured"
"""In the `info` of a reset: the environment is recorded by a `FrameCapture`."""

PREFIX = "roboreward/prefix"
"""In the `info` of a step whose prefix is to be scored: the `FrameBuffer` so far. Taken out likewise."""

RECORDING = "roboreward/recording"
"""In the `info` of the step that ends an episode: its `FrameBuffer`. Taken out by the vector wrapper."""


class FrameBuffer:
    """The frames of one episode in bounded memory.

    Every `stride`-th frame is taken. When the buffer is full, every other frame is dropped and the
    stride doubles, so that the frames stay evenly spread over an episode of any length. The first
    frame and the last are always kept. Frames that are not kept are never asked for, hence not
    rendered. The clip tells which frames of the whole episode it holds, at the rate of the episode.

    Args:
        frame: The frame of the reset; all others must have its size.
        max_frames: Most frames that are ever held, at least 2.
        max_bytes: Most bytes that they may take; two frames are held in any case.
        stride: Steps from one frame to the next.
        expected: Guess of the number of frames, so that the buffer is allocated once.
    """

    def __init__(
        self,
        frame: np.ndarray,
        max_frames: int = MAX_FRAMES,
        max_bytes: int = MAX_BYTES,
        stride: int = 1,
        expected: int = 64,
    ) -> None:
        self._limit = max(2, min(max_frames, max_bytes // frame.nbytes))
        # Handed over with the clip and never reused, so a clip needs no copy of its own.
        self._frames = np.empty((min(max(expected, 2), self._limit), *frame.shape), np.uint8)
        self._frames[0] = frame
        self._indices = [0]
        self._is_lent = False
        """Whether a prefix shows the same memory."""
        self.stride = stride
        self.steps = 0

    def __len__(self) -> int:
        return len(self._indices)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker sends: the frames without the room that was kept for more."""
        return {**self.__dict__, "_frames": self._frames[: len(self)]}

    def add(self, take: Callable[[], np.ndarray], *, final: bool) -> None:
        """Count one step, and take its frame if it is to be kept."""
        self.steps += 1
        kept = len(self._indices)
        if kept == self._limit and (final or self.steps % self.stride == 0):
            kept = self._thin()
        if not final and self.steps % self.stride:
            return
        frame = self._checked(take())
        if kept == len(self._frames):
            self._frames = self._with_room(min(2 * kept, self._limit))
        self._frames[kept] = frame
        self._indices.append(self.steps)

    def prefix(self, take: Callable[[], np.ndarray]) -> "FrameBuffer":
        """The episode so far, to its present frame, which is taken if it is not kept; later steps do not change it.

        Where the present frame is kept, nothing is copied.
        """
        part = copy.copy(self)
        part._indices, part._frames = [*self._indices], self._frames[: len(self)]
        if self._indices[-1] == self.steps:
            self._is_lent = True
        else:
            part._indices.append(self.steps)
            part._frames = np.concatenate([part._frames, self._checked(take())[None]])
        return part

    def to_clip(self, task: str, fps: float) -> Clip:
        """Return the clip; `fps` is the rate of the steps in [Hz]."""
        frames = self._frames[: len(self._indices)]
        if len(frames) == self.steps + 1:
            return Clip(frames, task, fps)
        return Clip(frames, task, fps, np.array(self._indices), self.steps + 1)

    def _thin(self) -> int:
        """Drop every other frame; returns how many are left."""
        kept = self._frames[: len(self._indices) : 2]
        if self._is_lent:
            self._frames, self._is_lent = np.empty_like(self._frames), False
        self._frames[: len(kept)] = kept
        self._indices = self._indices[::2]
        self.stride *= 2
        return len(kept)

    def _checked(self, frame: np.ndarray) -> np.ndarray:
        if frame.shape != self._frames.shape[1:]:
            raise NoFrames(
                f"This frame has the shape {frame.shape}, the frame of the reset {self._frames.shape[1:]}. "
                "Keep the image size constant during an episode."
            )
        return frame

    def _with_room(self, size: int) -> np.ndarray:
        grown = np.empty((size, *self._frames.shape[1:]), np.uint8)
        grown[: len(self)] = self._frames
        return grown


class FrameRecorder:
    """Records the episodes of one environment, one after the other.

    Args:
        source: Where the frames come from.
        bounds: How many are held.
    """

    def __init__(self, source: Source, bounds: Bounds) -> None:
        self._source = FrameSource(source)
        self._bounds = bounds
        self._expected_frames = 64
        self._buffer: FrameBuffer | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy needs a reset: its environment may have started anew, as those of `EzPickle` do."""
        return {**self.__dict__, "_buffer": None}

    def stop(self) -> bool:
        """Forget the present episode; returns whether it had begun and not ended."""
        begun = self._buffer is not None and self._buffer.steps > 0
        self._buffer = None
        return begun

    def start(self, env: gym.Env[Any, Any], observation: object) -> None:
        """Begin with the frame of the reset.

        Where there is none, `take` complains and not this: check_env resets every environment in
        each of its render modes.
        """
        self._buffer = None
        if self._source.is_ready(env):
            frame = self._source.frame(env, observation)
            self._buffer = FrameBuffer(frame, *self._bounds, expected=self._expected_frames)

    def use_stride(self, stride: int) -> None:
        """Record every `stride`-th step, of the present episode too if it has taken none."""
        self._bounds = (*self._bounds[:2], stride)
        if self._buffer is not None and self._buffer.steps == 0:
            self._buffer.stride = stride

    def take(self, env: gym.Env[Any, Any]) -> FrameBuffer:
        """Take the buffer out before a step: one that raises leaves a gap in it, so it is not used.

        Raises:
            NoFrames: The environment cannot be recorded.
            ResetNeeded: No episode is being recorded.
        """
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            self._source.check(env)
            raise gym.error.ResetNeeded(
                "Call reset() before step(): the episode has ended, its last step failed, or it "
                "never began here. Put gymnasium.wrappers.Autoreset outside of this wrapper."
            )
        return buffer

    def record(
        self,
        buffer: FrameBuffer,
        env: gym.Env[Any, Any],
        observation: object,
        info: Mapping[str, Any],
        *,
        final: bool,
    ) -> None:
        """Record the step that `take` was called for; a buffer that is not at its end is kept.

        Raises:
            NoFrames: The environment has reset itself already, and so renders its next episode.
        """
        seen = self._source.last_observation(observation, info) if final else observation
        buffer.add(lambda: self._source.frame(env, seen), final=final)
        if final:
            self._expected_frames = len(buffer)
        else:
            self._buffer = buffer

    def prefix(
        self, buffer: FrameBuffer, env: gym.Env[Any, Any], observation: object
    ) -> FrameBuffer:
        """The episode so far, as `FrameBuffer.prefix`."""
        return buffer.prefix(lambda: self._source.frame(env, observation))


class FrameCapture(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs
):
    """Records each episode where it happens and hands it over when it ends.

    The outermost wrapper of each environment of a vector, outside of the time limit, with
    `VLMRewardVectorWrapper` around the vector. A vector environment that resets in the same step
    leaves no other chance to see the end, and one of processes is sent each episode once instead of
    each frame. It knows no reward model, so none is loaded in a worker process.

    Args:
        env: One environment.
        frame_source: As of `VLMRewardWrapper`.
        fps: As of `VLMRewardWrapper`; used with `record_fps` only.
        record_fps: As of `VLMRewardWrapper`; by default `VLMRewardVectorWrapper` says how often its
            reward model needs a frame.
        max_frames: As of `VLMRewardWrapper`.
        max_bytes: As of `VLMRewardWrapper`.

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
        self._prefixes = PrefixSettings()

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
        buffer = self._recorder.take(self.env)
        observation, reward, terminated, truncated, info = self.env.step(action)
        ended = bool(terminated or truncated)
        self._recorder.record(buffer, self.env, observation, info, final=ended)
        if ended:
            info = {**info, RECORDING: buffer}
        elif self._prefixes.is_due(buffer.steps):
            info = {**info, PREFIX: self._recorder.prefix(buffer, self.env, observation)}
        return observation, reward, terminated, truncated, info

    def read_task(self) -> Any:
        """Return the task that the environment tells; None without one."""
        with suppress(AttributeError):
            return find_task(self.env.get_wrapper_attr)
        return None

    def record_every(self, steps: int) -> None:
        """Record a frame every so many steps; without effect where `record_fps` was given."""
        if not self._has_own_rate:
            self._recorder.use_stride(steps)

    def hand_over_prefixes(self, settings: PrefixSettings) -> None:
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
                "reward model would be told a wrong rate. Pass fps= the steps per second.",
                type(env).__name__,
            )
            return
        env = env.env if isinstance(env, gym.Wrapper) else None


def _skips_frames(env: Any) -> bool:
    if isinstance(env, gym.Wrapper):
        # Gymnasium's MaxAndSkipObservation and AtariPreprocessing, SB3's MaxAndSkipEnv, and so on.
        is_named_so = re.search("skip|repeat", type(env).__name__, re.IGNORECASE)
        return bool(is_named_so) or vars(env).get("frame_skip", 1) != 1
    # ALE's; MuJoCo's environments have it in their rate, and tell the time of a step as `dt`.
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
