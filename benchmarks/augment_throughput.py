"""How fast `roboreward augment` is without calls of models, and how that grows with workers: `python -m benchmarks.augment_throughput`.

Adds `examples_per_s_per_core`, `throughput` and `ray_equal` to `benchmarks/results/augment.json`. Every set is compared with that of one
process, file by file. Some minutes on one core, most of them the starts of Ray's processes; the machine's load is noted beside the rates,
because it decides what workers gain.

`start_s` is the time to the first video, `examples_per_s` the rate from then to the last one, `cpu_s_per_example` the CPU time of all
processes less what a run of a few episodes takes. Ray's processes are no children that can be waited for, so their CPU time is not known.
"""

import json
import os
import resource
import shutil
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
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

    episodes: int = 30
    """Simulated successes per scene."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of processes, and of workers on a local Ray cluster."""
    repeats: int = 3
    """Runs in this process; the median is reported. Those with workers are run once."""
    folder: Path = Path("runs/augment")
    """Where data are kept; the simulated set is made once."""


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        examples: Examples in the set.
        start_s: Wall time until the first video was written, in [s].
        rate: Examples per second from then until the last video.
        cpu_s: CPU time of this process and of all that it waited for, in [s].
        files: Content of the files by name.
    """

    examples: int
    start_s: float
    rate: float
    cpu_s: float
    files: dict[str, bytes]


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a set but its cache of answers and what names the run."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_COMPARED)
    names = {path.relative_to(folder): path for path in files}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in names.items()
        if name.parts[0] != "cache" and not path.name.startswith(".")
    }


def cpu_s() -> float:
    """CPU time of this process and of its children that ended, in [s]."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(config: AugmentConfig) -> Run:
    """Make the set anew and note what it took."""
    shutil.rmtree(config.out, ignore_errors=True)
    began, used = time.time(), cpu_s()
    summary = run(config)
    written = sorted(path.stat().st_mtime for path in config.out.rglob("*.mp4"))
    seconds = max(written[-1] - written[0], 1e-3)
    return Run(
        examples=summary.examples,
        start_s=written[0] - began,
        rate=len(written) / seconds,
        cpu_s=cpu_s() - used,
        files=tree(config.out),
    )


def row(place: str, workers: int, run: Run, first: Run | None) -> dict[str, Any]:
    """A row of the table; `first` is a short run at the same place, to leave the start out."""
    measured: dict[str, Any] = {
        "place": place,
        "workers": workers,
        "start_s": round(run.start_s, 1),
        "examples_per_s": round(run.rate, 1),
    }
    if first is not None:
        each = (run.cpu_s - first.cpu_s) / (run.examples - first.examples)
        measured["cpu_s_per_example"] = round(each, 4)
    return measured


def alone(config: AugmentConfig, repeats: int) -> tuple[list[dict[str, Any]], float, Run]:
    """Run in this process; its row, examples per second of CPU time, and the last run."""
    first = timed(replace(config, limit=1))
    runs = [timed(config) for _ in range(repeats)]
    middle = sorted(runs, key=lambda one: one.rate)[len(runs) // 2]
    per_core = statistics.median(one.examples / one.cpu_s for one in runs)
    return [row("one process", 1, middle, first)], round(per_core, 1), runs[-1]


def with_workers(
    config: AugmentConfig,
    workers: tuple[int, ...],
    files: dict[str, bytes],
    note: Callable[..., None],
) -> None:
    """Run in processes and on a Ray cluster, and note each as soon as it is done."""
    for count in workers:
        place = Place(count)
        if not place.here:
            # So many that every process has started before the last of them.
            first = timed(replace(config, place=place, limit=4 * count))
            found = timed(replace(config, place=place))
            note(row("processes", count, found, first), processes_equal=found.files == files)
    # Ray's workers run at nice 15 by default: where other programs wait for the cores too, they hardly run at all.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - its name
    with ExitStack() as cluster:
        import ray

        # One cluster for all runs: its start is not what grows with workers. Ray Data wants a CPU beside the workers'.
        ray.init(
            address="local",
            num_cpus=max(workers) + 1,
            include_dashboard=False,
            log_to_driver=False,
        )
        cluster.callback(ray.shutdown)
        for count in workers:
            found = timed(replace(config, place=Place(count, ray="auto")))
            note(row("ray", count, found, None), ray_equal=found.files == files)


def main() -> None:
    """Command line."""
    config = tyro.cli(ThroughputConfig, description=__doc__)
    prepare(threads=1)
    source = config.folder / f"simulated-{config.episodes}"
    if not (source / "truth.jsonl").exists():
        shutil.rmtree(source, ignore_errors=True)
        collect(PublishedDataConfig(source, config.episodes, video=AS_RENDERED))
    out = config.folder / "out-throughput"
    base = AugmentConfig(f"simulator:{source}", out, GRAMMAR, video=AS_RENDERED, concurrency=1)
    rows, per_core, whole = alone(base, config.repeats)
    found: dict[str, Any] = {"examples_per_s_per_core": per_core, "throughput": rows}
    found["throughput_examples"] = whole.examples
    found["throughput_cores"] = os.cpu_count()

    def note(measured: dict[str, Any], **equal: bool) -> None:
        load = round(os.getloadavg()[0], 1)
        rows.append({**measured, "load_average": load})
        for name, value in equal.items():
            found[name] = found.get(name, True) and value
        record(RESULTS, **found)
        print(json.dumps(rows[-1] | equal), flush=True)

    with_workers(base, config.workers, whole.files, note)


if __name__ == "__main__":
    main()
