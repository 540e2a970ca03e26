"""The optimizer steps of one stage: resumable, logged, and the best weights by validation are kept."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from reward_models.nano.config import LanguageConfig, TowerConfig, TrainConfig
from reward_models.nano.training_state import load_state, save_state, saved_validation_macro_mae
from roboreward_gym.errors import RoboRewardError

GRADIENT_NORM = 1.0
CRITERION = "validation_macro_mae"
"""The number by which the best weights are chosen; less is better."""


class TrainingFailure(RoboRewardError, ArithmeticError):
    """Training cannot go on; what was saved before is whole."""


def state_path(out: Path, stage: str) -> Path:
    """The last checkpoint of a stage, with which it resumes."""
    return out / f"{stage}.safetensors"


def best_path(out: Path, stage: str) -> Path:
    """The weights of a stage with the lowest validation macro MAE; not there without validation data."""
    return out / f"{stage}-best.safetensors"


def optimize(
    config: TrainConfig,
    stage: str,
    schedule: TowerConfig | LanguageConfig,
    modules: Mapping[str, nn.Module],
    loss_at: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
    validate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Run AdamW over the steps of one stage, from its last checkpoint on.

    Each row of `metrics.jsonl` has running averages of the losses and what `validate` returns.

    Args:
        config: The run.
        stage: Name of the stage, for its files.
        schedule: Steps, learning rate, warm-up and weight decay.
        modules: What is trained, by name.
        loss_at: Step to the loss and to numbers for the log; the same for the same step.
        validate: Numbers of the present weights, `CRITERION` among them; None without validation data.

    Raises:
        TrainingFailure: The loss is not finite.
    """
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = make_optimizer(parameters, schedule)
    state, best = state_path(config.out, stage), best_path(config.out, stage)
    start = load_state(state, modules, optimizer) if state.is_file() else 0
    lowest = saved_validation_macro_mae(best) if best.is_file() else math.inf
    metrics = config.out / "metrics.jsonl"
    _drop_rows_after(metrics, stage, start)
    scheduler = make_scheduler(optimizer, schedule, start)
    bar = tqdm(range(start, schedule.steps), desc=stage, initial=start, total=schedule.steps)
    began, averages = time.monotonic(), {}
    for step in bar:
        rate = scheduler.get_last_lr()[0]
        loss, parts = loss_at(step)
        if not torch.isfinite(loss):
            raise TrainingFailure(
                f"The loss of step {step} of the {stage} stage is {loss.item()}. Lower "
                f"--{stage}.learning-rate; the checkpoint {state.name} of an earlier step is whole."
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
        if done % config.validate_every == 0 or last:
            seconds = round(time.monotonic() - began, 1)
            numbers = {} if validate is None else validate()
            # The best weights are written before the checkpoint: a run that is killed between the two
            # validates this step again, finds the same number and keeps the same weights.
            if numbers.get(CRITERION, math.inf) < lowest:
                lowest = numbers[CRITERION]
                save_state(best, done, modules, validation_macro_mae=lowest)
            row = {"stage": stage, "step": done, "seconds": seconds, "learning_rate": rate}
            _append_row(metrics, row | averages | numbers)
        if done % config.checkpoint_every == 0 or last:
            save_state(state, done, modules, optimizer)


def make_optimizer(
    parameters: list[nn.Parameter], schedule: TowerConfig | LanguageConfig
) -> torch.optim.AdamW:
    """AdamW that decays matrices only: norms and biases keep their scale."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


def make_scheduler(
    optimizer: torch.optim.Optimizer, schedule: TowerConfig | LanguageConfig, start: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up from zero, then a cosine to zero; `start` steps are behind."""
    for group in optimizer.param_groups:
        group["initial_lr"] = schedule.learning_rate  # torch wants it of whoever resumes
    return get_cosine_schedule_with_warmup(
        optimizer, schedule.warmup, schedule.steps, last_epoch=start - 1
    )


def _update_averages(averages: dict[str, float], values: Mapping[str, float]) -> None:
    """Running averages; one that is NaN, as the accuracy of a batch without scores, starts again."""
    for name, value in values.items():
        before = averages.get(name, math.nan)
        averages[name] = value if math.isnan(before) else 0.95 * before + 0.05 * value


def _drop_rows_after(path: Path, stage: str, step: int) -> None:
    """Forget what was logged after the last checkpoint: these steps are taken again."""
    if path.is_file():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        kept = [row for row in rows if row["stage"] != stage or row["step"] <= step]
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def _append_row(path: Path, row: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    tqdm.write(json.dumps(row))
