"""Our settings as those of transformers' `Trainer`."""

import importlib.util
import math
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainingArguments
from transformers.integrations import is_tensorboard_available

from reward_models.training.config import Logger, SftConfig
from reward_models.training.run_folder import CHECKPOINTS
from roboreward_gym.errors import InvalidSetting, install_advice

WAIT_S = 86_400
"""How long processes wait for one another: the first may compute features of a large data set for hours."""
FSDP = {
    "version": 2,
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "cpu_ram_efficient_loading": False,
    "reshard_after_forward": True,
}


TEXT_LAYER, VISION_LAYER = "Qwen3VLTextDecoderLayer", "Qwen3VLVisionBlock"
"""What FSDP gathers at a time, by the names of their classes."""


def training_device(device: Literal["auto", "cpu"]) -> torch.device:
    """Where to train: on a GPU of CUDA if there is one, unless the CPU is asked for."""
    cuda = device == "auto" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


def training_arguments(
    config: SftConfig, out: Path, steps: int, *, validate: bool, tower: bool
) -> TrainingArguments:
    """Translate the settings; processes of `torchrun` find one another here.

    Args:
        config: Our settings.
        out: Folder of the run.
        steps: Optimizer steps.
        validate: Whether there is validation data.
        tower: Whether the model has its vision tower.
    """
    on_cpu = training_device(config.device).type == "cpu"
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(out / "tensorboard")
    os.environ.setdefault("WANDB_DIR", str(out))
    os.environ.setdefault("WANDB_PROJECT", "roboreward-gym")
    given: dict[str, Any] = {}
    if validate:
        given |= {
            "eval_strategy": "steps",
            "eval_steps": config.validate_every,
            "metric_for_best_model": "macro_mae",
            "greater_is_better": False,
        }
    arguments = TrainingArguments(
        output_dir=str(out / CHECKPOINTS),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.validation_batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(config.warmup * (steps if config.warmup < 1 else 1)),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_gradient_norm,
        optim="adamw_torch_fused",
        bf16=config.precision == "mixed",
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and "LOCAL_RANK" in os.environ else None,
        ddp_timeout=WAIT_S,
        ddp_find_unused_parameters=False,
        save_strategy="steps",
        save_steps=config.validate_every,
        # Of two the best is one; an older one is deleted when the newer one is whole.
        save_total_limit=None if config.keep_checkpoints else 2,
        logging_strategy="steps",
        logging_steps=config.log_every,
        logging_first_step=True,
        # A loss that is not finite must end the run, and not be left out of the log.
        logging_nan_inf_filter=False,
        report_to=list(config.log_to) or "none",
        run_name=out.name,
        seed=config.seed,
        # Samples lie in their order already, and go on with all their parts.
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        label_names=["index"],
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=not on_cpu,
        **given,
        **_memory(config, tower=tower),
    )
    if arguments.fsdp_plugin_args is not None:
        # Whole tensors, so that a checkpoint is also a model; the library has no setting of its own for it.
        arguments.fsdp_plugin_args["state_dict_type"] = "FULL_STATE_DICT"
    return arguments


def _memory(config: SftConfig, *, tower: bool) -> dict[str, Any]:
    """What is spread over processes, and which activations are computed again."""
    if config.fsdp:
        # With FSDP the library wants activation checkpointing among the settings of FSDP.
        return {
            "fsdp": "full_shard auto_wrap",
            "fsdp_config": {
                **FSDP,
                "transformer_layer_cls_to_wrap": [TEXT_LAYER, *([VISION_LAYER] if tower else [])],
                "activation_checkpointing": config.gradient_checkpointing,
            },
        }
    if config.gradient_checkpointing:
        # Newer versions of transformers call it so, and version 6 only so.
        renamed = "activation_checkpointing" in {item.name for item in fields(TrainingArguments)}
        name = f"{'activation' if renamed else 'gradient'}_checkpointing"
        return {name: True, f"{name}_kwargs": {"use_reentrant": False}}
    return {}


def check_loggers(loggers: Sequence[Logger]) -> None:
    """Check that every logger can log, before anything is trained.

    Raises:
        InvalidSetting: One is not installed, or W&B has no login.
    """
    if "tensorboard" in loggers and not is_tensorboard_available():
        raise InvalidSetting(
            f"--sft.log-to tensorboard needs tensorboardX. {install_advice('train')}, or leave it out."
        )
    if "wandb" not in loggers:
        return
    if importlib.util.find_spec("wandb") is None:
        raise InvalidSetting(
            f"--sft.log-to wandb needs wandb. {install_advice('wandb')}, or leave it out."
        )
    import wandb

    offline = os.environ.get("WANDB_MODE", "online") in ("offline", "disabled", "dryrun")
    if not offline and not wandb.api.api_key:
        raise InvalidSetting(
            "W&B has no login on this machine. Run `wandb login`, set WANDB_MODE=offline, or leave "
            "--sft.log-to wandb out."
        )
