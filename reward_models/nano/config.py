"""Settings of nano's training; no torch here, so that `roboreward train --help` answers at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from roboreward_gym.errors import InvalidSetting

SELECTED = "selected.json"
"""File of a run that says which step `OUT/model` is, and by which validation error it was chosen."""


@dataclass(frozen=True)
class NanoSize:
    """Width and depth of both halves; the defaults train on two CPU cores in an hour."""

    vision_width: int = 128
    """Width of the vision tower."""
    vision_depth: int = 4
    """Layers of the vision tower."""
    vision_heads: int = 4
    """Attention heads of the vision tower."""
    width: int = 128
    """Width of the language model, and of each visual token that it reads."""
    depth: int = 4
    """Layers of the language model."""
    heads: int = 4
    """Attention heads of the language model."""
    expansion: int = 3
    """Width of the feed-forward layers over the width of the model."""


@dataclass(frozen=True)
class StageConfig:
    """How a stage is optimised; the defaults are those of the vision tower."""

    steps: int = 2_500
    """Optimizer steps."""
    batch_size: int = 32
    """Pairs of frames (tower) or questions (language model) in a step."""
    learning_rate: float = 1e-3
    """Peak learning rate; falls to zero along a cosine."""
    warmup: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.02
    """Weight decay of AdamW, for matrices only."""


@dataclass(frozen=True)
class TowerConfig(StageConfig):
    """How the vision tower is trained."""

    positive_weight: float = 3.0
    """Weight of the few tokens with a landmark in the presence loss."""
    colour_jitter: float = 0.2
    """Largest relative change of each colour channel."""
    shift_px: int = 12
    """Largest shift of the image in each direction, in pixels."""


@dataclass(frozen=True)
class LanguageConfig(StageConfig):
    """How the language model is trained."""

    learning_rate: float = 8e-4
    """Peak learning rate; falls to zero along a cosine."""
    warmup: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.05
    """Weight decay of AdamW, for matrices only."""
    describe_share: tuple[float, float] = (0.3, 0.05)
    """Share of the questions that ask for a description: at the start, and from half-way on."""
    locate_share: tuple[float, float] = (0.4, 0.05)
    """Share of the questions that ask for locations, likewise."""
    located: int = 3
    """Landmarks in one question for locations."""
    text_weight: float = 0.5
    """Weight of the loss of words against that of the digit of a score."""
    balance: float = 0.5
    """0 draws examples as they are, 1 makes every (scene, kind, level) equally frequent."""
    negatives: bool = True
    """Train on failures and counterfactuals too; off, for the ablation: on successes with their own task only."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run."""

    data: tuple[Path, ...]
    """Data folders; their splits are kept apart, and may not share the seed of an episode."""
    out: Path
    """Folder of the run."""
    stage: Literal["tower", "language", "all"] = "all"
    """Which part to train."""
    tower_from: Path | None = None
    """Another run whose tower, tokenizer and cached features are used, instead of training a tower."""
    tower_init: Path | None = None
    """State of an earlier tower stage (`tower.safetensors`) whose weights this one begins with."""
    language_init: Path | None = None
    """State of an earlier language stage (`language-best.safetensors`) whose weights this one begins with."""
    size: NanoSize = field(default_factory=NanoSize)
    """Width and depth."""
    tower: TowerConfig = field(default_factory=TowerConfig)
    """First stage."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    """Second stage."""
    seed: int = 0
    """Seed of weights and batches."""
    threads: int = 2
    """CPU threads."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    validate_every: int = 250
    """Steps between validations; the weights with the lowest validation macro MAE are kept."""
    validation_examples: int = 600
    """Examples of the validation split: always the same ones, as many of every subset (scene and kind)."""

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "validate_every", "validation_examples", "threads"):
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}. Choose 1 or more.")
