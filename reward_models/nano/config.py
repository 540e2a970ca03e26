"""Settings of nano's training; no torch here, so that `--help` answers at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reward_models.training.config import SftConfig
from roboreward_gym.errors import InvalidSetting

LANGUAGE_STAGE = "language"
"""Folder of the second stage in that of the run: metrics, checkpoints and settings."""


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
class TowerConfig:
    """How the vision tower is trained."""

    steps: int = 2_500
    """Optimizer steps."""
    batch_size: int = 32
    """Pairs of frames in a step."""
    learning_rate: float = 1e-3
    """Peak learning rate; falls to zero along a cosine."""
    warmup: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.02
    """Weight decay of AdamW, for matrices only."""
    positive_weight: float = 3.0
    """Weight of the few tokens with a landmark in the presence loss."""
    colour_jitter: float = 0.2
    """Largest relative change of each colour channel."""
    shift_px: int = 12
    """Largest shift of the image in each direction, in pixels."""
    other_sizes: float = 0.0
    """Share of the batches whose images have another size than those of the first folder: one that the protocol makes of small, short or
    large recordings."""


@dataclass(frozen=True)
class QuestionConfig:
    """What the language model is asked."""

    describe_share: tuple[float, float] = (0.3, 0.05)
    """Share of the questions that ask for a description: at the start, and from half-way on."""
    locate_share: tuple[float, float] = (0.4, 0.05)
    """Share of the questions that ask for locations, likewise."""
    located: int = 3
    """Landmarks in one question for locations."""
    balance: float = 0.5
    """0 draws examples as they are, 1 makes every (scene, kind, level) equally frequent."""
    contrast_share: float = 0.0
    """Share of the score questions that come in pairs about one clip: a task that is done in it, and one that is not."""
    contrast_words: tuple[str, ...] = ()
    """Only tasks with one of these words make such pairs: what is hard to tell apart; by default all tasks do."""
    negatives: bool = True
    """Train on failures and counterfactuals too; off, for the ablation: on successes with their own task only."""


LANGUAGE = SftConfig(
    steps=2_500,
    batch_size=32,
    accumulation=1,
    learning_rate=8e-4,
    warmup=100,
    order="given",
    precision="float32",
    gradient_checkpointing=False,
    validate_every=250,
    validation_batch_size=64,
)
"""How nano's language model and projector are trained, from a random start and in an hour."""


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
    """Model folder of an earlier run whose language model and projector this one begins with."""
    size: NanoSize = field(default_factory=NanoSize)
    """Width and depth."""
    tower: TowerConfig = field(default_factory=TowerConfig)
    """First stage."""
    language: SftConfig = field(default_factory=lambda: LANGUAGE)
    """Second stage, by the trainer of `roboreward train`; its seed, order, device and workers are those of the run."""
    questions: QuestionConfig = field(default_factory=QuestionConfig)
    """What the second stage asks."""
    seed: int = 0
    """Seed of weights and batches."""
    device: Literal["auto", "cpu"] = "auto"
    """Where to train; `auto` is a GPU of CUDA if there is one, else the CPU."""
    threads: int = 2
    """CPU threads."""
    workers: int = 0
    """Processes that prepare batches ahead; the weights do not depend on it."""
    checkpoint_every: int = 250
    """Steps of the first stage between checkpoints."""
    validation_examples: int = 600
    """Examples of the validation split: always the same ones, as many of every subset (scene and kind)."""

    def __post_init__(self) -> None:
        for name in ("checkpoint_every", "validation_examples", "threads"):
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}. Choose 1 or more.")
        if self.language.steps is None:
            raise InvalidSetting(
                "Questions are drawn without end, so there are no epochs. Say how many steps: --language.steps."
            )
