"""Scripted episodes of both scenes, good and bad, for benchmarks of reward models."""

from collections.abc import Iterator
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from robots.catalogue import TASKS
from robots.scene import Split
from robots.sim.experts import ScriptedExpert, Style
from robots.widowx import widowx


@dataclass(frozen=True, eq=False)
class ScriptedEpisode:
    """Frames `(T+1, H, W, 3)` uint8 of an episode, its task, its number, and all tasks that could be asked about."""

    number: int
    frames: np.ndarray
    task: str
    tasks: tuple[str, ...]


def scripted_episodes(
    count: int, first_seed: int, look: Split = "test"
) -> Iterator[ScriptedEpisode]:
    """Play `count` episodes of each scene; a third of them aims badly, and a third stops half-way."""
    for entry in TASKS:
        env = widowx(gym.make(entry.env_id, look=look))
        tasks = tuple(task for task in env.tasks if env.scene.askable(task))
        for episode in tqdm(range(count), desc=entry.name, unit="episode"):
            rng = np.random.default_rng([first_seed, episode])
            task = tasks[episode % len(tasks)]
            observation, _ = env.reset(seed=first_seed + episode, options={"task": task})
            style = Style(aim_error_m=0.02 * (episode % 3), stop_after=(1.0, 1.0, 0.5)[episode % 3])
            expert = ScriptedExpert(env, task, rng, style)
            frames = [observation["image"]]
            for _ in range(entry.max_episode_steps):
                observation, *_ = env.step(expert.act())
                frames.append(observation["image"])
            yield ScriptedEpisode(episode, np.stack(frames), task, tasks)
        env.close()
