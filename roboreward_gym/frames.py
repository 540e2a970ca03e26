"""Where a frame comes from: what environments render and observe, in any layout, as one RGB image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym.errors import NoFrames
from roboreward_gym.specs import is_function_name, load_function
from roboreward_gym.types import Clip, FrameBuffer

FrameFunction = Callable[[Any, Any], Any]
"""Takes the environment and the observation, returns an image; of a vector the batch of images."""

Source = str | FrameFunction | Sequence[str | FrameFunction]
"""One view, or several that are put side by side."""

RENDER = "render"
OBSERVATION = "observation"
RENDER_MODES = ("rgb_array", "rgb_array_list")

FINAL_OBSERVATIONS = ("final_obs", "final_observation", "terminal_observation")
"""Where the infos hold the last observations of environments that were reset in the same step: in Gymnasium, ManiSkill
and SuperSuit. In a vector an array of objects, or a batch."""

Bounds = tuple[int, int, int]
"""Most frames of an episode that are held, most bytes, and steps from one frame to the next."""

ADVICE = (
    "Pass a function as frame_source that picks or converts it, such as "
    "lambda env, observation: env.render()[..., :3]."
)


class FrameSource:
    """Takes RGB frames from an environment, or from a vector environment.

    Layouts that mean the same are accepted: arrays and tensors of any library on any device, channels
    first, grey, and batches of one.

    Args:
        source: `"render"` for `env.render()`, or a path into what that returns, such as `"render/0"`
            where it returns a list; `"observation"` where the observation is itself the image; a key
            of a dict observation, or a path of keys such as `"cameras/wrist"`; a function of the
            environment and the observation, or its name `"module:function"`. A list of these is
            several cameras, put side by side.
    """

    def __init__(self, source: Source) -> None:
        views = list(source) if isinstance(source, (list, tuple)) else [source]
        if not views or not all(callable(v) or (isinstance(v, str) and v) for v in views):
            raise NoFrames(
                "frame_source is 'render', an observation key, or a function of the environment and "
                f"the observation, or a list of these, not {source!r}."
            )
        self._views = [
            load_function(v) if isinstance(v, str) and is_function_name(v) else v for v in views
        ]
        self.renders = any(_is_render(view) for view in self._views)
        """Whether `env.render()` is called for it."""
        self.is_path = all(isinstance(view, str) for view in self._views)
        """Whether no function is."""

    def is_ready(self, env: gym.Env[Any, Any]) -> bool:
        """Whether the environment, as it was made, can give frames from this source."""
        return not self.renders or env.render_mode in RENDER_MODES

    def frame(self, env: gym.Env[Any, Any], observation: object) -> np.ndarray:
        """Return the present frame, `(H, W, 3)` uint8 RGB; not a copy."""
        rendered = env.render() if self.renders else None
        if env.render_mode == "rgb_array_list" and rendered:  # all since the last call
            rendered = rendered[-1]
        frames = []
        for view in self._views:
            if not isinstance(view, str):
                found = view(env, observation)
            elif view == RENDER:
                found = rendered
            else:
                found = look_up({RENDER: rendered} if _is_render(view) else observation, view)
            frames.append(as_frame(found, view))
        return self._side_by_side(frames)

    def last_observation(self, observation: object, info: Mapping[str, Any]) -> object:
        """Return the observation at the end of an episode: another one where the environment reset itself.

        Raises:
            NoFrames: It did, and frames are rendered: they show the next episode.
        """
        key = next((key for key in FINAL_OBSERVATIONS if key in info), None)
        if key is None:
            return observation
        if self.renders:
            raise NoFrames(
                f"The environment resets itself where an episode ends (its info has {key!r}), so that "
                "render() shows the next episode. Switch its auto-reset off, or pass frame_source= an "
                "observation key."
            )
        return info[key]

    def frames(self, envs: gym.vector.VectorEnv, observations: Any) -> Callable[[int], np.ndarray]:
        """Take the frames of all environments, and return the function that gives the one of each.

        Args:
            envs: The vector environment.
            observations: A batch, or for keys a list with None where there is none.
        """
        rendered = envs.render() if self.renders else None
        batches = [
            self._batch(view, envs, rendered if _is_render(view) else observations)
            for view in self._views
        ]
        return lambda i: self._side_by_side(
            [as_frame(batch[i], view) for view, batch in zip(self._views, batches, strict=True)]
        )

    def _batch(self, view: str | FrameFunction, envs: gym.vector.VectorEnv, given: Any) -> Any:
        if not isinstance(view, str):
            found = view(envs, given)
        elif view == RENDER:
            found = given
        elif _is_render(view):
            found = [look_up({RENDER: one}, view) for one in given]
        elif isinstance(given, list):
            found = [one if one is None else look_up(one, view) for one in given]
        else:
            found = look_up(given, view)
        found = found if isinstance(found, (list, tuple)) else _read(found, view)
        if len(found) != envs.num_envs:
            size = found.shape if isinstance(found, np.ndarray) else len(found)
            raise NoFrames(
                f"frame_source {view!r} must give {envs.num_envs} frames, one of each environment, but "
                f"gave {type(found).__name__} of {size}. Pass an observation key, or a function of the "
                "vector environment and the observations that returns them."
            )
        return found

    def _side_by_side(self, frames: list[np.ndarray]) -> np.ndarray:
        if len(frames) == 1:
            return frames[0]  # not a copy
        heights = [len(frame) for frame in frames]
        if len(set(heights)) > 1:
            raise NoFrames(
                f"The cameras {self._views} give frames that are {heights} pixels high, which cannot "
                "be put side by side. Pass one of them, or a function that resizes them."
            )
        return np.concatenate(frames, axis=1)


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
        buffer, self._buffer = self._buffer, None
        if buffer is None or buffer.steps == 0:
            return False
        self._expected_frames = max(self._expected_frames, len(buffer))  # the next may be as long
        return True

    def start(self, env: gym.Env[Any, Any], observation: object) -> None:
        """Begin with the frame of the reset.

        Where there is none, `step` complains and not this: check_env resets every environment in
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

    def step(
        self, env: gym.Env[Any, Any], action: object
    ) -> tuple[Any, Any, bool, bool, dict[str, Any], FrameBuffer]:
        """Step the environment and record it; returns what it returns, and the episode so far.

        Raises:
            NoFrames: The environment cannot be recorded, or has reset itself already and so renders its next
                episode.
            ResetNeeded: No episode is being recorded.
        """
        # Taken out: a step that raises leaves a gap in the recording, so it is not used.
        buffer, self._buffer = self._buffer, None
        if buffer is None:
            raise self._no_episode(env)
        observation, reward, terminated, truncated, info = env.step(action)
        ended = bool(terminated or truncated)
        seen = self._source.last_observation(observation, info) if ended else observation
        buffer.add(lambda: self._source.frame(env, seen), final=ended)
        if ended:
            self._expected_frames = len(buffer)
        else:
            self._buffer = buffer
        return observation, reward, terminated, truncated, info, buffer

    def _no_episode(self, env: gym.Env[Any, Any]) -> Exception:
        if self._source.is_ready(env):
            return gym.error.ResetNeeded(
                "Call reset() before step(): the episode has ended, its last step failed, or it "
                "never began here. Put gymnasium.wrappers.Autoreset outside of this wrapper."
            )
        return NoFrames(
            f"The environment has render_mode={env.render_mode!r}. Make it with "
            "gym.make(..., render_mode='rgb_array'), or pass frame_source= an observation key "
            "or a function."
        )

    def prefix(
        self, buffer: FrameBuffer, env: gym.Env[Any, Any], observation: object
    ) -> FrameBuffer:
        """The episode so far, as `FrameBuffer.prefix`."""
        return buffer.prefix(lambda: self._source.frame(env, observation))


def look_up(value: object, path: str) -> object:
    """Follow a path of keys and places into an observation, a batch of them, or a list of images.

    Keys may hold slashes.

    Raises:
        NoFrames: There is nothing at that path.
    """
    if path == OBSERVATION and not isinstance(value, Mapping):
        return value
    found, rest = value, path
    while rest:
        if isinstance(found, Mapping):
            fits = [k for k in found if isinstance(k, str) and f"{rest}/".startswith(f"{k}/")]
        else:
            places = range(-len(found), len(found)) if isinstance(found, (list, tuple)) else ()
            fits = [str(place) for place in places if f"{rest}/".startswith(f"{place}/")]
        if not fits:
            raise NoFrames(
                f"There is no {rest!r} of frame_source {path!r}, but a {_describe(found)} there. Pass a "
                "path such as 'image', 'cameras/wrist' or 'render/0'; 'observation' where the "
                "observation is itself the image."
            )
        key = max(fits, key=len)
        found = found[key] if isinstance(found, Mapping) else found[int(key)]  # ty: ignore[not-subscriptable]
        rest = rest[len(key) + 1 :]
    return found


def to_numpy(value: Any) -> np.ndarray:
    """Return an array or a tensor of any library, on whatever device, as a NumPy array."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value.cpu() if callable(getattr(value, "cpu", None)) else value)


def as_given(array: np.ndarray, given: Any) -> Any:
    """Return a tensor on the same device where the environment gave one, else the array."""
    return given.new_tensor(array) if callable(getattr(given, "new_tensor", None)) else array


def as_frame(found: Any, view: str | FrameFunction) -> np.ndarray:
    """Return an image as `(H, W, 3)` uint8 RGB, or raise `NoFrames` if it is not an image."""
    frame = found if isinstance(found, np.ndarray) else _read(found, view)
    while frame.ndim > 3 and len(frame) == 1:
        frame = frame[0]
    if frame.ndim == 2:
        frame = frame[..., None]
    elif frame.ndim == 3 and frame.shape[0] in (1, 3) and frame.shape[-1] not in (1, 3):
        frame = np.moveaxis(frame, 0, -1)
    if frame.ndim == 3 and frame.shape[-1] == 1:
        frame = frame.repeat(3, axis=-1)
    if frame.ndim != 3 or frame.shape[-1] != 3 or 0 in frame.shape or frame.dtype != np.uint8:
        raise NoFrames(f"{_must_give(view)}{frame.dtype} of the shape {frame.shape}. {ADVICE}")
    return frame


def dead_camera(clip: Clip) -> str | None:
    """Say why a recording shows nothing; a reward model has an answer to black frames too."""
    frames = clip.frames
    if len(frames) > 1 and all(np.array_equal(frame, frames[-1]) for frame in frames):
        return "all its frames are equal"
    if not (frames[-1] == frames[-1, 0, 0]).all():
        return None
    if all((frame == frame[0, 0]).all() for frame in frames):
        return "each of its frames is of one colour"
    return "its last frame is of one colour"


def _is_render(view: object) -> bool:
    return isinstance(view, str) and (view == RENDER or view.startswith(f"{RENDER}/"))


def _must_give(view: str | FrameFunction) -> str:
    return f"frame_source {view!r} must give a (H, W, 3) uint8 RGB frame, but gave "


def _read(found: Any, view: str | FrameFunction) -> np.ndarray:
    """As a NumPy array, or raise `NoFrames`."""
    if isinstance(found, (list, tuple, Mapping)):
        raise NoFrames(
            f"{_must_give(view)}a {_describe(found)}. Name one of these by a path, such as "
            "frame_source='render/0', or several that are put side by side: ['render/0', 'render/1']."
        )
    if not hasattr(found, "__array__"):
        raise NoFrames(f"{_must_give(view)}{type(found).__name__}. {ADVICE}")
    try:
        return to_numpy(found)
    except (TypeError, ValueError, RuntimeError) as error:  # CuPy's refusal to leave the GPU
        raise NoFrames(
            f"{_must_give(view)}{type(found).__name__}, which NumPy cannot read: {error} {ADVICE}"
        ) from error


def _describe(value: object) -> str:
    name = type(value).__name__
    if isinstance(value, Mapping):
        return f"{name} with keys {sorted(map(str, value))}"
    return f"{name} of {len(value)}" if isinstance(value, (list, tuple)) else f"{name} with no keys"
