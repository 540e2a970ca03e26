"""Does a policy succeed as often over ROS 2 as in the simulation of this process, and does the learning loop run there?

    .venv-ros/bin/python -m benchmarks.ros_parity

Needs ROS 2 (`make setup-ros`). Starts the simulated driver in a process of its own, by its simulated clock, so that
a busy machine changes nothing but the duration. Plays the base policy from the same starts here and there, then
`experiments.run --robot ros2`. Writes `benchmarks/results/ros_parity.json`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

from experiments.config import evaluation_seeds, get_config
from experiments.evaluate import EpisodeRunner, Evaluation, PolicySpec, evaluate_policy
from experiments.robot import Robot, RobotOptions, ros_id
from experiments.run_folder import read_lines, write_json, write_lines
from experiments.workers import prepare
from roboreward_gym.episode import Episode
from robots.catalogue import task_entry
from robots.conventions import ACTION_DIM, MAX_STEP_M
from robots.recording import INDEX, RecordEpisodes

OUT = Path(__file__).parent / "results" / "ros_parity.json"
NUDGE_MM = 3.0
NUDGE = np.zeros(ACTION_DIM, np.float32)
NUDGE[1], NUDGE[-1] = NUDGE_MM * 1e-3 / MAX_STEP_M, 1.0
HERE, THERE = "here.jsonl", "there.jsonl"
"""Outcomes in process and over ROS."""
STEPS = (0, 5, 10, 20, 40)
"""Steps after which the hands are compared."""


@dataclass(frozen=True)
class Args:
    """Compare a policy over ROS 2 with the same one in process."""

    task: str = "toy-on-towel"
    """A name of `robots.catalogue`."""
    episodes: int = 60
    """Episodes of the comparison, on each side."""
    loop_episodes: int = 20
    """Episodes of each phase of the learning loop; 0 leaves it out."""
    speed: float = 4.0
    """Simulated seconds in a second, at most."""
    folder: Path | None = None
    """Folder for the episodes, for `benchmarks.ros_parity_causes`; by default they are deleted."""
    out: Path = OUT
    """JSON file to write."""


@contextmanager
def driver(scene: str, speed: float) -> Generator[None]:
    """A simulated driver from its start to an orderly end."""
    command = [sys.executable, "-m", "robots.ros.simulator.driver", "--scene", scene]
    process = subprocess.Popen([*command, "--clock", "simulated", "--speed", str(speed)])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Success rate with its interval."""
    rate = evaluation.rate
    interval = [round(end, 3) for end in rate.interval]
    return {"successes": rate.successes, "episodes": rate.total, "interval": interval}


class Nudged(gym.Wrapper):
    """Begins each episode with the hand moved aside by a few millimetres: how much hangs on so little?"""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, and take one small step that the policy does not know of."""
        self.env.reset(**kwargs)
        observation, _, _, _, info = self.env.step(NUDGE)
        return observation, info


def play_here(
    spec: PolicySpec, seeds: range, wrap: Callable[[gym.Env], gym.Env], label: str
) -> Evaluation:
    """Play in process, each episode with a wrapper around it."""
    with closing(EpisodeRunner(spec, wrap)) as runner:
        return Evaluation(tuple(runner.play(seed) for seed in tqdm(seeds, desc=label)))


def compare(args: Args, folder: Path) -> dict[str, Any]:
    """The base policy from the same starts and with the same noise, here and over ROS, start by start."""
    config = get_config(f"{args.task}-nano")
    seeds = evaluation_seeds(config.seed, args.episodes)
    here = PolicySpec(config.env_id, config.policy)
    episodes = folder / "episodes"
    robot = Robot(episodes, RobotOptions(robot="ros2", simulated_clock=True))
    there = PolicySpec(ros_id(config.env_id), config.policy, robot=robot)
    record = partial(RecordEpisodes, folder=folder / "here")
    simulated = play_here(here, seeds, record, "in process")
    write_lines(folder / HERE, map(asdict, simulated.outcomes))
    nudged = play_here(here, seeds, Nudged, "in process, nudged")
    with driver(task_entry(args.task).scene, args.speed):
        ros = evaluate_policy(there, seeds, folder / THERE, label="over ROS 2")
    low, high = simulated.rate.interval
    return {
        "in_process": summary(simulated),
        "ros2": summary(ros),
        "ros2_within_interval": low <= ros.rate.value <= high,
        "paired": paired(simulated, ros),
        "paired_in_process_with_a_nudge": {"nudge_mm": NUDGE_MM, **paired(simulated, nudged)},
        "why": differences(folder / "here", episodes),
        "invalid_episodes": invalid(episodes),
    }


def paired(first: Evaluation, second: Evaluation) -> dict[str, Any]:
    """On how many of the same starts two evaluations end alike, and which ones differ."""
    pairs = list(zip(first.outcomes, second.outcomes, strict=True))
    return {
        "starts": len(pairs),
        "same_outcome": sum(a.success == b.success for a, b in pairs),
        "both_succeed": sum(a.success and b.success for a, b in pairs),
        "only_the_first": [a.seed for a, b in pairs if a.success and not b.success],
        "only_the_second": [a.seed for a, b in pairs if b.success and not a.success],
    }


def differences(here: Path, there: Path) -> dict[str, Any]:
    """How far the same starts drift apart: images at the start, and hands after some steps (medians)."""
    first, second = by_seed(here), by_seed(there)
    images, ways = [], []
    for seed in first.keys() & second.keys():
        a, b = Episode.load(first[seed]), Episode.load(second[seed])
        images.append(np.abs(a.frames[0].astype(float) - b.frames[0].astype(float)).mean())
        ways.append(1e3 * np.linalg.norm(a.states[:, :3] - b.states[:, :3], axis=1))
    drift = {
        f"hands_apart_mm_after_{step}": round(float(np.median([way[step] for way in ways])), 1)
        for step in STEPS
        if step < min(map(len, ways))
    }
    return {"start_images_grey_values": round(float(np.median(images)), 2), **drift}


def by_seed(folder: Path) -> dict[int, Path]:
    """Files of the valid episodes by their seed."""
    lines = [line for line in read_lines(folder / INDEX) if line["invalid"] is None]
    return {line["seed"]: folder / line["file"] for line in lines}


def learn(args: Args, folder: Path) -> dict[str, Any]:
    """The learning loop as a user starts it."""
    command = [sys.executable, "-m", "experiments.run", f"{args.task}-nano", "--robot", "ros2"]
    count, half = str(args.loop_episodes), str(args.loop_episodes // 2)
    phases = ("base-episodes", "training-episodes", "final-episodes")
    options = [word for phase in phases for word in (f"--{phase}", count)]
    options += ["--dsrl.warm-up-episodes", half, "--dsrl.validation-episodes", half]
    options += ["--simulated-clock", "--out", str(folder)]
    with driver(task_entry(args.task).scene, args.speed):
        subprocess.run([*command, *options], check=True)
    result = json.loads((folder / "result.json").read_text())
    keys = ("base_success", "base_episodes", "final_success", "final_episodes", "minutes")
    return {
        **{key: result[key] for key in keys},
        "training_episodes": args.loop_episodes,
        "episodes_on_disk": len(list((folder / "episodes").glob("*.npz"))),
        "invalid_episodes": invalid(folder / "episodes"),
    }


def invalid(folder: Path) -> int:
    """How many episodes a fault has spoiled."""
    return sum(line["invalid"] is not None for line in read_lines(folder / INDEX))


def main(args: Args) -> None:
    """Compare, learn, write."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    prepare(threads=1)
    with tempfile.TemporaryDirectory() as scratch:
        record = {"task": args.task, **compare(args, args.folder or Path(scratch))}
        print(json.dumps(record, indent=1), flush=True)
        if args.loop_episodes:
            record["learning_loop"] = learn(args, Path(scratch) / "run")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, record)
    print(f"{json.dumps(record, indent=1)}\nwrote {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
