"""Training on kept features against a plain loop: `python -m benchmarks.train_throughput`, about three minutes on one core.

The same model (roboreward-nano), the same examples in the same order, the same learning rates, in one process after the other:

- `plain`: transformers' `Trainer` as it comes: our inputs with labels of -100 outside the answer, the model's own loss, the
  frozen tower in every step;
- `pixels`: our trainer, the tower in every step;
- `features`: our trainer, the tower's output read from disk.

Written to `benchmarks/results/train_throughput.json`; `ratio` is examples per CPU second with features over those of the plain loop.
CPU time of one thread, because other programs share the machine. What the features cost once is a key of its own.
"""

import json
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from transformers import Trainer, TrainingArguments

from reward_models.nano import WEIGHTS
from reward_models.protocol.frames import SampledClip
from reward_models.protocol.tokens import PromptTokenizer
from reward_models.qwen3vl.loading import load_model
from reward_models.training.collate import MODEL_INPUTS, NO_TARGET, Collator, Sample
from reward_models.training.config import NAMED, LossConfig, SftConfig
from reward_models.training.data import clip_sha256, visual_tokens
from reward_models.training.features import PixelVisuals, cache_features
from reward_models.training.order import Samples
from reward_models.training.projector import freeze
from reward_models.training.questions import TrainingSet, score_question
from reward_models.training.run import fine_tune

RESULTS = Path(__file__).parent / "results" / "train_throughput.json"
TASKS = ("put the duck on the towel", "pick up the block", "put the block on the plate")
FRAMES, HEIGHT, WIDTH = 8, 192, 256
"""Frames of the simulation's camera."""
PARTS = 5
"""Tokens of "ANSWER: 3" and the end of the turn."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    steps: int = 16
    """Optimizer steps of each loop; the first is not counted."""
    batch_size: int = 8
    """Examples in a step."""
    clips: int = 24
    """Clips of noise; each has three tasks."""
    out: Path = RESULTS
    """File to write."""


@dataclass(frozen=True, eq=False)
class NoiseClips:
    """Coarse noise, which takes as long as any other picture."""

    count: int

    def __len__(self) -> int:
        """How many there are."""
        return self.count

    def sampled(self, clip: int) -> SampledClip:
        """Draw the frames of one clip."""
        rng = np.random.default_rng(clip)
        coarse = rng.integers(0, 255, (FRAMES, HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
        frames = coarse.repeat(16, 1).repeat(16, 2)
        return SampledClip(frames, np.arange(FRAMES) * 5, FRAMES * 5 - 4, 5.0, "any")

    def fingerprint(self, clip: int) -> str:
        """Hash of the frames."""
        return clip_sha256(self.sampled(clip))

    def visual_tokens(self, clip: int) -> int:
        """The same for all."""
        del clip
        return visual_tokens(FRAMES, HEIGHT, WIDTH)


def examples(count: int) -> TrainingSet:
    """Ask for the scores of clips of noise."""
    questions = [
        score_question(clip, task, (clip + place) % 5 + 1, "noise", f"{clip}#{place}")
        for clip in range(count)
        for place, task in enumerate(TASKS)
    ]
    return TrainingSet(NoiseClips(count), questions)


class PlainCollator:
    """Inputs and labels, and nothing else.

    Args:
        collator: Makes the inputs.
    """

    def __init__(self, collator: Collator) -> None:
        self._collator = collator

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """Put samples side by side."""
        batch = self._collator(samples)
        labels = torch.full_like(batch["input_ids"], NO_TARGET)
        labels[:, -batch["targets"].shape[1] :] = batch["targets"]
        return {**{name: batch[name] for name in MODEL_INPUTS}, "labels": labels}


class Clock:
    """CPU seconds and wall seconds of steps, from the end of the first on."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def tick(self) -> None:
        """Note the end of a step."""
        self.ends.append((cpu_seconds(), time.monotonic()))

    def rates(self, batch_size: int) -> dict[str, float]:
        """Examples per second."""
        (cpu, wall), (cpu_end, wall_end) = self.ends[0], self.ends[-1]
        count = batch_size * (len(self.ends) - 1)
        return {
            "examples_per_cpu_second": round(count / (cpu_end - cpu), 3),
            "examples_per_second": round(count / (wall_end - wall), 3),
        }


def cpu_seconds() -> float:
    """CPU time of this process so far, in [s]."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def settings(config: Config) -> SftConfig:
    """Return what all three loops share; the loss is that of the library."""
    return replace(
        NAMED["nano"].sft,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=3e-4,
        warmup=2,
        order="given",
        loss=LossConfig(digit=1 / PARTS, words=(PARTS - 1) / PARTS),
        log_every=1,
        validate_every=10_000,
    )


def plain(config: Config, data: TrainingSet, folder: Path) -> tuple[Clock, list[float]]:
    """Train with the library alone."""
    sft, clock = settings(config), Clock()
    model = load_model(WEIGHTS, torch.float32)
    freeze(model, projector=True)
    collator = Collator(PromptTokenizer.from_folder(WEIGHTS), sft.loss, sft.max_length)
    order = [i % len(data.questions) for i in range(config.steps * config.batch_size)]
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=sft.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        weight_decay=sft.weight_decay,
        optim="adamw_torch_fused",
        use_cpu=True,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=PlainCollator(collator),
        train_dataset=Samples(data.questions, PixelVisuals(data.clips), order),
    )
    step = trainer.training_step

    def timed(*args: Any, **kwargs: Any) -> torch.Tensor:
        clock.tick()
        return step(*args, **kwargs)

    trainer.training_step = timed
    trainer.train()
    clock.tick()
    return clock, [row["loss"] for row in trainer.state.log_history if "loss" in row]


def ours(
    config: Config, data: TrainingSet, folder: Path, features: Path | None
) -> tuple[Clock, list[float]]:
    """Train with `fine_tune`."""
    from reward_models.training.trainer import RewardTrainer

    clock, step = Clock(), RewardTrainer.training_step

    def timed(self: RewardTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        clock.tick()
        return step(self, *args, **kwargs)

    RewardTrainer.training_step = timed
    try:
        fine_tune(WEIGHTS, settings(config), data, None, folder, features=features)
    finally:
        RewardTrainer.training_step = step
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return clock, [row["loss"] for row in rows if "loss" in row]


def main() -> None:
    """Measure the three loops and write the file."""
    config = tyro.cli(Config, description=__doc__)
    torch.set_num_threads(1)
    data = examples(config.clips)
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "threads": 1,
        "model": "roboreward-nano",
        "steps": config.steps,
        "batch_size": config.batch_size,
    }
    curves = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        clock, curves["plain"] = plain(config, data, root / "plain")
        result["plain"] = clock.rates(config.batch_size)
        clock, curves["pixels"] = ours(config, data, root / "pixels", None)
        result["pixels"] = clock.rates(config.batch_size)
        began = cpu_seconds()
        cache_features(load_model(WEIGHTS, torch.float32).model.visual, data.clips, root / "kept")
        result["features_cpu_seconds_per_clip"] = round((cpu_seconds() - began) / config.clips, 3)
        clock, curves["features"] = ours(config, data, root / "features", root / "kept")
        result["features"] = clock.rates(config.batch_size)
    rates = {k: result[k]["examples_per_cpu_second"] for k in ("plain", "pixels", "features")}
    result["ratio"] = round(rates["features"] / rates["plain"], 2)
    result["ratio_of_pixels"] = round(rates["pixels"] / rates["plain"], 2)
    difference = np.abs(np.array(curves["features"]) - np.array(curves["plain"]))
    result["largest_relative_difference_of_losses"] = float(
        np.max(difference / np.abs(np.array(curves["plain"])))
    )
    result["losses"] = {name: [round(x, 5) for x in curve] for name, curve in curves.items()}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "losses"}, indent=2))


if __name__ == "__main__":
    main()
