"""Steps per second of the simulated WidowX, with and without its camera: `python -m benchmarks.env_speed`."""

import json
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro

from robots.catalogue import TASKS

RESULTS = Path(__file__).parent / "results" / "env_speed.json"
IDS = tuple(entry.env_id for entry in TASKS)


@dataclass(frozen=True)
class EnvSpeedConfig:
    """What to time."""

    steps: int = 200
    """Steps per measurement."""
    repeats: int = 5
    """Measurements; the median is reported, since machines are noisy."""
    seed: int = 0
    """Seed of scenes and actions."""


def steps_per_second(env: gym.Env, config: EnvSpeedConfig, seed: int) -> float:
    """Time `config.steps` random steps, resets left out."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    spent = 0.0
    for _ in range(config.steps):
        action = rng.uniform(-0.5, 0.5, 7).astype(np.float32)
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        spent += time.perf_counter() - start
        if terminated or truncated:
            env.reset()
    return config.steps / spent


def main(config: EnvSpeedConfig) -> None:
    """Measure, print and save."""
    rates = {}
    for env_id in IDS:
        for image in (True, False):
            env = gym.make(env_id, image=image)
            env.reset(seed=0)
            samples = [
                steps_per_second(env, config, config.seed + i) for i in range(config.repeats)
            ]
            name = f"{env_id.removeprefix('robots:')} {'with' if image else 'without'} camera"
            rates[name] = round(statistics.median(samples), 1)
            print(f"{name}: {rates[name]} steps/s")
            env.close()
    machine = {"machine": platform.machine(), "system": platform.system()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"steps_per_second": rates, **machine}, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(EnvSpeedConfig, description=__doc__))
