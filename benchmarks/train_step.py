"""One optimizer step of a checkpoint in the shape of 4B, and the plan of memory beside what it took: `python -m benchmarks.train_step`.

Random weights, the real vocabulary and width, but few layers, so that it fits a laptop: about 7 GB and some minutes on a CPU.
Each method runs in a process of its own, of which the peak after loading is taken. `planned_gb` is the plan without its reserve for CUDA
and libraries (`reserve_gb`). Written to `benchmarks/results/train_step.json`. With all layers on a GPU:
`--device cuda --layers 0 --batch-size 8 --steps 8 --out benchmarks/results/train_step_gpu.json`; the time of a step is the median of
all but the first.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import torch
import tyro
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.random_checkpoint import SHAPES, write_checkpoint
from benchmarks.train_throughput import examples
from reward_models.bench.peak_memory import main_memory_mb
from reward_models.qwen3vl.shapes import Shape, shape_config
from reward_models.training import run
from reward_models.training.config import NAMED, LoraSettings, SftConfig
from reward_models.training.plan import OVERHEAD_BYTES, Need, needs
from reward_models.training.projector import freeze

RESULTS = Path(__file__).parent / "results" / "train_step.json"
METHODS = ("all weights", "LoRA")
FORGET_PEAK = Path("/proc/self/clear_refs")
"""Linux begins to count the peak of a process anew when a 5 is written here."""


@dataclass(frozen=True)
class Config:
    """What to run."""

    size: str = "4b"
    """Shape: 4b or 8b; mid and tiny try the program itself."""
    layers: int = 2
    """Layers of the language model and of the tower that are kept; deepstack features come from the first. 0 keeps all."""
    batch_size: int = 1
    """Examples in a step."""
    steps: int = 1
    """Optimizer steps."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where."""
    threads: int = 1
    """CPU threads."""
    method: str = ""
    """Run only this one, in this process; for the program itself."""
    checkpoint: Path | None = None
    """Likewise: its checkpoint."""
    out: Path = RESULTS
    """File to write."""


def cut_shape(config: Config) -> Shape:
    """Return the shape with few layers."""
    if not config.layers:
        return SHAPES[config.size]
    return replace(SHAPES[config.size], depth=config.layers, vision_depth=config.layers, taps=(0,))


def settings(config: Config, method: str) -> SftConfig:
    """Return the authors' settings with few steps; half precision, because float32 does not fit a laptop."""
    return replace(
        NAMED["roboreward-8b" if config.size == "8b" else "roboreward-4b"].sft,
        steps=config.steps,
        batch_size=config.batch_size,
        accumulation=1,
        precision="bfloat16",
        device="cpu" if config.device == "cpu" else "auto",
        lora=LoraSettings() if method == "LoRA" else None,
        log_every=1,
    )


def step(config: Config) -> None:
    """Take the steps in this process and print what they needed."""
    torch.set_num_threads(config.threads)
    assert config.checkpoint is not None
    before = taken_gb(config)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=config.checkpoint.parent) as folder:
        out = Path(folder) / "run"
        data = examples(config.batch_size)
        sft = settings(config, config.method)
        # The peak of the step: loading maps the files beside the model, and writing the model loads it a second time.
        peaks: list[float] = []

        # One after each step, and one before the first.
        moments: list[float] = []

        def forget_peak(*args: Any, **kwargs: Any) -> None:
            if config.device == "cpu":
                FORGET_PEAK.write_text("5", encoding="ascii")
            else:
                torch.cuda.reset_peak_memory_stats()
            freeze(*args, **kwargs)

        def note_peak(*_: Path) -> None:
            peaks.append(taken_gb(config))

        with (
            mock.patch.object(run, "freeze", forget_peak),
            mock.patch.object(run, "export_best", note_peak),
            mock.patch.object(run, "ValidateLast", return_value=Moments(moments)),
        ):
            run.fine_tune(config.checkpoint, sft, data, None, out)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    result = {
        "peak_gb": round(peaks[0] - before, 2),
        "seconds": round(time.monotonic() - began, 1),
        "step_seconds": [round(b - a, 3) for a, b in itertools.pairwise(moments)],
        "loss": next(row["loss"] for row in rows if "loss" in row),
        "gradient_norm": next(row["grad_norm"] for row in rows if "grad_norm" in row),
    }
    print(json.dumps(result))


class Moments(TrainerCallback):
    """Notes when each step ends, and saves nothing.

    Args:
        moments: Where to.
    """

    def __init__(self, moments: list[float]) -> None:
        self._moments = moments

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the beginning."""
        del args, state, control
        self._moments.append(time.monotonic())

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note the time when the device is done."""
        del args, state
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        control.should_save = False
        self._moments.append(time.monotonic())


def taken_gb(config: Config) -> float:
    """The most memory of the device that this process has taken so far."""
    if config.device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    taken = main_memory_mb()
    assert taken is not None
    return taken * 2**20 / 1e9


def planned(config: Config, method: str) -> Need:
    """Return what the plan says of one device."""
    found = needs(shape_config(cut_shape(config)), settings(config, method), cached=False)
    return next(need for need in found if need.gpus == 1 and need.method == method)


def main() -> None:
    """Run both methods and write the file."""
    config = tyro.cli(Config, description=__doc__)
    if config.method:
        step(config)
        return
    result = {
        "shape": config.size,
        "layers": config.layers,
        "batch_size": config.batch_size,
        "precision": "bfloat16",
        "device": torch.cuda.get_device_name() if config.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "reserve_gb": OVERHEAD_BYTES / 1e9,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = write_checkpoint(
            Path(name) / "base", cut_shape(config), shard_bytes=2_000_000_000, taught=False
        )
        for method in METHODS:
            arguments = ["--method", method, "--checkpoint", str(folder), "--size", config.size,
                         "--layers", str(config.layers), "--batch-size", str(config.batch_size),
                         "--steps", str(config.steps), "--device", config.device,
                         "--threads", str(config.threads)]  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.train_step", *arguments],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            measured = json.loads(done.stdout.splitlines()[-1])
            need = planned(config, method)
            plan = round((need.total - OVERHEAD_BYTES) / 1e9, 2)
            times = measured.pop("step_seconds")
            if later := times[1:]:
                measured["seconds_a_step"] = round(statistics.median(later), 3)
                measured["examples_a_second"] = round(
                    config.batch_size / measured["seconds_a_step"], 2
                )
            result[method] = {**measured, "planned_gb": plan}
            print(method, result[method])
    config.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
