"""Kill a run of `experiments.run` at random moments, and compare what it ends with: `python -m benchmarks.run_kills`.

A small run is played once without a kill. The same run is then started again and again, and each session gets SIGKILL after a time drawn evenly
up to 0.4 of an undisturbed run, until there were enough kills; the last session ends by itself. A run that ends before
that is followed by another one. Every episode, every line of the curves, the decision and the weights have to be those of the first.
"""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.foundations import record
from experiments.played_episode import PLAYED
from experiments.run import main as run_main
from policies.checkpoint import METRICS
from policies.dsrl.training import DECISION, NOISE_POLICY
from roboreward_gym._cli import run_program

LONGEST = 0.4
"""Longest session that is killed, as a share of an undisturbed one: a few seconds in which there is always something to lose."""
RESULTS = Path(__file__).parent / "results" / "run_kills.json"
SMALL = [
    "--training-episodes=6",
    "--base-episodes=3",
    "--final-episodes=3",
    "--dsrl.warm-up-episodes=3",
    "--dsrl.warm-up-updates=10",
    "--dsrl.updates-per-chunk=2",
    "--dsrl.validation-episodes=2",
    "--dsrl.save-every=2",
    "--dsrl.candidates=4",
    "--dsrl.significance=1.0",
]
"""A significance of 1 keeps what was learned, so that it plays the final evaluation too."""
FILES = ("base.jsonl", "final.jsonl", *(f"training/{name}" for name in (METRICS, DECISION, NOISE_POLICY)))  # fmt: skip


@dataclass(frozen=True)
class Args:
    """Kill a run at random moments, and compare."""

    kills: int = 20
    """How many, over all runs."""
    experiment: str = "toy-on-towel-nano"
    """Which run."""
    seed: int = 0
    """Seed of the moments."""


def play(experiment: str, folder: Path) -> None:
    """The run, resumed if it has begun, with what it prints in a log."""
    log = (folder.parent / "log.txt").open("ab", buffering=0)
    os.dup2(log.fileno(), sys.stdout.fileno())
    os.dup2(log.fileno(), sys.stderr.fileno())
    resume = ["--resume"] if (folder / "config.json").exists() else []
    sys.exit(run_main([experiment, *SMALL, f"--out={folder}", *resume]))


def session(experiment: str, folder: Path, after_s: float | None) -> bool:
    """Let the run go on until its end, or until SIGKILL after some seconds; returns whether it was killed.

    Raises:
        SystemExit: It ended with an error.
    """
    # A fork of this process, which has imported everything: a process of its own that begins at once.
    process = multiprocessing.get_context("fork").Process(target=play, args=(experiment, folder))
    process.start()
    process.join(after_s)
    if process.is_alive():
        process.kill()
        process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        log = (folder.parent / "log.txt").read_text()
        raise SystemExit(f"The run ended with status {process.exitcode}:\n{log}")
    return process.exitcode != 0


def phase(folder: Path) -> str:
    """How far the run has come."""
    if not (folder / "base.jsonl").exists():
        return "before the first episode"
    if not (folder / "training").exists():
        return "base evaluation"
    return "final evaluation" if (folder / "final.jsonl").exists() else "training"


def contents(folder: Path) -> dict[str, bytes]:
    """All that has to be equal, by its path."""
    played = (folder / PLAYED).glob("*/*.npz")
    paths = [*(folder / name for name in FILES), *played]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def differences(whole: Path, other: Path) -> list[str]:
    """Paths that are in one only, or not the same in both."""
    a, b = contents(whole), contents(other)
    return sorted(path for path in a | b if a.get(path) != b.get(path))


def measure(args: Args, scratch: Path) -> dict[str, Any]:
    """Play the whole run, kill others, compare."""
    rng = random.Random(args.seed)
    whole = scratch / "whole"
    begin = time.monotonic()
    session(args.experiment, whole, None)
    duration_s = time.monotonic() - begin
    print(f"without a kill: {duration_s:.0f} s, {len(contents(whole))} files", flush=True)
    phases: Counter[str] = Counter()
    found: list[list[str]] = []
    while sum(phases.values()) < args.kills or not found:
        folder = scratch / f"killed-{len(found)}"
        killed = True
        while killed:
            left = sum(phases.values()) < args.kills
            killed = session(
                args.experiment, folder, rng.uniform(0, LONGEST * duration_s) if left else None
            )
            if killed:
                phases[phase(folder)] += 1
                print(f"kill {sum(phases.values())}: {phase(folder)}", flush=True)
        found.append(differences(whole, folder))
        shutil.rmtree(folder)
    return {
        "kills": sum(phases.values()),
        "kills_by_phase": dict(phases),
        "killed_runs": len(found),
        "episodes": sum(path.startswith(PLAYED) for path in contents(whole)),
        "equal_runs": sum(not different for different in found),
        "different_files": sorted({path for different in found for path in different}),
    }


def main(args: Args) -> None:
    """Measure, print and keep."""
    with tempfile.TemporaryDirectory() as scratch:
        measured = measure(args, Path(scratch))
    record(RESULTS, **{args.experiment: measured})
    print(
        f"{measured['kills']} kills {measured['kills_by_phase']} in {measured['killed_runs']} runs; {measured['equal_runs']} of them "
        f"end with the same {measured['episodes']} episodes and curve"
    )
    if measured["different_files"]:
        raise SystemExit(f"Not equal: {', '.join(measured['different_files'])}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Args, description=__doc__)))
