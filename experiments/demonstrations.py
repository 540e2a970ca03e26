"""Scripted demonstrations for the base policies: `python -m experiments.demonstrations --scene toy --out DIR`.

They are play data, as BridgeData is: each episode does one of several things that the scene offers, at a human's
varying speed and precision, with no label that the policy sees. A policy cloned from them does each of these things
some of the time, which is what DSRL needs: something to choose from.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

from experiments.workers import prepare, worker_pool
from policies.vision import downsample
from robots.experts import ScriptedExpert, Style
from robots.layout import CONTROL_HZ, LANDMARKS
from robots.widowx import widowx

SceneName = Literal["toy", "drawer"]
ENV_IDS: Mapping[SceneName, str] = {
    "toy": "robots:WidowXToyOnTowel-v0",
    "drawer": "robots:WidowXDrawer-v0",
}
MIXTURE: Mapping[SceneName, Mapping[str, float]] = {
    "toy": {
        "put the duck on the towel": 0.4,
        "put the duck on the plate": 0.2,
        "put the block on the towel": 0.2,
        "put the block on the plate": 0.2,
    },
    "drawer": {"open the left drawer": 0.4, "open the right drawer": 0.5, "pick up the duck": 0.1},
}
"""How often each command is demonstrated; those that make no sense from a start are left out there."""
SEED_OFFSET = 500_000_000
"""Demonstrations start from seeds that neither reward data nor experiments use."""


@dataclass(frozen=True)
class DemonstrationConfig:
    """What to record."""

    out: Path
    """Folder to write; must not exist yet."""
    scene: SceneName = "toy"
    """Which scene."""
    episodes: int = 600
    """How many episodes."""
    seed: int = 0
    """First seed, counted within the seeds reserved for demonstrations."""
    workers: int = 2
    """Processes; the result does not depend on it."""

    @property
    def seeds(self) -> range:
        """One reset seed an episode."""
        return range(SEED_OFFSET + self.seed, SEED_OFFSET + self.seed + self.episodes)


Rows = dict[str, np.ndarray]


def record_episode(scene: SceneName, seed: int) -> Rows:
    """One demonstration: rows of observation, action and landmark labels, one a step."""
    env = _env(scene)
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    base = widowx(env)
    chances = {task: p for task, p in MIXTURE[scene].items() if base.scene.askable(task)}
    weights = np.array(list(chances.values()))
    task = str(rng.choice(list(chances), p=weights / weights.sum()))
    style = Style(speed=rng.uniform(0.75, 1.0), aim_error_m=0.005, action_noise=0.04)
    expert = ScriptedExpert(base, task, rng, style)
    rows: dict[str, list[np.ndarray]] = {"images": [], "states": [], "actions": [], "landmarks": []}
    truncated = False
    while not truncated:
        rows["images"].append(downsample(observation["image"]))
        rows["states"].append(observation["state"])
        rows["landmarks"].append(base.scene.landmarks()[:, :3])
        observation, _, _, truncated, info = env.step(expert.act())
        rows["actions"].append(info["action"])
    return {name: np.stack(values) for name, values in rows.items()}


_ENVS: dict[str, gym.Env] = {}


def _env(scene: SceneName) -> gym.Env:
    """One environment a process and scene: making it costs more than an episode."""
    if scene not in _ENVS:
        _ENVS[scene] = gym.make(ENV_IDS[scene], look="train")
    return _ENVS[scene]


def _record(arguments: tuple[SceneName, int]) -> Rows:
    return record_episode(*arguments)


def record(config: DemonstrationConfig) -> None:
    """Record all episodes and write the folder at the end."""
    config.out.mkdir(parents=True)
    with worker_pool(config.workers) as pool:
        work = pool.imap(_record, [(config.scene, seed) for seed in config.seeds], chunksize=4)
        episodes = list(tqdm(work, total=config.episodes, desc=f"{config.scene} demonstrations"))
    for name in episodes[0]:
        np.save(config.out / f"{name}.npy", np.concatenate([e[name] for e in episodes]))
    ends = np.cumsum([len(e["actions"]) for e in episodes]).astype(np.int64)
    np.save(config.out / "episode_ends.npy", ends)
    meta = {
        "landmarks": list(LANDMARKS),
        "task": "; ".join(MIXTURE[config.scene]),
        "fps": CONTROL_HZ,
        "seed": config.seed,
        "mixture": dict(MIXTURE[config.scene]),
    }
    (config.out / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def main() -> None:
    """Command line."""
    prepare(threads=1)
    record(tyro.cli(DemonstrationConfig, description=__doc__))


if __name__ == "__main__":
    main()
