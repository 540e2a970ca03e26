"""One fine-tuning: a base checkpoint, questions and settings become `OUT/model`. nano and the 4B and 8B go through here."""

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration, TrainingArguments, set_seed

from reward_models.protocol.tokens import PromptTokenizer
from reward_models.qwen3vl.checkpoint import check_folder, choose_device, weights_sha256
from reward_models.qwen3vl.loading import load_model
from reward_models.qwen3vl.patches import project_patches
from reward_models.training.adapters import add_adapters
from reward_models.training.arguments import check_loggers, training_arguments
from reward_models.training.collate import Collator
from reward_models.training.config import SftConfig
from reward_models.training.data import training_data_sha256
from reward_models.training.errors import InvalidTrainingData
from reward_models.training.export import check_processor_files, export_best
from reward_models.training.failures import failures_in_words
from reward_models.training.features import PixelVisuals, cache_features
from reward_models.training.order import Samples, Visuals, epoch_orders
from reward_models.training.projector import Projector, freeze, is_of_tower
from reward_models.training.questions import TrainingSet
from reward_models.training.run_folder import (
    CONFIG,
    MODEL,
    begin_or_continue,
    check_settings,
    last_whole_checkpoint,
)
from reward_models.training.trainer import METRICS, MetricsFile, RewardTrainer, ValidateLast

FREE = ("device", "workers", "log_to", "validation_batch_size", "keep_checkpoints")
"""Settings that the weights of a run do not depend on."""


def fine_tune(
    base: Path,
    config: SftConfig,
    train: TrainingSet,
    validation: TrainingSet | None,
    out: Path,
    *,
    features: Path | None = None,
    feature_dtype: torch.dtype | None = None,
    init: Path | None = None,
    model: Path | None = None,
) -> None:
    """Train, going on from the last checkpoint if there is one, and write the best weights as a model folder.

    A run that is finished is left alone. Under `torchrun` every process calls this with the same arguments.

    Args:
        base: Complete checkpoint folder to begin with.
        config: How to train.
        train: What to train on.
        validation: What to choose the checkpoint by; without it, the last one becomes the model.
        out: Folder of the run.
        features: Folder of the frozen tower's output; without it the tower runs in every step.
        feature_dtype: How this output is stored; as it is computed by default.
        init: A checkpoint whose language model and projector replace those of `base` at the start.
        model: Folder of the result; `OUT/model` by default.

    Raises:
        WeightsError: A checkpoint that cannot be used, or a run that was begun with other settings.
        InvalidTrainingData: Fewer examples than one step takes, or an example that cannot be read.
        InvalidSetting: A setting that this machine or this environment cannot serve.
        TrainingFailure: A loss that is not finite, too little memory, or another process that ended.
    """
    model = model or out / MODEL
    check_folder(base)
    check_processor_files(base)
    tokenizer = PromptTokenizer.from_folder(base)
    choose_device(config.device)
    check_loggers(config.log_to)
    steps, per_step = step_sizes(config, len(train.questions))
    settings = _settings(base, config, per_step, init, train, validation)
    if model.is_dir():
        _check_finished(out, settings)
        return
    if is_first():
        begin_or_continue(out, settings)
    arguments = training_arguments(
        config, out, steps, validate=validation is not None, tower=features is None
    )
    set_seed(config.seed)
    with failures_in_words(config, out):
        network = _load(base, config, arguments, init)
        sets = [data for data in (train, validation) if data is not None]
        shown = _visuals(network, sets, features, feature_dtype, arguments)
        freeze(network, projector=config.projector)
        trainer = RewardTrainer(
            network
            if config.lora is None
            else add_adapters(network, config.lora, one_type=config.fsdp),
            arguments,
            collator=Collator(tokenizer, config.loss, config.max_length),
            digits=tokenizer.digits,
            loss=config.loss,
            train=Samples(train.questions, shown[0], _order(train, config, steps, per_step)),
            validation=None
            if validation is None
            else Samples(validation.questions, shown[1], range(len(validation.questions))),
            callbacks=[MetricsFile(out / METRICS), ValidateLast()],
        )
        trainer.train(resume_from_checkpoint=_last_checkpoint(out))
        if is_first():
            export_best(base, out, model)
    if distributed.is_initialized():
        distributed.barrier()


def processes() -> int:
    """How many processes `torchrun` has started for this training."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def examples_per_step(config: SftConfig) -> int:
    """How many examples one optimizer step takes on all devices together."""
    return config.batch_size * config.accumulation * processes()


def step_sizes(config: SftConfig, examples: int) -> tuple[int, int]:
    """Return the number of optimizer steps, and how many examples one takes on all devices together.

    Raises:
        InvalidTrainingData: There are fewer examples than that.
    """
    per_step = examples_per_step(config)
    if examples < per_step:
        raise InvalidTrainingData(
            f"There are {examples} training examples, fewer than the {per_step} of one step. Lower "
            "--sft.batch-size or --sft.accumulation."
        )
    return config.steps or math.ceil(config.epochs * (examples // per_step)), per_step


def _settings(
    base: Path,
    config: SftConfig,
    per_step: int,
    init: Path | None,
    train: TrainingSet,
    validation: TrainingSet | None,
) -> dict[str, Any]:
    """All that the weights of a run depend on."""
    sft = {key: value for key, value in asdict(config).items() if key not in FREE}
    return {
        "sft": sft,
        "examples_per_step": per_step,
        "base_sha256": weights_sha256(base),
        "init": init,
        "data_sha256": training_data_sha256(train, validation),
    }


def _load(
    base: Path, config: SftConfig, arguments: TrainingArguments, init: Path | None
) -> Qwen3VLForConditionalGeneration:
    """Load the model: on its device, or in main memory if it is to be divided among devices."""
    device = torch.device("cpu") if config.fsdp else arguments.device
    # What is not trained needs no more than bfloat16.
    narrow = config.precision == "bfloat16" or (config.precision == "mixed" and config.lora)
    dtype = torch.bfloat16 if narrow else torch.float32
    model = load_model(base, dtype, device=device, attention=config.attention)
    if init is not None:
        given = load_model(init, dtype).state_dict()
        kept = {name: value for name, value in given.items() if not is_of_tower(name)}
        model.load_state_dict(kept, strict=False)
    project_patches(model.model.visual)
    return model


def _visuals(
    model: Qwen3VLForConditionalGeneration,
    sets: Sequence[TrainingSet],
    features: Path | None,
    dtype: torch.dtype | None,
    arguments: TrainingArguments,
) -> list[Visuals]:
    """What the model sees of the clips of each set: pixels, or what its frozen tower makes of them, which then leaves the model."""
    if features is None:
        return [PixelVisuals(data.clips) for data in sets]
    shown: list[Visuals] = []
    for data in sets:
        # One process computes, the others then find all of it there.
        with (
            arguments.main_process_first(local=False, desc="features")
            if distributed.is_initialized()
            else nullcontext()
        ):
            shown.append(cache_features(model.model.visual, data.clips, features, dtype=dtype))
    model.model.visual = Projector(model.model.visual)
    return shown


def _order(data: TrainingSet, config: SftConfig, steps: int, per_step: int) -> list[int]:
    """Which example comes at which place of the whole training."""
    return epoch_orders(
        _lengths(data, config),
        steps=steps,
        batch_size=config.batch_size,
        per_step=per_step,
        order=config.order,
        seed=config.seed,
    )


def _lengths(data: TrainingSet, config: SftConfig) -> list[int]:
    """About how long each example is; of all prompts nearly everything but the task is the same."""
    if config.order != "length":
        return [0] * len(data.questions)
    numbers = tqdm(range(len(data.clips)), desc="lengths of clips", unit="clip", leave=False)
    clips = [data.clips.visual_tokens(clip) for clip in numbers]
    return [clips[question.clip] + len(question.text) // 4 for question in data.questions]


def _last_checkpoint(out: Path) -> str | None:
    """The checkpoint to go on from, the same for all processes."""
    found = [last_whole_checkpoint(out) if is_first() else None]
    if distributed.is_initialized():
        distributed.broadcast_object_list(found)
    return None if found[0] is None else str(found[0])


def _check_finished(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse other settings for a run that is finished, as far as it is known what it was begun with."""
    if (out / CONFIG).is_file():
        check_settings(out, settings)


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return int(os.environ.get("RANK", "0")) == 0
