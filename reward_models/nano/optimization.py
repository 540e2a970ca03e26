"""The optimizer steps of the tower stage: resumable and logged."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from reward_models.nano.training_state import load_state, save_state
from reward_models.training.errors import TrainingFailure

GRADIENT_NORM = 1.0
LOG_EVERY = 250
"""Steps between rows of the log."""
STATE = "tower.safetensors"
"""The last checkpoint, with which the stage resumes."""
METRICS = "metrics.jsonl"

Batch = TypeVar("Batch")


class Schedule(Protocol):
    """Settings of the steps."""

    @property
    def steps(self) -> int:
        """Optimizer steps."""

    @property
    def learning_rate(self) -> float:
        """Peak learning rate; falls to zero along a cosine."""

    @property
    def warmup(self) -> int:
        """Steps of linear warm-up."""

    @property
    def weight_decay(self) -> float:
        """Weight decay of AdamW, for matrices only."""


def optimize(
    schedule: Schedule,
    out: Path,
    modules: Mapping[str, nn.Module],
    batches_of: Callable[[range], Iterable[Batch]],
    loss_of: Callable[[Batch], tuple[torch.Tensor, dict[str, float]]],
    *,
    checkpoint_every: int,
) -> None:
    """Run AdamW over the steps of the stage, from its last checkpoint on.

    Each row of `metrics.jsonl` has running averages of the losses.

    Args:
        schedule: Its steps.
        out: Folder of the run.
        modules: What is trained, by name.
        batches_of: Steps to their batches; the same for the same step.
        loss_of: The loss of a batch, and numbers for the log.
        checkpoint_every: Steps between checkpoints.

    Raises:
        TrainingFailure: The loss is not finite.
    """
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = make_optimizer(parameters, schedule)
    state, metrics = out / STATE, out / METRICS
    start = load_state(state, modules, optimizer) if state.is_file() else 0
    _drop_rows_after(metrics, start)
    scheduler = make_scheduler(optimizer, schedule, start)
    steps = range(start, schedule.steps)
    bar = tqdm(steps, desc="tower", initial=start, total=schedule.steps)
    began, averages = time.monotonic(), {}
    for step, batch in zip(bar, batches_of(steps), strict=True):
        rate = scheduler.get_last_lr()[0]
        loss, parts = loss_of(batch)
        if not torch.isfinite(loss):
            raise TrainingFailure(
                f"The loss of step {step} of the tower stage is {loss.item()}. Lower "
                f"--tower.learning-rate; the checkpoint {state.name} of an earlier step is whole."
            )
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        _update_averages(averages, {"loss": loss.item(), **parts})
        bar.set_postfix({name: f"{value:.3f}" for name, value in averages.items()})
        done = step + 1
        last = done == schedule.steps
        if done % min(LOG_EVERY, checkpoint_every) == 0 or last:
            seconds = round(time.monotonic() - began, 1)
            row = {"step": done, "seconds": seconds, "learning_rate": rate}
            _append_row(metrics, row | averages)
        if done % checkpoint_every == 0 or last:
            save_state(state, done, modules, optimizer)


def make_optimizer(parameters: list[nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """AdamW that decays matrices only: norms and biases keep their scale."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


def make_scheduler(
    optimizer: torch.optim.Optimizer, schedule: Schedule, start: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up from zero, then a cosine to zero; `start` steps are behind."""
    for group in optimizer.param_groups:
        group["initial_lr"] = schedule.learning_rate  # torch wants it of whoever resumes
    return get_cosine_schedule_with_warmup(
        optimizer, schedule.warmup, schedule.steps, last_epoch=start - 1
    )


def _update_averages(averages: dict[str, float], values: Mapping[str, float]) -> None:
    """Running averages of the last twenty steps or so."""
    for name, value in values.items():
        averages[name] = 0.95 * averages.get(name, value) + 0.05 * value


def _drop_rows_after(path: Path, step: int) -> None:
    """Forget what was logged after the last checkpoint: these steps are taken again."""
    if path.is_file():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [row for row in rows if row["step"] <= step]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def _append_row(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    tqdm.write(json.dumps(row))
