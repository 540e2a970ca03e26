"""How often the scripted experts succeed within an episode: `python -m benchmarks.expert_success`."""

import json
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

from robots.catalogue import TASKS
from robots.sim.experts import ScriptedExpert
from robots.widowx import widowx

RESULTS = Path(__file__).parent / "results" / "expert_success.json"
IDS = tuple(entry.env_id for entry in TASKS)


@dataclass(frozen=True)
class ExpertSuccessConfig:
    """What to count."""

    seeds: int = 100
    """Episodes per task."""
    all_tasks: bool = False
    """Also the tasks that are not the environment's own task."""


def succeeds(env: gym.Env, task: str, seed: int) -> bool:
    """Play one episode to its time limit; whether it ends in a success."""
    env.reset(seed=seed, options={"task": task})
    expert = ScriptedExpert(widowx(env), task, np.random.default_rng(seed))
    truncated = False
    while not truncated:
        _, _, _, truncated, info = env.step(expert.act())
    return bool(info["truth/success"])


def main(config: ExpertSuccessConfig) -> None:
    """Count, print and save."""
    rates = {}
    for env_id in IDS:
        env = gym.make(env_id, image=False)
        own, tasks = widowx(env).task, widowx(env).tasks
        for task in tasks if config.all_tasks else (own,):
            wins = [succeeds(env, task, seed) for seed in tqdm(range(config.seeds), desc=task)]
            rates[task] = sum(wins) / config.seeds
            print(f"{task}: {rates[task]:.0%} of {config.seeds} seeds")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"seeds": config.seeds, "success": rates}, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(ExpertSuccessConfig, description=__doc__))
