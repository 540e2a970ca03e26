"""How long one score takes, beside what others do on the same weights and clips: `python -m benchmarks.score_latency`.

`generate` and `ten prefixes` are the public wrappers' way (`benchmarks/wrapper_path.py`), `forward` is the bare forward
pass of transformers on tensors that lie ready, with our patch embedding. The wrappers have no batch: their time per clip
is the same for any number. On a CPU these are compared by CPU time, because on a shared machine wall time measures the
neighbours; only a batch, which is shared between cores, is compared with single clips by wall time, and
with single clips to which all cores are given; `cores_used` says how many cores it got, and the summary leaves out the gain
that was measured while a neighbour held one. Each cell is saved when it is measured: run it again to go on, `--limit-s` to stop
in between. `--shape 4b` or `8b` times random weights of the published sizes on a GPU instead, by the wall clock.
"""

import itertools
import json
import math
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import transformers
import tyro
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from benchmarks.random_checkpoint import SHAPES, write_checkpoint
from benchmarks.wrapper_path import WrapperPath
from reward_models.nano import WEIGHTS
from reward_models.protocol.frames import sample_clip
from reward_models.protocol.inputs import move
from reward_models.qwen3vl.batching import free_cores
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip

UNDISTURBED = 0.85
"""Part of the machine's cores below which a neighbour held one, so that the gain of a batch was not measured."""
RESULTS = Path(__file__).parent / "results"
TASK = "put the duck on the towel"
SINGLES = 8
"""Most clips of a batch that are also scored one by one, to compare."""
GOALS = {
    "ratio_vs_generate": ">= 3",
    "ratio_vs_ten_prefixes": ">= 10",
    "ratio_to_bare_forward": "<= 1.3",
    "batch32_ratio_vs_single": ">= 1.5",
}


class Cell(NamedTuple):
    """One line of the table."""

    weights: str
    frames: int
    height: int
    width: int
    batch: int


@dataclass(frozen=True)
class LatencyConfig:
    """What to time."""

    weights: tuple[Literal["nano", "mid", "tiny"], ...] = ("nano", "mid")
    """roboreward-nano; a random Qwen3-VL of 150 million parameters with the real vocabulary; a tiny one."""
    frames: tuple[int, ...] = (8, 32, 120)
    """Lengths of the episodes."""
    sizes: tuple[tuple[int, int], ...] = ((192, 320), (480, 640))
    """Height and width of the frames."""
    batches: tuple[int, ...] = (1, 8, 32)
    """Clips scored in one call."""
    repeats: int = 3
    """Measurements of each cell, after one that is thrown away; the median is reported."""
    threads: int = 1
    """Threads of torch."""
    device: str = "cpu"
    """Where to run."""
    shape: Literal["4b", "8b", "tiny"] | None = None
    """Time this published size with random weights instead, ours and the bare pass only."""
    limit_s: float = math.inf
    """Begin no new cell after this many seconds."""
    out: Path = field(default=RESULTS)
    """Folder of the results."""
    seed: int = 0
    """Seed of the pixels."""

    def __post_init__(self) -> None:
        if min((self.repeats, self.threads, *self.frames, *self.batches)) < 1:
            raise ValueError("repeats, threads, frames and batches must be at least 1.")

    @property
    def cells(self) -> list[Cell]:
        """What is measured, single clips first."""
        names = self.weights if self.shape is None else (self.shape,)
        shapes = itertools.product(names, self.batches, self.frames, self.sizes)
        return [Cell(name, frames, *size, batch) for name, batch, frames, size in shapes]


@dataclass(frozen=True)
class Bench:
    """One set of weights, as ours and as the original model."""

    reward_model: RoboReward
    wrapper: WrapperPath | None

    def forward(self, clips: list[Clip]) -> Callable[[], object]:
        """Prepare tensors; return a function that only runs the model on them, in as large batches as we do."""
        reward_model, size = self.reward_model, self.reward_model.batch_size
        batches = [clips[i : i + size] for i in range(0, len(clips), size)]
        ready = [
            move(
                reward_model.prepare([sample_clip(clip) for clip in batch]),
                reward_model.model.device,
            )
            for batch in batches
        ]

        @torch.inference_mode()
        def run() -> None:
            for inputs in ready:
                reward_model.model(**inputs, use_cache=False, logits_to_keep=1).logits.sum().item()

        return run

    def jobs(self, clips: list[Clip], threads: int) -> dict[str, Callable[[], object]]:
        """What is timed on these clips; the wrappers' way on the first only, as it has no batch."""
        jobs: dict[str, Callable[[], object]] = {
            "ours": lambda: self.reward_model.score(clips),
            "forward": self.forward(clips),
        }
        wrapper = self.wrapper
        if wrapper is not None:
            # In favour of the wrapper: it is given the eight frames that the protocol chooses.
            seen = Clip(np.ascontiguousarray(sample_clip(clips[0]).frames), TASK, 1.0)
            jobs["generate"] = lambda: wrapper.score(seen)
        if len(clips) > 1:
            # Measured again beside the batch, so that both meet the same neighbours.
            few = clips[:SINGLES]
            jobs["single"] = lambda: [self.reward_model.score([clip]) for clip in few]
            if self.reward_model.model.device.type == "cpu":
                jobs["single_on_all_cores"] = lambda: score_on_all_cores(
                    self.reward_model, few, threads
                )
        elif wrapper is not None:
            jobs["ten_prefixes"] = lambda: wrapper.score_prefixes(clips[0])
        return jobs


def score_on_all_cores(reward_model: RoboReward, clips: list[Clip], threads: int) -> None:
    """Score one clip at a time, with a thread of torch on each core."""
    torch.set_num_threads(threads * free_cores())
    for clip in clips:
        reward_model.score([clip])
    torch.set_num_threads(threads)


def load(name: str, config: LatencyConfig, folder: Path) -> Bench:
    """Write random weights if need be, and load them: as ours, and except for a shape on a GPU as the original too."""
    if name != "nano":
        taught = config.shape is None
        write_checkpoint(folder, SHAPES[name], shard_bytes=5_000_000_000, taught=taught)
    source = WEIGHTS if name == "nano" else folder
    dtype = torch.bfloat16 if config.shape is not None else None
    batch = 32 if config.device != "cpu" else None
    reward_model = RoboReward(
        source,
        name=name,
        device=config.device,
        dtype=dtype,
        batch_size=batch,
        off_format_limit=1.0,
    )
    if config.shape is not None:
        return Bench(reward_model, None)
    original = Qwen3VLForConditionalGeneration.from_pretrained(
        source, dtype=reward_model.model.dtype
    )
    processor = Qwen3VLProcessor.from_pretrained(source, local_files_only=True)
    return Bench(reward_model, WrapperPath(original.eval().to(config.device), processor))


def make_clips(cell: Cell, seed: int) -> list[Clip]:
    """A still picture of noise for as long as an episode at 5 Hz takes: what is seen makes no difference to the time."""
    rng = np.random.default_rng(seed)
    picture = (cell.batch, 1, cell.height, cell.width, 3)
    shape = (cell.frames, *picture[2:])
    return [
        Clip(np.broadcast_to(frame, shape), TASK, 5.0)
        for frame in rng.integers(0, 256, picture, dtype=np.uint8)
    ]


def measure(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """Time the jobs in turns, so that a neighbour's load meets all of them.

    Returns:
        For each `(repeats, 2)`, wall time and CPU time in [s].
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            wall, processor = time.perf_counter(), time.process_time()
            job()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: np.array(values) for name, values in times.items()}


def clips_of(job: str, batch: int) -> int:
    """How many clips a job scores."""
    if job in ("generate", "ten_prefixes"):
        return 1
    return min(SINGLES, batch) if job.startswith("single") else batch


def measure_cell(cell: Cell, bench: Bench, config: LatencyConfig) -> dict[str, Any]:
    """One line of the table."""
    times = measure(bench.jobs(make_clips(cell, config.seed), config.threads), config.repeats)
    parameters = sum(parameter.numel() for parameter in bench.reward_model.model.parameters())
    row: dict[str, Any] = {
        **cell._asdict(),
        "parameters": parameters,
        "repeats": config.repeats,
        "cores": free_cores(),
    }
    for job, values in times.items():
        scored = clips_of(job, cell.batch)
        wall, processor = np.median(values, 0) / scored * 1e3
        row[f"{job}_ms_per_clip"] = round(float(processor if config.device == "cpu" else wall), 2)
        row[f"{job}_wall_ms_per_clip"] = round(float(wall), 2)
        row[f"{job}_p95_wall_ms"] = round(float(np.percentile(values[:, 0], 95)) * 1e3, 2)
    if "generate" in times and bench.wrapper is not None:
        row["generated_tokens"] = bench.wrapper.tokens
    return row


def ratios_of(row: dict[str, Any], single: dict[str, Any] | None) -> dict[str, float]:
    """How much faster ours is in one cell, and how much longer it takes than the bare pass."""
    ours, wall = row["ours_ms_per_clip"], row["ours_wall_ms_per_clip"]
    ratios = {"ratio_to_bare_forward": ours / row["forward_ms_per_clip"]}
    if "generate_ms_per_clip" in row:
        ratios["ratio_vs_generate"] = row["generate_ms_per_clip"] / ours
    if single is not None and "ten_prefixes_ms_per_clip" in single:
        # Too long to be measured in every cell; how they compare with `generate` is the same in all.
        times = single["ten_prefixes_ms_per_clip"] / single["generate_ms_per_clip"]
        ratios["ratio_vs_ten_prefixes"] = times * row["generate_ms_per_clip"] / ours
    for job in ("single", "single_on_all_cores"):
        if f"{job}_wall_ms_per_clip" in row:
            name = f"batch{row['batch']}_ratio_vs_{job}"
            ratios[name] = row[f"{job}_wall_ms_per_clip"] / wall
    if "single_on_all_cores_wall_ms_per_clip" in row:
        ratios["cores_used"] = ours / wall
    return {key: round(value, 2) for key, value in ratios.items()}


def add_ratios(rows: list[dict[str, Any]]) -> None:
    """Write into each cell how it compares."""
    singles = {shape_of(row): row for row in rows if row["batch"] == 1}
    for row in rows:
        row["ratios"] = ratios_of(row, singles.get(shape_of(row)))


def shape_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What cells of different batches have in common."""
    return tuple(row[key] for key in ("weights", "frames", "height", "width"))


def summarize(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Each ratio's median over the cells that have it, and the worst; of batches that had the cores they asked for."""
    found = defaultdict(list)
    for row in rows:
        disturbed = row["ratios"].get("cores_used", math.inf) < UNDISTURBED * row.get("cores", 1)
        for key, value in row["ratios"].items():
            if not (disturbed and "vs_single" in key):
                found[key].append(value)
    summary = {}
    for key, values in found.items():
        worst = max(values) if key == "ratio_to_bare_forward" else min(values)  # or fewest cores
        summary |= {key: round(statistics.median(values), 2), f"{key}_worst": worst}
    return summary


def describe_machine(config: LatencyConfig) -> dict[str, Any]:
    """Say on what and with what it was measured."""
    cuda = config.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(config.device)
        if cuda
        else f"{platform.machine()} CPU, {free_cores() * torch.get_num_threads()} cores",
        "clock": "processor, and wall for batches" if config.device == "cpu" else "wall",
        "threads": config.threads,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


class Table:
    """The cells measured so far, on disk after each."""

    def __init__(self, path: Path, config: LatencyConfig) -> None:
        self._path = path
        self._machine = describe_machine(config)
        self.rows: list[dict[str, Any]] = []
        known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        if {key: known.get(key) for key in self._machine} == self._machine:
            self.rows = known["table"]

    def has(self, cell: Cell) -> bool:
        """Whether it was measured before, on the same machine."""
        return any(cell == Cell(*(row[key] for key in Cell._fields)) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Add a cell and save all."""
        self.rows.append(row)
        add_ratios(self.rows)
        by_weights = {
            name: summarize([row for row in self.rows if row["weights"] == name])
            for name in dict.fromkeys(row["weights"] for row in self.rows)
        }
        headline = next(iter(by_weights))
        result = {
            "headline": headline,
            **by_weights[headline],
            "goals": GOALS,
            **self._machine,
            "date": datetime.now(UTC).date().isoformat(),
            "by_weights": by_weights,
            "table": self.rows,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        partial.replace(self._path)

    def print(self) -> None:
        """Write the cells for people."""
        for row in self.rows:
            place = f"{row['weights']} {row['frames']}x{row['width']}x{row['height']} batch {row['batch']}"
            times = {k: v for k, v in row.items() if k.endswith("_ms_per_clip") and "wall" not in k}
            print(
                f"{place:>32}",
                *(f"{k.removesuffix('_ms_per_clip')} {v:.1f} ms" for k, v in times.items()),
                *(f"{key} {value}" for key, value in row["ratios"].items()),
                sep=", ",
            )


def main(config: LatencyConfig) -> None:
    """Measure what is missing, print and save."""
    torch.set_num_threads(config.threads)
    began = time.monotonic()
    name = "score_latency" if config.shape is None else f"score_latency_{config.shape}"
    table = Table(config.out / f"{name}.json", config)
    todo = [cell for cell in config.cells if not table.has(cell)]
    cuda = config.device.startswith("cuda")
    with tqdm(total=len(todo), unit="cell", desc="score latency") as progress:
        for weights, cells in itertools.groupby(todo, lambda cell: cell.weights):
            if time.monotonic() - began > config.limit_s:
                break
            with tempfile.TemporaryDirectory() as folder:
                bench = load(weights, config, Path(folder))
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            for cell in cells:
                if time.monotonic() - began > config.limit_s:
                    break
                row = measure_cell(cell, bench, config)
                if cuda:
                    row["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
                table.add(row)
                progress.update()
    table.print()


if __name__ == "__main__":
    main(tyro.cli(LatencyConfig, description=__doc__))
