"""Train nano: `python -m reward_models.nano.train --data DIR [DIR ...] --out DIR`.

First its vision tower alone on dense labels, then, with the tower frozen as in RoboReward, its language model on
descriptions and scores. Every stage resumes where it was stopped; a finished stage is not repeated. The folder
`OUT/model` is a complete checkpoint.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from torch import nn
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.bench.metrics import summarize
from reward_models.data.reward_data import InvalidData, RewardData, Split
from reward_models.nano.features import CachedTower, FeatureCache, cache_features
from reward_models.nano.language import (
    DESCRIBE,
    LOCATE,
    ChatEncoder,
    LanguageConfig,
    TurnSampler,
    language_loss,
    predict,
    vocabulary,
)
from reward_models.nano.model import NanoSize, build_config, build_model, build_processor, save
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.nano.tower import TowerConfig, draw_batch, make_head, tower_loss
from reward_models.nano.training_state import load_state, save_state
from reward_models.qwen3vl.loading import load_checkpoint
from reward_models.qwen3vl.vision_attention import speed_up
from roboreward_gym._cli import run_program
from roboreward_gym.allocator import keep_freed_memory
from roboreward_gym.errors import WeightsError

GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    data: tuple[Path, ...]
    """Data folders; their splits are kept apart."""
    out: Path
    """Folder of the run."""
    stage: Literal["tower", "language", "all"] = "all"
    """Which part to train."""
    tower_from: Path | None = None
    """Another run whose tower, tokenizer and cached features are used, instead of training a tower."""
    tower_init: Path | None = None
    """State of an earlier tower stage (`tower.safetensors`) whose weights this one begins with."""
    language_init: Path | None = None
    """State of an earlier language stage (`language.safetensors`) whose weights this one begins with."""
    size: NanoSize = field(default_factory=NanoSize)
    """Width and depth."""
    tower: TowerConfig = field(default_factory=TowerConfig)
    """First stage."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """Second stage."""
    seed: int = 0
    """Of weights and batches."""
    threads: int = 2
    """CPU threads."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    validate_every: int = 250
    """Steps between validations."""
    validation_examples: int = 600
    """Examples of the validation split that are looked at while training."""


def train(config: TrainConfig) -> None:
    """Run the stages that are not finished yet."""
    torch.set_num_threads(config.threads)
    config.out.mkdir(parents=True, exist_ok=True)
    _remember(config)
    data = RewardData.open(config.data, "train")
    base = config.out / "base"
    if config.stage != "language" and config.tower_from is None:
        train_tower(config, data, base)
    if config.stage != "tower":
        train_language(
            config, data, base if config.tower_from is None else config.tower_from / "base"
        )


def train_tower(config: TrainConfig, data: RewardData, base: Path) -> None:
    """Train the vision tower and write the model, its language half still untrained, to `base`."""
    if (base / "config.json").is_file():
        return
    tokenizer = build_tokenizer(vocabulary(data), lines=(DESCRIBE, LOCATE))
    processor = build_processor(tokenizer)
    model = build_model(build_config(config.size, tokenizer), config.seed)
    visual = speed_up(model.model.visual)
    if config.tower_init is not None:
        load_state(config.tower_init, {"visual": visual})
    head = make_head(visual, len(data.landmarks), config.seed)

    def loss_at(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng((config.seed, step))
        batch = draw_batch(data, config.tower, rng)
        return tower_loss(visual, head, batch, config.tower.positive_weight)

    modules = {"visual": visual, "head": head}
    optimize(config, "tower", config.tower, modules, loss_at)
    save(model, processor, base)


def train_language(config: TrainConfig, data: RewardData, base: Path) -> None:
    """Train the language model on cached features and write the whole model to `OUT/model`."""
    if (config.out / "model" / "config.json").is_file():
        return
    model, processor = load_checkpoint(base, torch.float32)
    caches = {"train": _cache(model, processor, data, base)}
    validation = _validation_data(config)
    if validation is not None:
        caches["validation"] = _cache(model, processor, validation, base)
    tower = model.model.visual
    model.model.visual = CachedTower(tower)
    if config.language_init is not None:
        load_state(config.language_init, {"language": model})
    encoder = ChatEncoder(processor, model)
    sampler = TurnSampler(data, config.language, encoder.end, config.seed)

    def loss_at(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        batch = encoder.collate(sampler.draw(step), caches["train"], config.language.text_weight)
        loss, logits = language_loss(model, batch)
        digit = batch.weight == 1.0
        right = (logits[digit].argmax(-1) == batch.target[digit]).float().mean().item()
        return loss, {"score_accuracy": right}

    def validate() -> dict[str, float]:
        if validation is None:
            return {}
        every = max(1, len(validation.examples) // config.validation_examples)
        examples = validation.examples[::every]
        levels = predict(model, encoder, caches["validation"], examples, processor)
        numbers = summarize(
            levels,
            np.array([e.level for e in examples]),
            [f"{validation.clips[e.clip].scene}-{e.kind}" for e in examples],
        )
        names = ("macro_mae", "level_macro_mae", "false_positive_rate", "true_positive_rate")
        return {f"validation_{name}": numbers[name] for name in names}

    optimize(config, "language", config.language, {"language": model}, loss_at, validate)
    model.model.visual = tower
    save(model, processor, config.out / "model")


def optimize(
    config: TrainConfig,
    stage: str,
    schedule: TowerConfig | LanguageConfig,
    modules: dict[str, nn.Module],
    loss_at: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
    validate: Callable[[], dict[str, float]] = dict,
) -> None:
    """Run AdamW over the steps of one stage: resumable, logged to `metrics.jsonl`, the same for each seed."""
    parameters = [p for module in modules.values() for p in module.parameters()]
    optimizer = make_optimizer(parameters, schedule)
    state = config.out / f"{stage}.safetensors"
    start = load_state(state, modules, optimizer) if state.is_file() else 0
    bar = tqdm(range(start, schedule.steps), desc=stage, initial=start, total=schedule.steps)
    began, averages = time.monotonic(), {}
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        loss, parts = loss_at(step)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        for name, value in {"loss": loss.item(), **parts}.items():
            averages[name] = (
                value
                if math.isnan(averages.get(name, math.nan))
                else 0.95 * averages[name] + 0.05 * value
            )
        bar.set_postfix({name: f"{value:.3f}" for name, value in averages.items()})
        done = step + 1
        if done % config.checkpoint_every == 0 or done == schedule.steps:
            save_state(state, done, modules, optimizer)
        if done % config.validate_every == 0 or done == schedule.steps:
            seconds = round(time.monotonic() - began, 1)
            row = {"stage": stage, "step": done, "seconds": seconds, **averages, **validate()}
            _append(config.out / "metrics.jsonl", row)
            tqdm.write(json.dumps(row))


def make_optimizer(
    parameters: list[nn.Parameter], schedule: TowerConfig | LanguageConfig
) -> torch.optim.AdamW:
    """AdamW that decays matrices only."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, fused=True)


def learning_rate(schedule: TowerConfig | LanguageConfig, step: int) -> float:
    """Linear warm-up, then a cosine to zero at the last step."""
    warm = min(1.0, (step + 1) / schedule.warmup)
    return schedule.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / schedule.steps))


def _cache(
    model: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    data: RewardData,
    base: Path,
) -> FeatureCache:
    """Features of one split, kept beside the tower that made them."""
    split = data.clips[0].split
    digest = hashlib.sha256((base / "model.safetensors").read_bytes())
    digest.update(repr(data.clips).encode())
    speed_up(model.model.visual).eval()
    return cache_features(model, processor, data, base / "features" / split, key=digest.hexdigest())


def _validation_data(config: TrainConfig) -> RewardData | None:
    split: Split = "validation"
    try:
        return RewardData.open(config.data, split)
    except InvalidData:
        tqdm.write("No validation split in the data: only the training loss is reported.")
        return None


def _remember(config: TrainConfig) -> None:
    """Write the configuration, or refuse to go on with another one in the same folder."""
    text = json.dumps(asdict(config), indent=2, default=str, sort_keys=True)
    path = config.out / "config.json"
    if path.is_file():
        before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        # The stage only says how far to go.
        changed = sorted(
            k for k in now if k not in ("stage", "threads") and before.get(k) != now[k]
        )
        if changed:
            raise WeightsError(
                f"Expected the configuration that {config.out} was begun with, got other values of "
                f"{', '.join(changed)}. Choose another --out, or delete the folder."
            )
    path.write_text(text + "\n", encoding="utf-8")


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Train nano, as the command line says."""
    config = tyro.cli(TrainConfig, args=argv, description=__doc__)
    keep_freed_memory()
    train(config)
    return 0


if __name__ == "__main__":
    run_program(main)
