"""Filming an episode: where frames come from, and how many of them are kept."""

import math
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from roboreward_gym.errors import InvalidSetting, NoEpisode, NoFrames
from roboreward_gym.types import Clip

FrameFunction = Callable[[gym.Env[Any, Any], Any], np.ndarray]
"""Takes the environment and the observation, returns `(H, W, 3)` uint8 RGB."""

RENDER = "render"
OBSERVATION = "observation"


class FrameSource:
    """Takes one RGB frame from an environment and checks that it is one.

    Args:
        source: `"render"` for `env.render()`; `"observation"` where the observation is itself the
            image; a key of a dict observation, or a path of keys such as `"cameras/wrist"`; or a
            function of the environment and the observation.
    """

    def __init__(self, source: str | FrameFunction) -> None:
        if not (callable(source) or isinstance(source, str)) or source == "":
            raise NoFrames(
                f"Expected frame_source 'render', an observation key or a callable, got {source!r}."
            )
        self._source = source

    def is_ready(self, env: gym.Env[Any, Any]) -> bool:
        """Whether the environment, as it was made, can give frames from this source."""
        return self._source != RENDER or env.render_mode == "rgb_array"

    def check(self, env: gym.Env[Any, Any]) -> None:
        """Raise `NoFrames` unless `is_ready`."""
        if not self.is_ready(env):
            raise NoFrames(
                "Expected an environment with render_mode='rgb_array', got "
                f"render_mode={env.render_mode!r}. Make it with gym.make(..., "
                "render_mode='rgb_array'), or pass frame_source= an observation key or a callable."
            )

    def shoot(self, env: gym.Env[Any, Any], observation: object) -> np.ndarray:
        """Return the present frame, `(H, W, 3)` uint8 RGB; not a copy."""
        if not isinstance(self._source, str):
            frame: object = self._source(env, observation)
        elif self._source == RENDER:
            frame = env.render()
        else:
            frame = look_up(observation, self._source)
        return check_frame(frame, self._source)


class Film:
    """The frames of one episode in bounded memory.

    When the film is full, every other frame is dropped and from then on only every second one is
    taken, so that the frames stay evenly spread over an episode of any length. The first frame and
    the last are always kept. Frames that would be dropped are never asked for, hence not rendered.

    Args:
        frame: The frame of the reset; all others must have its size.
        max_frames: Most frames that are ever held, at least 2.
        expected: Guess of the number of frames, so that the buffer is allocated once.
    """

    def __init__(self, frame: np.ndarray, max_frames: int, expected: int = 64) -> None:
        self._max_frames = max_frames
        # Handed over with the clip and never reused, so a clip needs no copy of its own.
        self._buffer = np.empty((min(max(expected, 2), max_frames), *frame.shape), np.uint8)
        self._buffer[0] = frame
        self._kept = 1
        self._stride = 1
        self._steps = 0

    def __len__(self) -> int:
        return self._kept

    def __getstate__(self) -> dict[str, Any]:
        """What a worker sends: the frames without the room that was kept for more."""
        return {**self.__dict__, "_buffer": self._buffer[: self._kept]}

    def record(self, shoot: Callable[[], np.ndarray], *, final: bool) -> None:
        """Count one step, and film it if its frame is to be kept."""
        self._steps += 1
        if self._is_due(final=final) and self._kept == self._max_frames:
            self._thin()
        if self._is_due(final=final):
            self._append(shoot())

    def cut(self, task: str, fps: float) -> Clip:
        """Return the clip; `fps` is the rate of the steps in [Hz], the clip tells its own.

        The rate of the clip is such that its last frame falls on the true time of the last step.
        """
        kept_fps = fps if self._stride == 1 else fps * (self._kept - 1) / self._steps
        return Clip(self._buffer[: self._kept], task, kept_fps)

    def _is_due(self, *, final: bool) -> bool:
        return final or self._steps % self._stride == 0

    def _thin(self) -> None:
        keep = (self._kept + 1) // 2
        self._buffer[:keep] = self._buffer[: self._kept : 2]
        self._kept = keep
        self._stride *= 2

    def _append(self, frame: np.ndarray) -> None:
        if frame.shape != self._buffer.shape[1:]:
            raise NoFrames(
                f"Expected frames of shape {self._buffer.shape[1:]} as at the reset, got "
                f"{frame.shape}. Keep the image size constant during an episode."
            )
        if self._kept == len(self._buffer):
            grown = np.empty(
                (min(2 * self._kept, self._max_frames), *frame.shape), self._buffer.dtype
            )
            grown[: self._kept] = self._buffer
            self._buffer = grown
        self._buffer[self._kept] = frame
        self._kept += 1


class Camera:
    """Films the episodes of one environment, one after the other.

    Args:
        source: Where the frames come from.
        max_frames: Most frames of an episode that are held.
    """

    def __init__(self, source: str | FrameFunction, max_frames: int) -> None:
        self._source = FrameSource(source)
        self._max_frames = check_max_frames(max_frames)
        self._expected_frames = 64
        self._film: Film | None = None

    def stop(self) -> None:
        """Forget the present episode."""
        self._film = None

    def start(self, env: gym.Env[Any, Any], observation: object) -> None:
        """Begin a film with the frame of the reset.

        Where there is none, `take` complains and not this: check_env resets every environment in
        each of its render modes.
        """
        self._film = None
        if self._source.is_ready(env):
            frame = self._source.shoot(env, observation)
            self._film = Film(frame, self._max_frames, self._expected_frames)

    def take(self, env: gym.Env[Any, Any]) -> Film:
        """Take the film out before a step: one that raises leaves a gap in it, so it is not used.

        Raises:
            NoFrames: The environment cannot be filmed.
            NoEpisode: The film was taken out by a step that failed.
        """
        film, self._film = self._film, None
        if film is None:
            self._source.check(env)
            raise NoEpisode("Expected an unbroken episode, got one whose last step failed. Reset.")
        return film

    def record(
        self, film: Film, env: gym.Env[Any, Any], observation: object, *, final: bool
    ) -> None:
        """Film the step that `take` was called for; a film that is not at its end is kept."""
        film.record(lambda: self._source.shoot(env, observation), final=final)
        if final:
            self._expected_frames = len(film)
        else:
            self._film = film


def look_up(observation: object, path: str) -> object:
    """Follow a path of keys into an observation, or into a batch of them.

    Raises:
        NoFrames: There is nothing at that path.
    """
    if path == OBSERVATION and not isinstance(observation, Mapping):
        return observation
    found = observation
    for key in path.split("/"):
        if not isinstance(found, Mapping) or key not in found:
            has = f"keys {sorted(map(str, found))}" if isinstance(found, Mapping) else "no keys"
            raise NoFrames(
                f"Expected {key!r} of frame_source {path!r} in the observation, got "
                f"{type(found).__name__} with {has}. Pass a path such as 'image' or 'cameras/wrist'; "
                "'observation' where the observation is itself the image."
            )
        found = found[key]
    return found


def check_frame(frame: object, source: str | FrameFunction) -> np.ndarray:
    """Return the frame, or raise `NoFrames` if it is no `(H, W, 3)` uint8 image."""
    expected = f"Expected a (H, W, 3) uint8 RGB frame from frame_source {source!r}, got "
    advice = " Pass a callable as frame_source that converts it."
    if not isinstance(frame, np.ndarray):
        raise NoFrames(f"{expected}{type(frame).__name__}.{advice}")
    if frame.ndim != 3 or frame.shape[-1] != 3 or 0 in frame.shape:
        raise NoFrames(f"{expected}shape {frame.shape}.{advice}")
    if frame.dtype != np.uint8:
        raise NoFrames(f"{expected}{frame.dtype}.{advice}")
    return frame


def check_fps(fps: object) -> float:
    """Return the frame rate in [Hz], or raise `InvalidSetting`."""
    if isinstance(fps, bool) or not isinstance(fps, SupportsFloat):
        raise InvalidSetting(
            f"Expected the steps per second in [Hz], got {fps!r}. Pass fps=, as the environment's "
            "metadata['render_fps'] does not say."
        )
    if not (math.isfinite(float(fps)) and float(fps) > 0):
        raise InvalidSetting(f"Expected fps above 0 Hz, got {fps}.")
    return float(fps)


def check_max_frames(max_frames: int) -> int:
    """Return the number, or raise `InvalidSetting` if no film can be as short."""
    if isinstance(max_frames, bool) or not isinstance(max_frames, int) or max_frames < 2:
        raise InvalidSetting(f"Expected max_frames as a whole number >= 2, got {max_frames!r}.")
    return max_frames
