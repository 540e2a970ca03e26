"""Where the frames of a vector environment come from, so that the last one of an episode is its end."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from roboreward_gym.capture import CAPTURED, FILM
from roboreward_gym.errors import InvalidSetting, NoFrames
from roboreward_gym.recording import RENDER, Film, check_frame, look_up

FINAL_INFO, FINAL_OBSERVATION = "final_info", "final_obs"
"""Where Gymnasium puts what an environment said before it was reset in the same step."""

USE_CAPTURE = "Put FrameCapture around each environment, outside of everything else."


class Autoreset(Enum):
    """What a vector environment does about an ended episode, in Gymnasium's words."""

    NEXT_STEP = "NextStep"
    SAME_STEP = "SameStep"
    DISABLED = "Disabled"


def autoreset_of(envs: gym.vector.VectorEnv) -> Autoreset:
    """Read the mode; without one it is that of Gymnasium 1.0, which resets in the next step.

    Asks the vector environment before its metadata, which Gymnasium 1.1 to 1.3 share between all
    vectors of one class of environment.
    """
    mode = getattr(envs.unwrapped, "autoreset_mode", envs.metadata.get("autoreset_mode"))
    if mode is None:
        return Autoreset.NEXT_STEP
    try:
        return Autoreset(getattr(mode, "value", mode))
    except ValueError as error:
        raise InvalidSetting(
            f"Expected an autoreset mode of {[m.value for m in Autoreset]}, got {mode!r}."
        ) from error


class VectorFilms(Protocol):
    """The films of the present episodes."""

    def begin(self, begun: np.ndarray, observations: Any, infos: dict[str, Any]) -> None:
        """Start new films after a reset of the environments in the mask `begun`, `(num_envs,)`."""
        ...

    def record(
        self, observations: Any, infos: dict[str, Any], ended: np.ndarray, begun: np.ndarray
    ) -> dict[int, Film]:
        """Film one step; return the films of the environments in the mask `ended`.

        Those in the mask `begun` show their first frame, those in both masks the one that follows.
        """
        ...


class CapturedFilms:
    """Films that a `FrameCapture` in each environment has made."""

    def begin(self, begun: np.ndarray, observations: Any, infos: dict[str, Any]) -> None:
        """Nothing but tidy the infos: the environments have begun by themselves."""
        _take_out(infos)

    def record(
        self, observations: Any, infos: dict[str, Any], ended: np.ndarray, begun: np.ndarray
    ) -> dict[int, Film]:
        """Take the films that are handed over out of the infos."""
        films = {i: film for place in _places(infos) for i, film in _take_out(place)}
        if sorted(films) != np.flatnonzero(ended).tolist():
            raise NoFrames(
                f"Expected films of the environments {np.flatnonzero(ended).tolist()}, whose "
                f"episodes ended, got those of {sorted(films)}. {USE_CAPTURE}"
            )
        return films


class OwnFilms:
    """Films made here, of what the vector environment renders or observes.

    Args:
        envs: The vector environment.
        source: `"render"`, or a path of keys into the observations.
        max_frames: Most frames of an episode that are held.
        mode: When environments are reset.
    """

    def __init__(
        self, envs: gym.vector.VectorEnv, source: str, max_frames: int, mode: Autoreset
    ) -> None:
        self._envs = envs
        self._source = source
        self._max_frames = max_frames
        self._final_apart = mode is Autoreset.SAME_STEP
        self._films: list[Film | None] = [None] * envs.num_envs
        self._expected_frames = 64

    def begin(self, begun: np.ndarray, observations: Any, infos: dict[str, Any]) -> None:
        """Film the first frames."""
        shoot = self._shutter(observations)
        for i in np.flatnonzero(begun):
            self._films[i] = Film(shoot(i), self._max_frames, self._expected_frames)

    def record(
        self, observations: Any, infos: dict[str, Any], ended: np.ndarray, begun: np.ndarray
    ) -> dict[int, Film]:
        """Film each environment, or its end where that is kept apart from the next episode."""
        shoot = self._shutter(observations)
        done: dict[int, Film] = {}
        for i, film in enumerate(self._films):
            if film is not None and ended[i]:
                film.record(lambda i=i: self._end(i, infos, shoot), final=True)
                done[i] = film
                self._expected_frames = len(film)
                self._films[i] = None
            elif film is not None and not begun[i]:
                film.record(lambda i=i: shoot(i), final=False)
        for i in np.flatnonzero(begun):
            self._films[i] = Film(shoot(i), self._max_frames, self._expected_frames)
        return done

    def _end(self, i: int, infos: dict[str, Any], shoot: Callable[[int], np.ndarray]) -> np.ndarray:
        if not self._final_apart:
            return shoot(i)
        if FINAL_OBSERVATION not in infos:
            raise NoFrames(
                f"Expected the last observation of an ended episode as {FINAL_OBSERVATION!r} in the "
                f"infos, got {sorted(infos)}. {USE_CAPTURE}"
            )
        return check_frame(look_up(infos[FINAL_OBSERVATION][i], self._source), self._source)

    def _shutter(self, observations: Any) -> Callable[[int], np.ndarray]:
        """A function from environment to its present frame; renders once, and only if asked."""
        batch: list[Any] = []

        def shoot(i: int) -> np.ndarray:
            if not batch:
                batch.append(self._batch(observations))
            return check_frame(batch[0][i], self._source)

        return shoot

    def _batch(self, observations: Any) -> Any:
        found: Any = (
            self._envs.render() if self._source == RENDER else look_up(observations, self._source)
        )
        if isinstance(found, (tuple, list, np.ndarray)) and len(found) == self._envs.num_envs:
            return found
        raise NoFrames(
            f"Expected {self._envs.num_envs} frames from frame_source {self._source!r}, got "
            f"{type(found).__name__}. {USE_CAPTURE}"
        )


def choose_films(
    envs: gym.vector.VectorEnv,
    infos: dict[str, Any],
    source: str,
    max_frames: int,
    mode: Autoreset,
) -> VectorFilms:
    """What the infos of a full reset and the settings call for.

    Raises:
        NoFrames: The ends of episodes could not be seen.
        InvalidSetting: Two say differently how to film.
    """
    captured = infos.get(CAPTURED)
    if captured is None:
        _check_own(envs, source, mode)
        return OwnFilms(envs, source, max_frames, mode)
    missing = np.flatnonzero(~infos[f"_{CAPTURED}"]).tolist()
    if missing:
        raise NoFrames(
            f"Expected all environments to film themselves, not so {missing}. {USE_CAPTURE}"
        )
    if source != RENDER or captured.max() > max_frames:
        raise InvalidSetting(
            f"Expected environments that film themselves to do so as was asked, got "
            f"frame_source={source!r} and max_frames={max_frames} here, and up to "
            f"{int(captured.max())} frames there. Pass both settings to FrameCapture."
        )
    return CapturedFilms()


def _check_own(envs: gym.vector.VectorEnv, source: str, mode: Autoreset) -> None:
    if source != RENDER:
        return
    if mode is Autoreset.SAME_STEP:
        raise NoFrames(
            "Expected frames of the ends of episodes, but with same-step autoreset render() shows "
            f"the next episode already. {USE_CAPTURE} Or pass frame_source= an observation key."
        )
    if envs.render_mode != "rgb_array":
        raise NoFrames(
            "Expected environments with render_mode='rgb_array', got "
            f"render_mode={envs.render_mode!r}. Make them with gym.make_vec(..., "
            "render_mode='rgb_array'), or pass frame_source= an observation key."
        )


def own_infos(infos: dict[str, Any]) -> dict[str, Any]:
    """A copy to take entries out of, in both places where there are some."""
    own = dict(infos)
    if FINAL_INFO in own:
        own[FINAL_INFO] = dict(own[FINAL_INFO])
    return own


def check_source(source: object) -> str:
    """Return the frame source, or raise `NoFrames` if none of a vector environment."""
    if isinstance(source, str) and source:
        return source
    raise NoFrames(
        f"Expected frame_source 'render' or an observation key, got {source!r}. Pass a function to "
        "FrameCapture, which runs it beside its environment."
    )


def _places(infos: dict[str, Any]) -> list[dict[str, Any]]:
    return [infos, infos[FINAL_INFO]] if FINAL_INFO in infos else [infos]


def _take_out(infos: dict[str, Any]) -> list[tuple[int, Film]]:
    # A later reset says again that it is captured.
    for key in (CAPTURED, f"_{CAPTURED}", f"_{FILM}"):
        infos.pop(key, None)
    return [(i, film) for i, film in enumerate(infos.pop(FILM, ())) if film is not None]
