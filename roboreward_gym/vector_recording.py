"""Where the frames of a vector environment come from, so that the last one of an episode is its end."""

import functools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym.errors import InvalidSetting, NoFrames
from roboreward_gym.frames import FINAL_OBSERVATIONS, Bounds, FrameSource
from roboreward_gym.info import CAPTURED, PREFIX, RECORDING
from roboreward_gym.shaping import ScoringSettings
from roboreward_gym.types import FrameBuffer

RESET_MASK = "reset_mask"
"""In the options of a reset: `(num_envs,)` bool."""

FINAL_INFO = "final_info"
"""Where Gymnasium puts the infos of an environment that was reset in the same step."""

USE_CAPTURE = (
    "Put FrameCapture around each environment, outside of everything else (gym.make_vec(..., "
    "wrappers=[FrameCapture]))"
)
NO_END = "With same-step autoreset render() shows the next episode already, and the end of an episode is lost."
USE_OTHERS = (
    f"{USE_CAPTURE}; or make the vector with autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP; "
    "or pass frame_source= an observation key, or a function of the vector environment and the "
    "observations."
)


class Autoreset(Enum):
    """What a vector environment does about an ended episode, in Gymnasium's words."""

    NEXT_STEP = "NextStep"
    SAME_STEP = "SameStep"
    DISABLED = "Disabled"


def autoreset_of(envs: gym.vector.VectorEnv) -> Autoreset | None:
    """Read the mode; None where the environment has none.

    Asks the vector environment before its metadata, which Gymnasium 1.1 to 1.3 share between all
    vectors of one class of environment.
    """
    mode = getattr(envs.unwrapped, "autoreset_mode", (envs.metadata or {}).get("autoreset_mode"))
    if mode is None:
        return None
    try:
        return Autoreset(getattr(mode, "value", mode))
    except ValueError as error:
        raise InvalidSetting(
            f"The autoreset mode of the vector environment is {mode!r}. Known are "
            f"{[m.value for m in Autoreset]}."
        ) from error


class CapturedRecorder:
    """Receives the recordings that a `FrameCapture` in each environment has made.

    Attributes:
        prefixes: Of the last step, by environment.
    """

    def __init__(self) -> None:
        self.prefixes: dict[int, FrameBuffer] = {}

    def start(self, reset_mask: np.ndarray, observations: Any, infos: dict[str, Any]) -> None:
        """Remove old recordings from the infos: the environments record by themselves."""
        _take_out(infos, RECORDING)

    def record(
        self, observations: Any, infos: dict[str, Any], ended: np.ndarray, begun: np.ndarray
    ) -> dict[int, FrameBuffer]:
        """Take the recordings of the environments in the mask `ended` out of the infos."""
        places = [p for p in (infos, infos.get(FINAL_INFO)) if isinstance(p, dict)]
        buffers = {i: buffer for place in places for i, buffer in _take_out(place, RECORDING)}
        self.prefixes = dict(_take_out(infos, PREFIX))
        if sorted(buffers) != np.flatnonzero(ended).tolist():
            raise NoFrames(
                f"The environments {np.flatnonzero(ended).tolist()} ended an episode, but the "
                f"recordings are of {sorted(buffers)}. {USE_CAPTURE}."
            )
        return buffers


class VectorRecorder:
    """Records what the vector environment renders or observes.

    Args:
        envs: The vector environment.
        source: Where the frames come from. Under same-step autoreset functions are also called with
            the last observations.
        bounds: How many frames are held for each environment.
        settings: Which prefixes are scored.

    Attributes:
        prefixes: Of the last step, by environment.
    """

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        source: FrameSource,
        bounds: Bounds,
        settings: ScoringSettings,
    ) -> None:
        self.prefixes: dict[int, FrameBuffer] = {}
        self._settings = settings
        self._envs = envs
        self._source = source
        self._bounds = bounds
        self._buffers: list[FrameBuffer | None] = [None] * envs.num_envs
        self._expected_frames = 64

    def start(self, reset_mask: np.ndarray, observations: Any, infos: dict[str, Any]) -> None:
        """Record the first frames of the environments in the mask, `(num_envs,)`."""
        frames = self._lazily(observations)
        for i in np.flatnonzero(reset_mask):
            self._buffers[i] = FrameBuffer(
                frames()(i),
                *self._bounds,
                expected=self._expected_frames,
            )

    def record(
        self, observations: Any, infos: dict[str, Any], ended: np.ndarray, begun: np.ndarray
    ) -> dict[int, FrameBuffer]:
        """Record one step; return the recordings of the environments in the mask `ended`.

        Those in the mask `begun` show their first frame, those in both masks (same-step autoreset) the
        one that follows.
        """
        frames = self._lazily(observations)
        last = self._lazily(observations, infos) if (ended & begun).any() else frames
        done: dict[int, FrameBuffer] = {}
        self.prefixes = {}
        for i, buffer in enumerate(self._buffers):
            if buffer is None or (begun[i] and not ended[i]):
                continue
            shown = last if ended[i] else frames

            def take(i: int = i, shown: Callable[[], Any] = shown) -> np.ndarray:
                return shown()(i)

            buffer.add(take, final=bool(ended[i]))
            if ended[i]:
                done[i], self._buffers[i] = buffer, None
                self._expected_frames = len(buffer)
            elif self._settings.is_due(buffer.steps):
                self.prefixes[i] = buffer.prefix(take)
        self.start(begun, observations, infos)
        return done

    def _lazily(
        self, observations: Any, infos: dict[str, Any] | None = None
    ) -> Callable[[], Callable[[int], np.ndarray]]:
        """A function that takes all frames, once and only if it is called, and gives that of each."""

        @functools.cache
        def frames() -> Callable[[int], np.ndarray]:
            seen = observations if infos is None else self._last(observations, infos)
            return self._source.frames(self._envs, seen)

        return frames

    def _last(self, observations: Any, infos: dict[str, Any]) -> Any:
        """The last observations: a batch, or for a key a list with None where nothing ended."""
        if self._source.renders:  # the mode was not known, or it would have been refused
            raise NoFrames(f"{NO_END} {USE_OTHERS}")
        key = next((key for key in FINAL_OBSERVATIONS if key in infos), None)
        if key is None:
            raise NoFrames(
                f"The last observation of an ended episode is not in the infos, as {' or '.join(FINAL_OBSERVATIONS)}. "
                f"{USE_OTHERS}"
            )
        final = infos[key]
        if not (isinstance(final, np.ndarray) and final.dtype == object):
            return final
        if self._source.is_path:
            return list(final)
        # A function takes a batch: the last observations among those of environments that go on.
        space = self._envs.single_observation_space
        present = gym.vector.utils.iterate(self._envs.observation_space, observations)
        mixed = [now if end is None else end for now, end in zip(present, final, strict=True)]
        empty = gym.vector.utils.create_empty_array(space, self._envs.num_envs)
        return gym.vector.utils.concatenate(space, mixed, empty)


Recorder = CapturedRecorder | VectorRecorder


def choose_recorder(
    envs: gym.vector.VectorEnv,
    infos: dict[str, Any],
    source: FrameSource,
    bounds: Bounds,
    mode: Autoreset | None,
    prefixes: ScoringSettings,
    *,
    may_be_captured: bool,
) -> Recorder:
    """What the infos of a full reset and the settings call for.

    Args:
        envs: The vector environment.
        infos: Of the reset.
        source: As of `VectorRecorder`.
        bounds: As of `VectorRecorder`; of a `FrameCapture` in each environment the stride only.
        mode: When environments are reset.
        prefixes: Which prefixes are scored.
        may_be_captured: Whether all settings of recording are the defaults, so that a `FrameCapture` may.

    Raises:
        NoFrames: The ends of episodes could not be seen.
        InvalidSetting: Settings of recording both here and in `FrameCapture`.
    """
    if CAPTURED not in infos:
        _check_render(envs, source, mode)
        return VectorRecorder(envs, source, bounds, prefixes)
    missing = np.flatnonzero(~infos[f"_{CAPTURED}"]).tolist()
    if missing:
        raise NoFrames(
            f"Some environments have a FrameCapture and {missing} have none. {USE_CAPTURE}."
        )
    if not may_be_captured:
        raise InvalidSetting(
            "Each environment has a FrameCapture: pass frame_source, record_fps, max_frames and "
            "max_bytes to it, and not to VLMRewardVectorWrapper."
        )
    envs.unwrapped.call("record_every", bounds[2])  # ty: ignore[missing-attribute]
    envs.unwrapped.call("hand_over_prefixes", prefixes)  # ty: ignore[missing-attribute]
    return CapturedRecorder()


def _check_render(envs: gym.vector.VectorEnv, source: FrameSource, mode: Autoreset | None) -> None:
    if not source.renders:
        return
    if mode is Autoreset.SAME_STEP:
        raise NoFrames(f"{NO_END} {USE_OTHERS}")
    if envs.render_mode != "rgb_array":
        raise NoFrames(
            f"The environments have render_mode={envs.render_mode!r}. Make them with "
            "gym.make_vec(..., render_mode='rgb_array'), or pass frame_source= an observation key "
            "or a function of the vector environment and the observations."
        )


def copy_infos(infos: Any, envs: gym.vector.VectorEnv) -> dict[str, Any]:
    """A copy to take entries out of, in both places where there are some; a list of dicts becomes one.

    Raises:
        InvalidSetting: They are neither a dict of arrays nor a list of dicts.
    """
    if isinstance(infos, (list, tuple)) and all(isinstance(info, Mapping) for info in infos):
        copied: dict[str, Any] = {}
        for i, info in enumerate(infos):
            copied = envs._add_info(copied, dict(info), i)
        return copied
    if not isinstance(infos, Mapping):
        raise InvalidSetting(
            f"The infos of the vector environment are a {type(infos).__name__}. Gymnasium's are a "
            "dict of arrays, others' a list of dicts: put a wrapper inside that makes them so."
        )
    copied = dict(infos)
    if isinstance(copied.get(FINAL_INFO), Mapping):  # older vectors have an array of dicts
        copied[FINAL_INFO] = dict(copied[FINAL_INFO])
    return copied


def read_reset_mask(options: Mapping[str, Any] | None, num_envs: int) -> np.ndarray:
    """Which environments a reset is of, `(num_envs,)` bool; call it before they see the options.

    Raises:
        InvalidSetting: This version of Gymnasium knows no mask.
    """
    mask = (options or {}).get(RESET_MASK)
    if mask is None:
        return np.ones(num_envs, np.bool_)
    if not hasattr(gym.vector, "AutoresetMode"):
        raise InvalidSetting(
            f"This version of Gymnasium would ignore {RESET_MASK!r}. Install gymnasium>=1.1, or "
            "reset all environments."
        )
    return np.array(mask, np.bool_)


def guess_autoreset(infos: Mapping[str, Any]) -> Autoreset:
    """The mode of an environment without one in its metadata, from the infos of a step in which episodes ended.

    Without last observations it is that of Gymnasium 1.0, which resets in the next step.
    """
    same = any(key in infos for key in FINAL_OBSERVATIONS)
    return Autoreset.SAME_STEP if same else Autoreset.NEXT_STEP


def _take_out(infos: dict[str, Any], key: str) -> list[tuple[int, FrameBuffer]]:
    # Each reset marks again that it is captured.
    for other in (CAPTURED, f"_{CAPTURED}", f"_{key}"):
        infos.pop(other, None)
    return [(i, buffer) for i, buffer in enumerate(infos.pop(key, ())) if buffer is not None]
