"""How fast `roboreward augment` is without calls of models, and how that grows with workers: `python -m benchmarks.augment_throughput`.

Adds `examples_per_s_per_core`, `workers` and `ray_equal` to `benchmarks/results/augment.json`. Every set is compared with that of one
process, file by file.
"""

import json
import shutil
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks.augment import AS_RENDERED, GRAMMAR, RESULTS
from benchmarks.foundations import record
from experiments.simulation.published_data import PublishedDataConfig, collect
from experiments.workers import prepare
from reward_models.augment.config import AugmentConfig
from reward_models.augment.run import run
from reward_models.scale.places import Place

NOT_COMPARED = {"config.json", "README.md"}
"""Files that name the folder and the settings of the run."""


@dataclass(frozen=True)
class ThroughputConfig:
    """How much is measured."""

    episodes: int = 50
    """Simulated successes per scene."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of processes, and of workers on a local Ray cluster."""
    repeats: int = 3
    """Runs of each; the median is reported."""
    folder: Path = Path("runs/augment")
    """Where data are kept; the simulated set is made once."""


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a set but its cache of answers and what names the run."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_COMPARED)
    names = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if name.parts[0] != "cache" and not path.name.startswith(".")
    }


def measure(config: AugmentConfig, repeats: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Run several times; examples per second, and the files of the last run."""
    rates, cpu = [], []
    for _ in range(repeats):
        shutil.rmtree(config.out, ignore_errors=True)
        began, used = time.perf_counter(), time.process_time()
        summary = run(config)
        rates.append(summary.examples / (time.perf_counter() - began))
        cpu.append(summary.examples / (time.process_time() - used))
    measured = {"examples_per_s": round(statistics.median(rates), 1)}
    if config.place.here:
        measured["examples_per_s_per_core"] = round(statistics.median(cpu), 1)
    return measured, tree(config.out)


def main() -> None:
    """Command line."""
    config = tyro.cli(ThroughputConfig, description=__doc__)
    prepare(threads=1)
    source = config.folder / f"simulated-{config.episodes}"
    if not (source / "truth.jsonl").exists():
        shutil.rmtree(source, ignore_errors=True)
        collect(PublishedDataConfig(source, config.episodes, video=AS_RENDERED))
    base = AugmentConfig(
        f"simulator:{source}",
        config.folder / "out-throughput",
        GRAMMAR,
        video=AS_RENDERED,
        concurrency=1,
    )
    alone, files = measure(base, config.repeats)
    rows, equal = (
        [{"place": "one process", "workers": 1, **alone}],
        {"processes": True, "ray": True},
    )
    for place in ("processes", "ray"):
        for workers in config.workers:
            where = Place(workers, ray="local" if place == "ray" else None)
            if where.here:
                continue
            measured, made = measure(replace(base, place=where), config.repeats)
            equal[place] &= made == files
            rows.append({"place": place, "workers": workers, **measured})
    found = {
        "examples_per_s_per_core": alone["examples_per_s_per_core"],
        "throughput": rows,
        "processes_equal": equal["processes"],
        "ray_equal": equal["ray"],
    }
    record(RESULTS, **found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
