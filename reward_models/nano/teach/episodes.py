"""Playing and recording: whole episodes with the level of each frame, as `VLMRewardWrapper` would record them."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from reward_models.nano.teach.config import TeachConfig
from reward_models.nano.teach.levels import LevelReader, Levels, no_levels
from reward_models.protocol.frames import ROBOREWARD_PROTOCOL
from roboreward_gym.errors import InvalidSetting, NoFrames
from roboreward_gym.frames import FrameSource
from roboreward_gym.info import RECORDING
from roboreward_gym.recording import RECORDED_PER_SAMPLED, FrameCapture, read_fps
from roboreward_gym.specs import load_function
from roboreward_gym.types import FrameBuffer

RANDOM = "random"
LONGEST = 10_000
"""Steps after which an episode without a time limit is taken to have none."""
SAME_RESETS = 5
"""Resets with one seed that must look alike; two may do so by chance."""

Act = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Recorded:
    """An episode as it is stored.

    Attributes:
        frames: `(T, H, W, 3)` uint8 RGB.
        fps: Frames per second, in [Hz].
        levels: Level of each task at each of the T frames; empty where it is not known.
        policy: Who played.
    """

    frames: np.ndarray
    fps: float
    levels: tuple[Levels, ...]
    policy: str


class EpisodePlayer:
    """One environment, recorded, with its levels and the policies that play in it.

    Args:
        config: Which.

    Raises:
        InvalidSetting: No such environment, or it takes other arguments.
        NoFrames: It gives no pictures.
    """

    def __init__(self, config: TeachConfig) -> None:
        self._config = config
        self._levels = LevelReader(config)
        env = _make(config)
        self._fps = read_fps(env, config.fps)
        rate = RECORDED_PER_SAMPLED * ROBOREWARD_PROTOCOL.fps
        self.env = FrameCapture(
            env,
            frame_source=config.frame_source,
            fps=self._fps,
            record_fps=min(rate, self._fps),
        )
        self._policies = {
            name: None if name == RANDOM else load_function(name) for name in config.policy
        }

    def check_seeds(self, seed: int) -> None:
        """Check that the same seed gives the same episode.

        Raises:
            InvalidSetting: It does not, so that nothing could be repeated and splits might share episodes.
        """
        first, *others = (self._start(seed) for _ in range(SAME_RESETS))
        if self._config.allow_unseeded or all(np.array_equal(first, other) for other in others):
            return
        raise InvalidSetting(
            f"Two resets of {self._config.env} with the seed {seed} look different, so no run can be repeated. Draw "
            "from self.np_random in its reset, or go on all the same: --allow-unseeded."
        )

    def play(self, seed: int) -> Recorded:
        """Play and record one episode; the seed says by whom, and how many of the actions are random.

        Raises:
            InvalidLevel: The environment says no level at the end of the episode.
            InvalidSetting: The episode does not end.
        """
        config, rng = self._config, np.random.default_rng(seed)
        policy = config.policy[int(rng.integers(len(config.policy)))]
        is_random = rng.random() < config.episodes.random_share
        noise = rng.uniform() if is_random and policy != RANDOM else 0.0
        self.env.action_space.seed(seed)
        observation, info = self.env.reset(seed=seed)
        levels, keys = [self._levels(self.env, info)], set(info)
        act = self._actor(policy, rng)
        ended = False
        while not ended:
            action = self.env.action_space.sample() if rng.random() < noise else act(observation)
            observation, _, terminated, truncated, info = self.env.step(action)
            ended = terminated or truncated
            levels.append(self._levels(self.env, info))
            keys |= set(info)
            if len(levels) > LONGEST:
                raise InvalidSetting(
                    f"An episode of {config.env} has not ended after {LONGEST} steps. Give it a time limit: "
                    "--episodes.max-steps N."
                )
        if not levels[-1]:
            raise no_levels(config, sorted(k for k in keys if not str(k).startswith("roboreward/")))
        return self._recorded(info[RECORDING], levels, policy)

    def _actor(self, policy: str, rng: np.random.Generator) -> Act:
        make = self._policies[policy]
        return (lambda _: self.env.action_space.sample()) if make is None else make(self.env, rng)

    def _recorded(self, buffer: FrameBuffer, levels: list[Levels], policy: str) -> Recorded:
        clip = buffer.to_clip("any", self._fps)
        indices = np.arange(len(levels)) if clip.indices is None else clip.indices
        # The last frame may come less than a stride after the one before it.
        fps = self._fps / buffer.stride
        return Recorded(clip.frames, fps, tuple(levels[int(i)] for i in indices), policy)

    def _start(self, seed: int) -> np.ndarray:
        observation, _ = self.env.reset(seed=seed)
        return FrameSource(self._config.frame_source).frame(self.env.env, observation).copy()


def _make(config: TeachConfig) -> gym.Env[Any, Any]:
    limit = config.episodes.max_steps
    given: dict[str, Any] = {} if limit is None else {"max_episode_steps": limit}
    by_render = config.frame_source == "render"
    options = {**({"render_mode": "rgb_array"} if by_render else {}), **config.env_arguments}
    try:
        with warnings.catch_warnings():
            # Said below, with what to do.
            warnings.filterwarnings("ignore", message=".*not in the possible render_modes")
            env = gym.make(config.env, **given, **options)
    except (gym.error.Error, TypeError, ModuleNotFoundError) as error:
        raise InvalidSetting(
            f"{config.env} cannot be made with {options}: {error}. Correct --env or --env-options."
        ) from error
    modes = (env.metadata or {}).get("render_modes", [])
    if by_render and (env.render_mode != "rgb_array" or "rgb_array" not in modes):
        raise NoFrames(
            f"{config.env} draws no pictures: its render modes are {list(modes)}, and 'rgb_array' is needed. Add it, or "
            "say where pictures are: --frame-source, an observation key or my.module:function."
        )
    return env
