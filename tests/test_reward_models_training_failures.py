"""Failures of worker processes, which torch wraps into tracebacks, become messages."""

import os
import signal
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from reward_models.training.config import SftConfig
from reward_models.training.errors import InvalidTrainingData, TrainingFailure
from reward_models.training.failures import failures_in_words

CONFIG = SftConfig(workers=1)


class Unreadable(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise InvalidTrainingData("a.mp4 cannot be trained on: it is cut off.")


class Killed(Unreadable):
    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def read_first(data: Dataset[int], workers: int, out: Path) -> None:
    with failures_in_words(CONFIG, out):
        next(iter(DataLoader(data, num_workers=workers)))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_example_that_cannot_be_read_is_named_alone(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InvalidTrainingData) as caught:
        read_first(Unreadable(), workers, tmp_path)
    assert str(caught.value) == "a.mp4 cannot be trained on: it is cut off."


def test_a_killed_worker_says_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailure, match=r"DataLoader worker.*lower --sft\.workers from 1"):
        read_first(Killed(), 1, tmp_path)


def test_what_can_be_lowered_is_said_and_nothing_else(tmp_path: Path) -> None:
    config = SftConfig(batch_size=1, validation_batch_size=8, precision="bfloat16", fsdp=True)
    with (
        pytest.raises(TrainingFailure, match=r"--sft\.validation-batch-size 1; adapters") as caught,
        failures_in_words(config, tmp_path),
    ):
        raise MemoryError("no more")
    for useless in (
        "accumulation",
        "--sft.gradient-checkpointing",
        "--sft.fsdp",
        "--sft.precision",
    ):
        assert useless not in str(caught.value)


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    error = RuntimeError("a bug")
    with pytest.raises(RuntimeError) as caught, failures_in_words(CONFIG, tmp_path):
        raise error
    assert caught.value is error
