"""A nano that sees and speaks but has never met a score: `python -m benchmarks.score_free_base --data DIR [DIR ...] --out DIR`.

What comparisons of trainings begin with (`benchmarks.losses`, `benchmarks.negatives_ablation`), as RoboReward begins with Qwen3-VL: the
vision tower of a trained nano, fresh projector and language model, trained on descriptions and locations only. A weight that has seen
scores would favour what it was trained with. About 20 minutes on one core; a run that was stopped goes on. The model is `OUT/model`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from transformers import Qwen3VLProcessor

from reward_models.data.reward_data import RewardData
from reward_models.nano import WEIGHTS
from reward_models.nano.config import LANGUAGE, QuestionConfig
from reward_models.nano.model import build_model, save
from reward_models.nano.questions import QuestionSampler
from reward_models.qwen3vl.loading import load_model
from reward_models.training.data import SimulatedClips
from reward_models.training.questions import TrainingSet
from reward_models.training.run import fine_tune
from roboreward_gym._cli import keep_freed_memory, run_program

NO_SCORES = QuestionConfig(describe_share=(0.5, 0.5), locate_share=(0.5, 0.5))


@dataclass(frozen=True)
class BaseConfig:
    """How it is made."""

    data: tuple[Path, ...]
    """Folders of simulated reward data with a split `train`."""
    out: Path = Path("runs/score-free")
    """Folder of the run."""
    tower: Path = WEIGHTS
    """Checkpoint whose vision tower and tokenizer are taken."""
    steps: int = 600
    """Optimizer steps."""
    batch_size: int = 32
    """Questions in a step."""
    seed: int = 0
    """Seed of the fresh weights and of the questions."""


def untrained(tower: Path, seed: int, folder: Path) -> None:
    """Write a checkpoint with this tower, and a fresh projector and language model."""
    if folder.is_dir():
        return
    taught = load_model(tower, torch.float32)
    fresh = build_model(taught.config, seed)
    kept = {
        name: value
        for name, value in taught.state_dict().items()
        if "visual" in name and "merger" not in name
    }
    fresh.load_state_dict(kept, strict=False)
    save(fresh, Qwen3VLProcessor.from_pretrained(tower), folder)


def make(config: BaseConfig) -> Path:
    """Train it, unless it is there; returns its folder."""
    config.out.mkdir(parents=True, exist_ok=True)
    untrained(config.tower, config.seed, config.out / "untrained")
    sft = replace(
        LANGUAGE, steps=config.steps, batch_size=config.batch_size, seed=config.seed,
        warmup=config.steps // 10, validate_every=max(1, config.steps // 4),
    )  # fmt: skip
    data = RewardData.open(config.data, "train")
    questions = QuestionSampler(
        data, NO_SCORES, steps=config.steps, per_step=config.batch_size, seed=config.seed
    )
    fine_tune(
        config.out / "untrained",
        sft,
        TrainingSet(SimulatedClips(data), questions),
        None,
        config.out / "language",
        features=config.out / "features",
        feature_dtype=torch.float16,
    )
    return config.out / "language" / "model"


def main() -> None:
    """Command line."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print(make(tyro.cli(BaseConfig, description=__doc__)))


if __name__ == "__main__":
    run_program(main)
