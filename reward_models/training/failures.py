"""What can go wrong on the way, in words: too little memory, a process that ended, data that a worker could not read."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import distributed

from reward_models.qwen3vl.memory import TooLittleMemory
from reward_models.training.config import SftConfig
from reward_models.training.errors import InvalidTrainingData, TrainingFailure

NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""What torch says without a type of its own: of main memory, of a driver, of a library on the GPU."""


@contextmanager
def failures_in_words(config: SftConfig, out: Path) -> Generator[None]:
    """Say what to do about a failure, without a traceback.

    Args:
        config: Settings, for what can be lowered.
        out: Folder of the run.

    Raises:
        TrainingFailure: Too little memory, or another process that ended.
        InvalidTrainingData: An example that cannot be read.
    """
    try:
        yield
    except TrainingFailure:
        raise
    except InvalidTrainingData as error:
        # Of a worker torch gives the whole traceback, which ends with our message.
        message = str(error).strip().rpartition(f"{InvalidTrainingData.__name__}: ")[2]
        raise InvalidTrainingData(message) from error
    except (TooLittleMemory, torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingFailure(_memory_advice(config, error)) from error
    except RuntimeError as error:
        if any(words in str(error) for words in NO_MEMORY):
            raise TrainingFailure(_memory_advice(config, error)) from error
        if "DataLoader worker (pid" in str(error):
            raise TrainingFailure(
                f"A process that decodes videos ended: {error}. If it was killed for its memory, lower --sft.workers "
                f"from {config.workers}. The last checkpoint is whole: the same command continues from it."
            ) from error
        if distributed.is_initialized() and "onnection" in str(error):
            raise TrainingFailure(
                f"Another process of this run ended, and this one cannot go on alone: {error}. See its own "
                f"message. The checkpoints in {out} are whole: the same command continues from the last one."
            ) from error
        raise


def _memory_advice(config: SftConfig, error: BaseException) -> str:
    ways = [
        (config.batch_size > 1, f"--sft.batch-size 1 --sft.accumulation {config.batch_size * config.accumulation}"),
        (config.validation_batch_size > config.batch_size, f"--sft.validation-batch-size {config.batch_size}"),
        (not config.gradient_checkpointing, "--sft.gradient-checkpointing"),
        (not config.fsdp, "--sft.fsdp on several GPUs"),
        (config.lora is None, "adapters in place of all weights (roboreward-4b-lora or -8b-lora)"),
        (config.precision != "bfloat16", "--sft.precision bfloat16"),
    ]  # fmt: skip
    helps = "; ".join(way for useful, way in ways if useful)
    what = error.needs if isinstance(error, TooLittleMemory) else str(error).partition("\n")[0]
    return (
        f"The memory does not suffice: {what} Lower what is needed: {helps or 'a smaller model'}. "
        "roboreward train --plan prints the needs. The last checkpoint is whole."
    )
