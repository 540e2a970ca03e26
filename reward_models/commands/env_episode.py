"""An episode of an environment as a reward model would get it, and findings about it."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import data_equivalence

from reward_models.commands.findings import Finding
from reward_models.library_errors import LIBRARY_ERRORS
from roboreward_gym.frames import dead_camera
from roboreward_gym.types import Clip, ProgressScore
from roboreward_gym.wrapper import VLMRewardWrapper

ENVIRONMENT_ERRORS = (*LIBRARY_ERRORS, gym.error.Error, AssertionError)
"""What an environment may raise that somebody else wrote."""

SMALL, LARGE = 64, 1080
"""Sides of a frame in [px]: below, little can be seen in it; above, most of it is memory."""
SLOW_FRAME_S = 0.05


@dataclass(frozen=True, eq=False)
class Played:
    """An episode of random actions.

    Attributes:
        clip: All frames of it, at most 256.
        rewards: The environment's own, one a step; NaN where it gives none.
        ended: Whether the environment ended it.
        truncated: Whether it did so by its time limit.
        seconds: That the steps took, with the frames.
        last: The last observation.
    """

    clip: Clip
    rewards: np.ndarray
    ended: bool
    truncated: bool
    seconds: float
    last: Any


class Unscored:
    """Stands where a reward model would."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Give each clip the lowest level."""
        return [ProgressScore(level=1) for _ in clips]


def play(env: gym.Env[Any, Any], limit: int, seed: int, wrapping: dict[str, Any]) -> Played:
    """Play an episode of random actions, recorded as a reward model would get it."""
    limited = gym.wrappers.TimeLimit(env, limit)
    wrapped = VLMRewardWrapper(limited, Unscored(), **wrapping, ending="unchanged")
    wrapped.action_space.seed(seed)
    wrapped.reset(seed=seed)
    rewards, terminated, truncated, began = [], False, False, time.perf_counter()
    while not (terminated or truncated):
        last, _, terminated, truncated, info = wrapped.step(wrapped.action_space.sample())
        rewards.append(info.get("roboreward/env_reward", math.nan))
    seconds = time.perf_counter() - began
    assert wrapped.last_clip is not None
    by_us = len(rewards) == limit and not terminated and time_limit(env) != limit
    return Played(wrapped.last_clip, np.array(rewards), not by_us, bool(truncated), seconds, last)


def time_limit(env: gym.Env[Any, Any]) -> int | None:
    """Steps after which a time limit ends an episode."""
    return None if env.spec is None else env.spec.max_episode_steps


def check_ending(env: gym.Env[Any, Any], played: Played, most: int) -> Iterator[Finding]:
    """Look at how the episode ended."""
    steps, clip = len(played.rewards), played.clip
    if not played.ended and time_limit(env) is None:
        advice = (
            "Without an end there is no score. Register it with max_episode_steps, or put "
            "gymnasium.wrappers.TimeLimit inside of VLMRewardWrapper."
        )
        yield Finding("ending", "problem", f"no end within {most} steps, and no time limit", advice)
    elif not played.ended:
        found = f"no end within {most} steps; the time limit is {time_limit(env)}"
        yield Finding("ending", "note", found, "See --steps.")
    elif steps == 1:
        advice = "A reward model sees two frames. Is the first action allowed to end it?"
        yield Finding("ending", "warning", "it ended in its first step", advice)
    else:
        how = "its time limit" if played.truncated else "itself"
        found = f"after {steps} steps by {how}: {clip.duration_s:.1f} s as a reward model is told"
        yield Finding("ending", "ok", found)


def check_frames(played: Played) -> Iterator[Finding]:
    """Look at the frames."""
    clip = played.clip
    height, width = clip.frames.shape[1:3]
    size = f"{width}x{height} pixels"
    if (fault := dead_camera(clip)) is not None:
        advice = "Check the camera and the display: a reward model scores black frames, too."
        yield Finding("frames", "problem", f"they show nothing: {fault}", advice)
    elif len(clip.frames) > 2 and resets_itself(clip.frames):
        advice = "Does it reset itself at the end? Switch that off, or pass the last observation's image."
        yield Finding("frames", "warning", "the last one is the first one again", advice)
    if min(height, width) < SMALL:
        advice = (
            "Is it a picture? Symbols or tiny views tell a reward model nothing; render larger."
        )
        yield Finding("frame size", "warning", size, advice)
    elif min(height, width) > LARGE:
        advice = "Reward models scale it down: a smaller picture saves memory and time."
        yield Finding("frame size", "note", size, advice)
    else:
        yield Finding("frame size", "ok", size)
    each = played.seconds / len(played.rewards)
    if each > SLOW_FRAME_S:
        advice = "Models that sample few frames per second have fewer rendered; see record_fps."
        yield Finding("speed", "note", f"{1e3 * each:.0f} ms a step with its frame", advice)


def resets_itself(frames: np.ndarray) -> bool:
    """Whether the last frame is the first one again, after others."""
    return np.array_equal(frames[0], frames[-1]) and not np.array_equal(frames[0], frames[-2])


def check_rewards(rewards: np.ndarray) -> Iterator[Finding]:
    """Look at the environment's own rewards; they only go to the infos."""
    if not np.isfinite(rewards).all():
        found = (
            f"the environment's own are not finite in {int((~np.isfinite(rewards)).sum())} steps"
        )
        yield Finding("rewards", "note", found, "The learner never sees them.")


def check_repeated(env: gym.Env[Any, Any], played: Played, seed: int) -> Iterator[Finding]:
    """Play the same actions twice without a camera: does the seed fix the episode, and does recording change it?"""
    try:
        first, second = (replay(env, seed, len(played.rewards)) for _ in range(2))
    except ENVIRONMENT_ERRORS as error:
        yield Finding(
            "seed",
            "warning",
            f"a second episode fails: {type(error).__name__}: {error}",
            "Mend it.",
        )
        return
    if not same(first, second):
        yield Finding(
            "seed",
            "note",
            "the same seed and actions give another episode",
            "Runs cannot be repeated.",
        )
    elif not same(first, played.last):
        advice = "Record your baseline too: its render() changes its state."
        yield Finding("seed", "warning", "recorded, the same episode ends otherwise", advice)
    else:
        yield Finding("seed", "ok", "the same seed gives the same episode, recorded or not")


def replay(env: gym.Env[Any, Any], seed: int, steps: int) -> Any:
    """Play the same actions; returns the last observation."""
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    for _ in range(steps):
        observation, *_ = env.step(env.action_space.sample())
    return observation


def same(first: Any, second: Any) -> bool:
    """Whether two observations are equal."""
    return bool(data_equivalence(first, second, exact=True))
