"""What stops the arm, and how fast: every fault, with driver, client and observer in processes of their own.

    .venv-ros/bin/python -m benchmarks.ros_faults

Needs ROS 2 (`make setup-ros`) and two cores: everything happens in real time, and takes about twenty minutes. On a machine
that is not quiet start it with a higher priority (`nice -n -15`). Writes every row into `benchmarks/results/ros_faults.json` as
soon as it is there; rows that are not measured, with `--only`, stay as they were. The row of the full disk needs the right to
mount a small file system.
"""

import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.ros_fault_rows import (
    ALL,
    BETWEEN,
    CLIENT_FAULTS,
    FAULTS,
    FULL,
    LEARNER,
    REWARD_MODEL,
    Fault,
    between_faults,
    client_fault,
    driver,
    driver_faults,
    full_disk,
    rate,
    reward_model_fault,
    second_learner,
)
from benchmarks.ros_processes import CLOCK, Observer, Process

OUT = Path(__file__).parent / "results" / "ros_faults.json"


@dataclass(frozen=True)
class Args:
    """Measure what stops the arm over ROS 2."""

    out: Path = OUT
    """JSON file to write."""
    only: tuple[str, ...] = ()
    """Names of faults; by default all of them."""
    episodes: int = 4
    """Undisturbed episodes for the rate, two or more of 40 steps each; 0 leaves it out."""
    rehearse: bool = False
    """Go by a slow simulated clock, to try this program on a busy machine: the numbers mean nothing, and no
    file is written."""


def rows(args: Args, observer: Observer, folder: Path, machine: list[Process]) -> Iterator[Fault]:
    """Measure what is wanted, row by row."""
    wanted = [name for name in ALL if name in (args.only or ALL)]
    of_driver = [name for name in FAULTS if name in wanted]
    yield from driver_faults(observer, of_driver, folder / "driver", machine)
    between = [name for name in BETWEEN if name in wanted]
    yield from between_faults(observer, between, folder / "between", machine)
    for name in CLIENT_FAULTS:
        if name in wanted:
            yield client_fault(observer, name, folder / name)
    if LEARNER in wanted:
        yield second_learner(folder / LEARNER)
    if FULL in wanted:
        yield full_disk(observer, folder / FULL)
    if REWARD_MODEL in wanted:
        yield reward_model_fault(folder / REWARD_MODEL)


def main(args: Args) -> None:
    """Measure and write."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    if args.rehearse:
        CLOCK[:] = ["simulated"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine, observer = [driver()], Observer()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if args.episodes:
                keep(args, rate(Path(scratch), args.episodes))
            for fault in rows(args, observer, Path(scratch), machine):
                keep(args, {}, fault)
    finally:
        observer.close()
        machine[0].end()


def keep(args: Args, found: dict[str, Any], fault: Fault | None = None) -> None:
    """Print what was measured, and write it at once, in the place of what was measured before."""
    sys.stdout.write(f"{fault or found}\n")
    sys.stdout.flush()
    if args.rehearse:
        return
    old = json.loads(args.out.read_text()) if args.out.exists() else {"faults": []}
    known = {line["fault"]: line for line in old["faults"]}
    if fault is not None:
        known[fault.fault] = asdict(fault)
    lines = [known[name] for name in ALL if name in known]
    record = {**old, **found, "faults": lines, "machine": _machine()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n")


def _machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "nice": os.nice(0), "python": platform.python_version()}


if __name__ == "__main__":
    main(tyro.cli(Args))
