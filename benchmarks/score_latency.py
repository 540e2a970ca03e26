"""How long one score takes, beside what others do on the same weights and clips: `python -m benchmarks.score_latency`.

`generate` and `ten prefixes` are the public wrappers' way (`benchmarks/wrapper_path.py`), `forward` is the bare forward
pass of our model on tensors that lie ready. The wrappers have no batch: their time per clip is the same for any number.
On a CPU the time is that of the processor with one thread, because on a shared machine the clock on the wall measures the
neighbours. `--shape 4b` or `8b` times random weights of the published sizes on a GPU instead, by the wall clock.
"""

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
import tyro
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.random_checkpoint import SHAPES, write_checkpoint
from benchmarks.wrapper_path import WrapperPath
from reward_models.nano import WEIGHTS
from reward_models.protocol import sample_clip
from reward_models.roboreward import RoboReward
from roboreward_gym import Clip

RESULTS = Path(__file__).parent / "results"
TASK = "put the duck on the towel"
GOALS = {
    "ratio_vs_generate": ">= 3",
    "ratio_vs_ten_prefixes": ">= 10",
    "ratio_to_bare_forward": "<= 1.3",
    "batch32_ratio_vs_single": ">= 1.5",
}


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
    out: Path = field(default=RESULTS)
    """Folder of the results."""
    seed: int = 0
    """Of the pixels."""

    def __post_init__(self) -> None:
        if min((self.repeats, self.threads, *self.frames, *self.batches)) < 1:
            raise ValueError("Expected repeats, threads, frames and batches of at least 1.")


@dataclass(frozen=True)
class Bench:
    """One set of weights, as ours and as the original model."""

    judge: RoboReward
    wrapper: WrapperPath | None

    def forward(self, clips: list[Clip]) -> Callable[[], object]:
        """Prepare tensors; return a function that only runs the model on them."""
        judge = self.judge
        size = judge.batch_size
        batches = [clips[i : i + size] for i in range(0, len(clips), size)]
        ready = [
            judge.prepare([sample_clip(clip) for clip in batch]).to(judge.model.device)
            for batch in batches
        ]

        @torch.inference_mode()
        def run() -> None:
            for inputs in ready:
                judge.model(**inputs, use_cache=False, logits_to_keep=1).logits.sum().item()

        return run


def load(name: str, device: str, folder: Path) -> Bench:
    """Load the same weights twice."""
    if name != "nano":
        write_checkpoint(folder, SHAPES[name], shard_bytes=1_000_000_000)
    source = WEIGHTS if name == "nano" else folder
    judge = RoboReward(source, name=name, device=device, batch_size=32, off_format_limit=1.0)
    original = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=judge.model.dtype)
    return Bench(judge, WrapperPath(original.eval().to(device), judge.processor))


def make_clips(count: int, frames: int, size: tuple[int, int], seed: int) -> list[Clip]:
    """Noise; an episode at 5 Hz."""
    rng = np.random.default_rng(seed)
    shape = (count, frames, *size, 3)
    return [Clip(clip, TASK, 5.0) for clip in rng.integers(0, 256, shape, dtype=np.uint8)]


def measure(
    jobs: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Time the jobs in turns, so that a neighbour's load meets all of them, in [s]."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            began = clock()
            job()
            if turn:
                times[name].append(clock() - began)
    return times


def jobs_of(bench: Bench, clips: list[Clip]) -> dict[str, Callable[[], object]]:
    """What is timed on these clips; the wrappers' way on single clips only, as it has no batch."""
    jobs: dict[str, Callable[[], object]] = {
        "ours": lambda: bench.judge.score(clips),
        "forward": bench.forward(clips),
    }
    wrapper = bench.wrapper
    if len(clips) == 1 and wrapper is not None:
        # In favour of the wrapper: it is given the eight frames that the protocol chooses.
        seen = Clip(np.ascontiguousarray(sample_clip(clips[0]).frames), TASK, 1.0)
        jobs["generate"] = lambda: wrapper.score(seen)
        jobs["ten_prefixes"] = lambda: wrapper.score_prefixes(clips[0])
    return jobs


def rows_of(name: str, bench: Bench, config: LatencyConfig, progress: tqdm) -> list[dict[str, Any]]:
    """Measure every cell of one set of weights."""
    rows = []
    clock = time.process_time if config.device == "cpu" else time.perf_counter
    for frames in config.frames:
        for size in config.sizes:
            for batch in config.batches:
                clips = make_clips(batch, frames, size, config.seed)
                jobs = jobs_of(bench, clips)
                times = measure(jobs, config.repeats, clock)
                row = {"weights": name, "frames": frames, "size": list(size), "batch": batch}
                for job, values in times.items():
                    row[f"{job}_ms_per_clip"] = round(statistics.median(values) / batch * 1e3, 2)
                    row[f"{job}_p95_ms"] = round(float(np.percentile(values, 95)) * 1e3, 2)
                if "generate" in times and bench.wrapper is not None:
                    row["generated_tokens"] = bench.wrapper.tokens
                rows.append(row)
                progress.update()
    return rows


def summarize(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Ratios, each the median over the cells where both were measured."""

    def ratio(above: str, below: str, *, single: bool) -> float | None:
        values = [
            row[f"{above}_ms_per_clip"] / row[f"{below}_ms_per_clip"]
            for row in rows
            if f"{above}_ms_per_clip" in row and (row["batch"] == 1 or not single)
        ]
        return round(statistics.median(values), 2) if values else None

    largest = max(row["batch"] for row in rows)
    by_cell = {(row["frames"], *row["size"], row["batch"]): row["ours_ms_per_clip"] for row in rows}
    gains = [
        by_cell[(*cell[:3], 1)] / value
        for cell, value in by_cell.items()
        if cell[3] == largest > 1 and (*cell[:3], 1) in by_cell
    ]
    return {
        "ratio_vs_generate": ratio("generate", "ours", single=True),
        "ratio_vs_ten_prefixes": ratio("ten_prefixes", "ours", single=True),
        "ratio_to_bare_forward": ratio("ours", "forward", single=False),
        f"batch{largest}_ratio_vs_single": round(statistics.median(gains), 2) if gains else None,
    }


def describe_machine(config: LatencyConfig) -> dict[str, Any]:
    """Say on what, when and with what it was measured."""
    cuda = config.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(config.device)
        if cuda
        else platform.machine() + " CPU",
        "clock": "wall" if config.device != "cpu" else "processor",
        "threads": config.threads,
        "repeats": config.repeats,
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def compare(config: LatencyConfig) -> dict[str, Any]:
    """Compare ours with the wrappers' way on every set of weights."""
    cells = len(config.weights) * len(config.frames) * len(config.sizes) * len(config.batches)
    rows = []
    with tqdm(total=cells, unit="cell", desc="score latency") as progress:
        for name in config.weights:
            with tempfile.TemporaryDirectory() as folder:
                bench = load(name, config.device, Path(folder))
                rows += rows_of(name, bench, config, progress)
    by_weights = {
        name: summarize([row for row in rows if row["weights"] == name]) for name in config.weights
    }
    return {
        "headline": config.weights[0],
        **by_weights[config.weights[0]],
        "goals": GOALS,
        **describe_machine(config),
        "by_weights": by_weights,
        "table": rows,
    }


def time_shape(config: LatencyConfig) -> dict[str, Any]:
    """Time a published size with random bfloat16 weights."""
    assert config.shape is not None
    cells = len(config.frames) * len(config.sizes) * len(config.batches)
    with tempfile.TemporaryDirectory() as name, tqdm(total=cells, unit="cell") as progress:
        folder = write_checkpoint(
            Path(name), SHAPES[config.shape], shard_bytes=5_000_000_000, taught=False
        )
        judge = RoboReward(
            folder,
            name=config.shape,
            device=config.device,
            dtype=torch.bfloat16,
            batch_size=32,
            off_format_limit=1.0,
        )
        if config.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        rows = rows_of(config.shape, Bench(judge, None), config, progress)
    peak = torch.cuda.max_memory_allocated() if config.device.startswith("cuda") else None
    parameters = sum(parameter.numel() for parameter in judge.model.parameters())
    ratios = {key: value for key, value in summarize(rows).items() if value is not None}
    return {
        "shape": config.shape,
        "parameters": parameters,
        "peak_memory_bytes": peak,
        **ratios,
        **describe_machine(config),
        "table": rows,
    }


def main(config: LatencyConfig) -> None:
    """Measure, print and save."""
    torch.set_num_threads(config.threads)
    result = compare(config) if config.shape is None else time_shape(config)
    config.out.mkdir(parents=True, exist_ok=True)
    name = "score_latency" if config.shape is None else f"score_latency_{config.shape}"
    (config.out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in result["table"]:
        times = {key: value for key, value in row.items() if key.endswith("_ms_per_clip")}
        place = f"{row['weights']} {row['frames']}x{row['size'][1]}x{row['size'][0]} batch {row['batch']}"
        print(
            f"{place:>32}",
            *(f"{key.removesuffix('_ms_per_clip')} {value:.1f} ms" for key, value in times.items()),
        )
    print(json.dumps({k: v for k, v in result.items() if k != "table"}, indent=2))


if __name__ == "__main__":
    main(tyro.cli(LatencyConfig, description=__doc__))
