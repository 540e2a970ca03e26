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
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.config import evaluation_seeds, get_config
from experiments.evaluate import Evaluation, PolicySpec, evaluate_policy
from experiments.robot import Robot, RobotOptions, ros_id
from experiments.run_folder import read_lines, write_json
from experiments.workers import prepare
from robots.recording import INDEX

OUT = Path(__file__).parent / "results" / "ros_parity.json"
SCENES = {"toy-on-towel": "toy", "drawer": "drawer"}


@dataclass(frozen=True)
class Args:
    """Compare a policy over ROS 2 with the same one in process."""

    task: str = "toy-on-towel"
    """`toy-on-towel` or `drawer`."""
    episodes: int = 60
    """Of the comparison, on each side."""
    loop_episodes: int = 20
    """Of each phase of the learning loop; 0 leaves it out."""
    speed: float = 4.0
    """Simulated seconds in a second, at most."""
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


def compare(args: Args, folder: Path) -> dict[str, Any]:
    """The base policy from the same starts and with the same noise, here and over ROS."""
    config = get_config(f"{args.task}-nano")
    seeds = evaluation_seeds(config.seed, args.episodes)
    here = PolicySpec(config.env_id, config.policy)
    robot = Robot(folder / "episodes", RobotOptions(robot="ros2", simulated_clock=True))
    there = PolicySpec(ros_id(config.env_id), config.policy, robot=robot)
    simulated = evaluate_policy(here, seeds, folder / "here.jsonl", label="in process")
    with driver(SCENES[args.task], args.speed):
        ros = evaluate_policy(there, seeds, folder / "there.jsonl", label="over ROS 2")
    low, high = simulated.rate.interval
    pairs = zip(simulated.outcomes, ros.outcomes, strict=True)
    return {
        "in_process": summary(simulated),
        "ros2": summary(ros),
        "ros2_within_interval": low <= ros.rate.value <= high,
        "same_outcome": sum(a.success == b.success for a, b in pairs),
        "invalid_episodes": invalid(folder / "episodes"),
    }


def learn(args: Args, folder: Path) -> dict[str, Any]:
    """The learning loop as a user starts it."""
    command = [sys.executable, "-m", "experiments.run", f"{args.task}-nano", "--robot", "ros2"]
    count, half = str(args.loop_episodes), str(args.loop_episodes // 2)
    phases = ("base-episodes", "training-episodes", "final-episodes")
    options = [word for phase in phases for word in (f"--{phase}", count)]
    options += ["--dsrl.warm-up-episodes", half, "--dsrl.validation-episodes", half]
    options += ["--simulated-clock", "--out", str(folder)]
    with driver(SCENES[args.task], args.speed):
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
        record = {"task": args.task, **compare(args, Path(scratch))}
        print(json.dumps(record, indent=1), flush=True)
        if args.loop_episodes:
            record["learning_loop"] = learn(args, Path(scratch) / "run")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, record)
    print(f"{json.dumps(record, indent=1)}\nwrote {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
