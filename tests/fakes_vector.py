"""An environment whose pictures tell which one they are, and a model that goes by the last picture.

They need numpy and gymnasium only, so that the matrix can run with any version of these.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym import Clip, FrameCapture, ProgressScore

SIZE = (4, 6, 3)
ENV_REWARD = 7.0
BLUE = 100
"""Blue of the first environment; the next ones have more, and no other channel has as much."""

FORKSERVER = "forkserver"
"""How tests start processes: plain forks of a process with threads are warned about."""

multiprocessing.set_forkserver_preload(["tests.fakes_vector"])  # a second for each process else


class ColourEnv(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Red tells the step, green the episode, blue the environment."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(
        self, steps: int = 3, index: int = 0, *, render_mode: str | None = "rgb_array"
    ) -> None:
        self.steps = steps
        self.index = index
        self.render_mode = render_mode
        self.episode = 0
        self.step_index = 0
        self.renders = 0
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, SIZE, np.uint8)})
        # One buffer for ever, as drivers of real cameras do it.
        self._buffer = np.empty(SIZE, np.uint8)

    @property
    def task(self) -> str:
        """A task that changes with each episode."""
        return f"episode {self.episode} of {self.index}"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = 1 if seed is not None else self.episode + 1
        self.step_index = 0
        return self._observe(), {"step": 0}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.step_index += 1
        terminated = self.step_index >= self.steps
        return self._observe(), ENV_REWARD, terminated, False, {"step": self.step_index}

    def render(self) -> np.ndarray:
        self.renders += 1
        self._buffer[...] = colour(self.step_index, self.episode, self.index)
        return self._buffer

    def _observe(self) -> dict[str, np.ndarray]:
        image = np.empty(SIZE, np.uint8)
        image[...] = colour(self.step_index, self.episode, self.index)
        return {"image": image}


class ColourModel:
    """Returns level 3, and in the manifest the mean colour of the last frame."""

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.calls: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.clips.extend(clips)
        self.calls.append(len(clips))
        return [ProgressScore(3, manifest={"colour": mean_colour(clip)}) for clip in clips]


def colour(step: int, episode: int, index: int) -> tuple[int, int, int]:
    """Of the picture after that step."""
    return step % 100, episode % 100, BLUE + index


def mean_colour(clip: Clip, index: int = -1) -> tuple[float, ...]:
    """Mean RGB of one frame."""
    return tuple(clip.frames[index].mean(axis=(0, 1)).tolist())


def colour_reward(score: ProgressScore) -> float:
    """The colour as one number, so that a wrong frame is a wrong reward."""
    return code(*score.manifest["colour"])


def code(red: float, green: float, blue: float) -> float:
    return red + 1_000 * green + 1_000_000 * blue


def make_colour_env(
    steps: int,
    index: int = 0,
    *,
    truncates: bool = False,
    capture: bool = False,
    max_frames: int = 256,
    **settings: Any,
) -> gym.Env[Any, Any]:
    """One environment that ends after `steps`, of its own or by a time limit."""
    env: gym.Env[Any, Any] = ColourEnv(10_000 if truncates else steps, index, **settings)
    if truncates:
        env = gym.wrappers.TimeLimit(env, steps)
    return FrameCapture(env, max_frames=max_frames) if capture else env


def env_fns(lengths: Sequence[int], **settings: Any) -> list[Callable[[], gym.Env[Any, Any]]]:
    """What vector environments are made of."""
    return [
        partial(make_colour_env, steps, index, **settings) for index, steps in enumerate(lengths)
    ]


def make_vector(
    kind: str, lengths: Sequence[int], mode: str = "NextStep", **settings: Any
) -> gym.vector.VectorEnv:
    """A `"sync"` or `"async"` vector; the mode is left out where Gymnasium knows only one."""
    options: dict[str, Any] = {}
    if hasattr(gym.vector, "AutoresetMode"):
        options["autoreset_mode"] = gym.vector.AutoresetMode(mode)
    if kind == "sync":
        return gym.vector.SyncVectorEnv(env_fns(lengths, **settings), **options)
    return gym.vector.AsyncVectorEnv(env_fns(lengths, **settings), context=FORKSERVER, **options)
