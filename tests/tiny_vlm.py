"""A random Qwen3-VL of one thin layer each, as a checkpoint folder, and clips to show it."""

import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3VLForConditionalGeneration

from reward_models.nano.config import NanoSize
from reward_models.nano.model import build_config, build_model, build_processor, save
from reward_models.nano.questions import DESCRIBE, LOCATE
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.protocol.frames import VideoProtocol
from roboreward_gym import Clip, ProgressScore

TINY = NanoSize(
    vision_width=16, vision_depth=1, vision_heads=2, width=32, depth=2, heads=2, expansion=2
)
SMALL_CLIPS = VideoProtocol(min_pixels=1)
"""Official sampling, without enlarging small frames: fewer tokens, quicker tests."""
WORDS = [
    "put",
    "the",
    "duck",
    "on",
    "towel",
    "open",
    "left",
    "drawer",
    "red",
    "green",
    "blue",
    "one",
    "off",
    "is",
]
TASK = "put the duck on the towel"


def write_tiny_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write a random model with lively logits."""
    tokenizer = build_tokenizer(WORDS, lines=(DESCRIBE, LOCATE))
    model = build_model(build_config(TINY, tokenizer), seed)
    enliven(model)
    save(model, build_processor(tokenizer), folder)
    return folder


def write_tiny_robometer(folder: Path, vlm: Path) -> Path:
    """Write a random Robometer on top of a checkpoint that `write_tiny_checkpoint` wrote."""
    from lerobot.rewards.robometer import RobometerConfig, RobometerRewardModel

    config = RobometerConfig(
        base_model_id=str(vlm), pretrained_path=None, torch_dtype="float32", device="cpu"
    )
    RobometerRewardModel(config).save_pretrained(folder)
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
        "chat_template.jinja",
    ):
        shutil.copy(vlm / name, folder)
    return folder


def enliven(model: Qwen3VLForConditionalGeneration) -> None:
    """Scale weights up, so that the answer of a fresh model depends on the pixels."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(5.0)


def random_clip(
    frames: int,
    *,
    size: tuple[int, int] = (32, 64),
    task: str = TASK,
    fps: float = 5.0,
    seed: int = 0,
) -> Clip:
    """Coarse coloured noise, another for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (frames, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return Clip(coarse.repeat(8, 1).repeat(8, 2), task, fps)


def probabilities_of(score: ProgressScore) -> np.ndarray:
    """`(5,)` probabilities of a readable score."""
    assert score.probabilities is not None
    return score.probabilities
