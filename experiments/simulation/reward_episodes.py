"""Simulated episodes for reward data: who acts in them, and the truth about every task of the scene at every moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch

from experiments.simulation.demonstrations import ENV_IDS, SceneName
from policies.policy import DiffusionPolicy
from robots.catalogue import TASKS, entry_of_scene
from robots.conventions import ACTION_DIM
from robots.sim.experts import ScriptedExpert, Style
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import Observation, WidowXEnv, widowx

HORIZON: Mapping[SceneName, int] = {e.scene: e.max_episode_steps for e in TASKS}
"""Steps of an episode."""
SCRIPTED: Mapping[str, float] = {"expert": 0.27, "noisy": 0.4, "interrupted": 0.27, "random": 0.06}
"""Probability of each source of scripted episodes."""
CLONED: Mapping[str, float] = {"policy": 0.6, "half_trained": 0.4}
"""Probability of each source of episodes of cloned policies."""


@dataclass(frozen=True)
class RewardDataConfig:
    """What to collect."""

    out: Path
    """Folder to write; must not exist yet."""
    split: Literal["train", "validation", "test"] = "train"
    """Seeds, colours and camera poses of the test split are held out from the two others."""
    episodes: int = 1600
    """Episodes per scene."""
    first: int = 0
    """Number of the first episode of the split, so that a second collection does not repeat the first."""
    policy: tuple[Path, ...] = ()
    """Folders of cloned policies, one per scene in the order of `robots.catalogue`; given: only they act."""
    half_trained: tuple[Path, ...] = ()
    """Likewise, from early in their training."""
    layout: Literal["any", "sides"] = "any"
    """Where toys and targets lie for the scripted sources: anywhere, or as in the experiments."""
    counterfactuals: int = 3
    """Other tasks that each clip is labelled for besides its own, chosen so that low and high levels both occur."""
    workers: int = 2
    """Processes; the result does not depend on it."""


@dataclass(frozen=True, eq=False)
class EpisodeTruth:
    """What the simulator knew at each of T+1 moments.

    Attributes:
        qpos: `(T+1, nq)` float64 joint positions, from which the camera's frames are rendered.
        landmarks: `(T+1, K, 4)` float32.
        levels: T+1 levels by task, for every task whose goal was not already true at the start.
        captions: T+1 descriptions of the state in words.
    """

    qpos: np.ndarray
    landmarks: np.ndarray
    levels: Mapping[str, list[int]]
    captions: list[str]


class RandomMotion:
    """Smooth random actions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._action = rng, np.zeros(ACTION_DIM)

    def act(self) -> np.ndarray:
        """Action `(7,)`."""
        kick = self._rng.normal(0.0, [0.5, 0.5, 0.5, 0.1, 0.1, 0.2, 0.6])
        self._action = np.clip(0.75 * self._action + kick, -1.0, 1.0)
        return self._action.astype(np.float32)


class ClonedPolicy:
    """Plays the chunks of a diffusion policy from random noise, sometimes wilder than it was trained on."""

    def __init__(self, policy: DiffusionPolicy, rng: np.random.Generator) -> None:
        self._policy, self._rng, self._chunk = policy, rng, []
        self._scale = np.float32(rng.choice([1.0, 1.0, 1.5]))

    def act(self, observation: Observation) -> np.ndarray:
        """Action `(7,)`."""
        if not self._chunk:
            shape = (1, self._policy.chunk, ACTION_DIM)
            noise = torch.from_numpy(self._scale * self._rng.standard_normal(shape, np.float32))
            features = self._policy.encode(observation["image"][None], observation["state"][None])
            self._chunk = list(self._policy.decode(features, noise)[0].numpy())
        return self._chunk.pop(0)


def expert_style(source: str, rng: np.random.Generator) -> Style:
    """How an expert of this source works."""
    speed = rng.uniform(0.7, 1.0)
    if source == "noisy":
        return Style(speed, rng.uniform(0.003, 0.03), rng.uniform(0.0, 0.3), drop_probability=0.3)
    stop = rng.uniform(0.1, 0.95) if source == "interrupted" else 1.0
    return Style(speed, 0.004, 0.03, stop_after=stop)


def play_episode(
    config: RewardDataConfig, scene: SceneName, seed: int
) -> tuple[str, str, EpisodeTruth]:
    """Run one episode; returns its source, its task and the truth about it."""
    rng = np.random.default_rng(seed)
    probabilities = CLONED if config.policy else SCRIPTED
    source = str(rng.choice(list(probabilities), p=list(probabilities.values())))
    env, arm = env_and_arm(config, scene)
    task = str(rng.choice(env.tasks))
    observation, _ = env.reset(seed=seed, options={} if config.policy else {"task": task})
    if config.policy:
        task = env.task
        folders = config.policy if source == "policy" else config.half_trained
        cloned = ClonedPolicy(_policy(folders[tuple(ENV_IDS).index(scene)]), rng)
    elif source == "random":
        actor = RandomMotion(rng)
    else:
        actor = ScriptedExpert(env, task, rng, expert_style(source, rng))
    moments = [_truth_now(env, arm)]
    for _ in range(HORIZON[scene]):
        observation, *_ = env.step(cloned.act(observation) if config.policy else actor.act())
        moments.append(_truth_now(env, arm))
    qpos, landmarks, levels, captions = zip(*moments, strict=True)
    by_task = {t: [level[t] for level in levels] for t in env.tasks if env.scene.askable(t)}
    return source, task, EpisodeTruth(np.stack(qpos), np.stack(landmarks), by_task, list(captions))


def env_and_arm(config: RewardDataConfig, scene: SceneName) -> tuple[WidowXEnv, MujocoArm]:
    """The environment of a scene, and its simulated arm; the same ones at each call in a process."""
    look = "test" if config.split == "test" else "train"
    layout = "sides" if config.policy else config.layout
    env = _env(scene, look, layout, image=bool(config.policy))
    if not isinstance(env.arm, MujocoArm):
        raise TypeError(
            f"Episodes are collected in simulation only; {type(env.arm).__name__} is not a MujocoArm."
        )
    return env, env.arm


def _truth_now(
    env: WidowXEnv, arm: MujocoArm
) -> tuple[np.ndarray, np.ndarray, dict[str, int], str]:
    levels = {task: env.level(task) for task in env.tasks}
    return arm.data.qpos.copy(), env.scene.landmarks(), levels, env.scene.caption()


@cache
def _env(scene: SceneName, look: str, layout: str, *, image: bool) -> WidowXEnv:
    more: Mapping[str, Any] = entry_of_scene(scene).mixed if layout == "any" else {}
    return widowx(gym.make(ENV_IDS[scene], look=look, image=image, **more))


@cache
def _policy(folder: Path) -> DiffusionPolicy:
    return DiffusionPolicy.load(folder)
