"""A fine-tuning in a process of its own: `python -m tests.train_process ROOT OUT SETTINGS`, also under torchrun.

ROOT holds `base` and the data folders `train` and `val`; SETTINGS is JSON with fields of `SftConfig`, and

- `features`: keep the tower's output in ROOT/features;
- `kill_at`: end this process by SIGKILL when it computes the loss of this step;
- `kill_saving`: end it by SIGKILL in the middle of the checkpoint of this step;
- `kill_rank`: only in the process of this rank.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import DistributedType, PartialState

from reward_models.training import run
from reward_models.training.config import LoraSettings, SftConfig
from reward_models.training.data import open_training_data
from reward_models.training.trainer import RewardTrainer
from roboreward_gym._cli import run_program

CPU = {"device": "cpu", "precision": "float32", "gradient_checkpointing": False}


def main() -> None:
    torch.set_num_threads(1)
    root, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    features = root / "features" if settings.pop("features", False) else None
    kill_at, kill_saving = settings.pop("kill_at", None), settings.pop("kill_saving", None)
    if settings.pop("kill_rank", 0) == int(os.environ.get("RANK", "0")):
        kill(kill_at, kill_saving)
    if settings.get("fsdp"):
        divide_on_cpu()
    if settings.get("lora"):
        settings["lora"] = LoraSettings(**settings["lora"])
    train, validation = open_training_data([root / "train", root / "val"], 4)
    config = SftConfig(**(CPU | settings))
    run.fine_tune(root / "base", config, train, validation, out, features=features)


def kill(at: int | None, saving: int | None) -> None:
    """Let this process end at a step."""
    compute, save = RewardTrainer.compute_loss, RewardTrainer._save_optimizer_and_scheduler

    def computed(self: RewardTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute(self, *args, **kwargs)

    def saved(self: RewardTrainer, folder: str) -> None:
        if self.state.global_step == saving:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, folder)

    RewardTrainer.compute_loss = computed
    RewardTrainer._save_optimizer_and_scheduler = saved


def divide_on_cpu() -> None:
    """Let accelerate use FSDP, which it offers for accelerators only, between processes on a CPU."""
    make = run.training_arguments

    def made(*args: Any, **kwargs: Any) -> Any:
        arguments = make(*args, **kwargs)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        return arguments

    run.training_arguments = made


if __name__ == "__main__":
    run_program(main)
