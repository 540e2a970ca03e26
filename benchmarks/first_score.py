"""How long a user waits for nano's first score, and what is printed meanwhile: `python -m benchmarks.first_score`.

Fresh processes, one after the other: importing the plugin, then loading nano by its name and scoring one clip. `transformers`
is the same through transformers' Qwen3-VL, as it was before nano had a forward pass of its own. CPU time stands beside wall
time, because other programs share the machine; figures are medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from roboreward_gym._cli import run_program

RESULT = Path(__file__).parent / "results" / "first_score.json"
PROGRAM = """
import json, pathlib, sys, time
begun = time.perf_counter(), time.process_time()
import numpy as np
from roboreward_gym import Clip, load_reward_model
imported = time.perf_counter(), time.process_time()
if sys.argv[1] == "torch":
    model = load_reward_model("roboreward-nano")
else:
    from reward_models.nano import WEIGHTS
    from reward_models.qwen3vl.roboreward import RoboReward
    model = RoboReward(WEIGHTS, device="cpu", library="transformers")
frames = np.random.default_rng(0).integers(0, 256, (25, 192, 256, 3), dtype=np.uint8)
score, = model.score([Clip(frames, "put the duck on the towel", 5.0)])
scored = time.perf_counter(), time.process_time()
found = {"import_s": imported[0] - begun[0], "import_cpu_s": imported[1] - begun[1]}
found |= {"first_score_s": scored[0] - imported[0], "first_score_cpu_s": scored[1] - imported[1]}
found |= {"off_format": score.off_format, "level": score.level}
pathlib.Path(sys.argv[2]).write_text(json.dumps(found))
"""
TIMES = ("import_s", "import_cpu_s", "first_score_s", "first_score_cpu_s")


@dataclass(frozen=True)
class Config:
    """How often to look."""

    processes: int = 5
    """Fresh processes of each kind."""
    out: Path = RESULT
    """Where the figures go."""


def look(library: str) -> dict[str, Any]:
    """One fresh process: its times, and how many lines it printed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [sys.executable, "-c", PROGRAM, library, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(path.read_text("utf-8"))
    return {**found, "lines_printed": len((done.stdout + done.stderr).splitlines())}


def measure(library: str, count: int) -> dict[str, Any]:
    """Medians of several processes, and the shortest wall time."""
    rows = [look(library) for _ in tqdm(range(count), desc=library)]
    medians = {name: round(statistics.median(r[name] for r in rows), 2) for name in TIMES}
    shortest = round(min(row["first_score_s"] for row in rows), 2)
    lines = max(row["lines_printed"] for row in rows)
    return {**medians, "shortest_first_score_s": shortest, "lines_printed": lines}


def main(config: Config) -> None:
    """Measure both and write the figures."""
    ours, theirs = measure("torch", config.processes), measure("transformers", config.processes)
    result = {
        **ours,
        "transformers": theirs,
        "ratio_cpu": round(theirs["first_score_cpu_s"] / ours["first_score_cpu_s"], 1),
        "processes": config.processes,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    config.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    tqdm.write(json.dumps(result, indent=2))


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
