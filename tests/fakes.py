"""Fakes that several test files share: small models and an environment that paints its own clock."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym import Clip, ProgressScore

HEIGHT, WIDTH = 6, 8
BLUE = 200
ENV_REWARD = 7.0
"""No reward map gives this number, so it shows when the reward of the environment leaks."""


def painted_frame(step: int, episode: int) -> np.ndarray:
    """`(6, 8, 3)` uint8: red tells the step, green the episode, blue stands for blue."""
    frame = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    frame[...] = (step % 256, episode % 256, BLUE)
    return frame


class PaintedEnv(gym.Env[dict[str, Any], np.ndarray]):
    """Every frame tells its step and episode, so a late, lost or foreign one is seen at once."""

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 5}  # noqa: RUF012

    def __init__(
        self,
        steps: int = 4,
        *,
        terminates: bool = True,
        render_mode: str | None = "rgb_array",
        task: str = "paint the wall",
    ) -> None:
        self.steps = steps
        self.terminates = terminates
        self.render_mode = render_mode
        self.task = task
        self.episode = 0
        self.step_index = 0
        self.renders = 0
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        image = gym.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({"cameras": gym.spaces.Dict({"wrist": image})})
        # One buffer for ever, as drivers of real cameras do it.
        self._buffer = np.empty((HEIGHT, WIDTH, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.step_index = 0
        return self._observe(), {"step": 0}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.step_index += 1
        ended = self.step_index >= self.steps
        flags = (ended and self.terminates, ended and not self.terminates)
        return self._observe(), ENV_REWARD, *flags, {"step": self.step_index}

    def render(self) -> Any:
        self.renders += 1
        if self.render_mode == "ansi":
            return f"step {self.step_index}"
        self._buffer[...] = painted_frame(self.step_index, self.episode)
        return self._buffer

    def _observe(self) -> dict[str, Any]:
        return {"cameras": {"wrist": painted_frame(self.step_index, 0)}}


class FakeRewardModel:
    """Gives the level that a function reads off the clip, and remembers every clip it saw."""

    def __init__(self, level: int | Callable[[Clip], int | None] = 3) -> None:
        self._level = level
        self.clips: list[Clip] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.clips.extend(clips)
        levels = [self._level(clip) if callable(self._level) else self._level for clip in clips]
        return [ProgressScore(level=level, text=str(level)) for level in levels]


class FailingRewardModel:
    """Raises, or answers with whatever it was given, `failures` times; then gives level 4."""

    def __init__(self, failure: object, failures: int = 1_000) -> None:
        self._failure = failure
        self._left = failures
        self.calls = 0

    def score(self, clips: Sequence[Clip]) -> Any:
        self.calls += 1
        self._left -= 1
        if self._left < 0:
            return [ProgressScore(level=4)] * len(clips)
        if isinstance(self._failure, BaseException):
            raise self._failure
        return self._failure


def colour(clip: Clip, index: int) -> tuple[int, ...]:
    """Mean RGB of one frame of a clip."""
    return tuple(round(float(mean)) for mean in clip.frames[index].mean(axis=(0, 1)))


def play(env: gym.Env[Any, Any], seed: int | None = None) -> list[tuple[Any, ...]]:
    """Play one episode with the zero action; return what each step returned."""
    env.reset(seed=seed)
    assert env.action_space.shape is not None
    steps = []
    while not steps or not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(np.zeros(env.action_space.shape, env.action_space.dtype)))
    return steps
