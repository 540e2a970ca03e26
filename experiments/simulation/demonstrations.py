"""Scripted demonstrations for the base policies: `python -m experiments.simulation.demonstrations --scene toy --out DIR`.

They are play data, as BridgeData is: each episode does one of several things that the scene offers, at a human's
varying speed and precision, with no label that the policy sees. A policy cloned from them does each of these things
some of the time, which is what DSRL needs: something to choose from.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

from experiments.run_folder import new_folder
from experiments.workers import prepare, worker_pool
from policies.demos import Demos
from policies.vision import downsample
from roboreward_gym._cli import run_program
from robots.catalogue import TASKS, entry_of_scene
from robots.conventions import ACTION_DIM, CONTROL_HZ, LANDMARKS, MAX_STEP_M
from robots.sim.experts import ScriptedExpert, Style
from robots.widowx import Observation, WidowXEnv, widowx

SceneName = str
"""One of `robots.catalogue.SCENES`."""
ENV_IDS: Mapping[SceneName, str] = {entry.scene: entry.env_id for entry in TASKS}
MIXTURE: Mapping[SceneName, Mapping[str, float]] = {e.scene: e.demonstrations for e in TASKS}
"""How often each task is demonstrated; those that make no sense from a start are left out there."""
DETOUR_LOW, DETOUR_HIGH = np.array([0.16, -0.16, 0.035]), np.array([0.42, 0.16, 0.15])
"""Where a detour may lead the hand [m]."""
DETOUR_STEPS = (2, 8)
"""Shortest and longest detour, in steps."""
CLEAR_Z_M = 0.08
"""From this height [m] on the hand touches no toy; below it a detour ends at least `CLEAR_XY_M` from each."""
CLEAR_XY_M = 0.05
SEED_OFFSET = 500_000_000
"""Demonstrations start from seeds that neither reward data nor experiments use."""


@dataclass(frozen=True)
class DemonstrationConfig:
    """What to record."""

    out: Path
    """Folder to write; must not exist yet."""
    scene: SceneName = "toy"
    """Which scene."""
    tasks: tuple[str, ...] = ()
    """What is demonstrated, each task as often as it is named; by default the scene's mixture."""
    episodes: int = 600
    """How many episodes."""
    detours: float = 0.0
    """How often the hand is led astray, unrecorded: at the start with this chance, later with it again. The expert
    then shows how to come back from where a clone errs: between two toys, or with an empty closed gripper."""
    idle: int = 1_000
    """Most steps that are recorded of the expert's standing still after it has finished."""
    seed: int = 0
    """First seed, counted within the seeds reserved for demonstrations."""
    workers: int = 2
    """Processes; the result does not depend on it."""

    @property
    def mixture(self) -> dict[str, float]:
        """How often each task is demonstrated."""
        return dict(Counter(self.tasks)) or dict(MIXTURE[self.scene])

    @property
    def seeds(self) -> range:
        """One reset seed an episode."""
        return range(SEED_OFFSET + self.seed, SEED_OFFSET + self.seed + self.episodes)


Rows = dict[str, np.ndarray]


def record_episode(
    scene: SceneName,
    seed: int,
    detours: float = 0.0,
    idle: int = 1_000,
    mixture: Mapping[str, float] | None = None,
) -> list[Rows]:
    """One demonstration: rows of observation, action and landmark labels, one a step.

    Args:
        scene: Which scene.
        seed: Seed for the reset and for what the expert does.
        detours: See `DemonstrationConfig`.
        idle: See `DemonstrationConfig`.
        mixture: How often each task is demonstrated; by default as the scene has it.

    Returns:
        The recorded stretches: one, or one more for each detour between two of them.
    """
    env = _env(scene)
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    base = widowx(env)
    chances = {
        task: p for task, p in (mixture or MIXTURE[scene]).items() if base.scene.askable(task)
    }
    weights = np.array(list(chances.values()))
    task = str(rng.choice(list(chances), p=weights / weights.sum()))
    style = Style(speed=rng.uniform(0.75, 1.0), aim_error_m=0.005, action_noise=0.04)
    stretches, truncated, step = [_no_rows()], False, 0
    astray = plan_detours(rng, detours)
    if 0 in astray:
        goal, gripper = _anywhere(base, rng), float(rng.choice([-1.0, 1.0]))
        observation, truncated = _go_astray(env, goal, gripper, astray.pop(0), observation)
    expert = ScriptedExpert(base, task, rng, style)
    while not truncated and idle >= 0:
        if step in astray and base.target[2] > CLEAR_Z_M:
            goal = rng.uniform([*DETOUR_LOW[:2], CLEAR_Z_M + 0.02], DETOUR_HIGH)
            grip = float(stretches[-1]["actions"][-1][6])  # what it holds it goes on holding
            observation, truncated = _go_astray(env, goal, grip, astray[step], observation)
            stretches.append(_no_rows())
        if not truncated:
            rows = stretches[-1]
            rows["images"].append(downsample(observation["image"]))
            rows["states"].append(observation["state"])
            rows["landmarks"].append(base.scene.landmarks()[:, :3])
            observation, _, _, truncated, info = env.step(expert.act())
            rows["actions"].append(info["action"])
        step += 1
        idle -= expert.finished
    return [
        {name: np.stack(values) for name, values in rows.items()}
        for rows in stretches
        if rows["actions"]
    ]


def plan_detours(rng: np.random.Generator, chance: float) -> dict[int, int]:
    """Lengths of the detours by the step before which they come."""
    if chance == 0.0:  # draw nothing: demonstrations without detours stay as they were
        return {}
    shortest, longest = DETOUR_STEPS
    starts = {0: rng.random() < chance, int(rng.integers(6, 24)): rng.random() < chance}
    return {at: int(rng.integers(shortest, longest + 1)) for at, wanted in starts.items() if wanted}


def _anywhere(env: WidowXEnv, rng: np.random.Generator) -> np.ndarray:
    """A goal `(3,)` [m] for the hand, low only where it touches no toy."""
    goal = rng.uniform(DETOUR_LOW, DETOUR_HIGH)
    if any(np.linalg.norm(goal[:2] - toy[:2]) < CLEAR_XY_M for toy in env.scene.movable()):
        goal[2] = max(goal[2], CLEAR_Z_M)
    return goal


def _go_astray(
    env: gym.Env, goal: np.ndarray, gripper: float, steps: int, observation: Observation
) -> tuple[Observation, bool]:
    """Lead the hand towards `goal` `(3,)` [m]; returns what is seen then, and whether time is up."""
    truncated = False
    for _ in range(steps):
        offset = goal - widowx(env).target
        action = np.zeros(ACTION_DIM, np.float32)
        action[:3] = offset / max(float(np.linalg.norm(offset)), MAX_STEP_M)
        action[6] = gripper
        observation, _, _, truncated, _ = env.step(action)
        if truncated:
            break
    return observation, truncated


def _no_rows() -> dict[str, list[np.ndarray]]:
    return {"images": [], "states": [], "actions": [], "landmarks": []}


_ENVS: dict[str, gym.Env] = {}


def _env(scene: SceneName) -> gym.Env:
    """One environment a process and scene: making it costs more than an episode."""
    if scene not in _ENVS:
        _ENVS[scene] = gym.make(ENV_IDS[scene], look="train")
    return _ENVS[scene]


def _record(arguments: tuple[SceneName, int, float, int, Mapping[str, float]]) -> list[Rows]:
    return record_episode(*arguments)


def record(config: DemonstrationConfig) -> None:
    """Record all episodes and write the folder at the end.

    Raises:
        UnknownName: No such scene.
    """
    entry_of_scene(config.scene)
    new_folder(config.out)
    with worker_pool(config.workers) as pool:
        how = (config.detours, config.idle, config.mixture)
        jobs = [(config.scene, seed, *how) for seed in config.seeds]
        work = pool.imap(_record, jobs, chunksize=4)
        bar = tqdm(work, total=config.episodes, desc=f"{config.scene} demonstrations")
        episodes = [stretch for stretches in bar for stretch in stretches]
    rows = {name: np.concatenate([e[name] for e in episodes]) for name in episodes[0]}
    demos = Demos(
        **rows,
        episode_ends=np.cumsum([len(e["actions"]) for e in episodes]).astype(np.int64),
        names=tuple(LANDMARKS),
        task="; ".join(config.mixture),
        fps=CONTROL_HZ,
    )
    settings = {"seed": config.seed, "detours": config.detours, "idle": config.idle}
    demos.save(config.out, mixture=config.mixture, **settings)


def main() -> None:
    """Command line."""
    prepare(threads=1)
    record(tyro.cli(DemonstrationConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
