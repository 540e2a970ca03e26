"""Settings of fine-tuning; no torch here, so that `roboreward train --help` answers at once."""

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from roboreward_gym.errors import InvalidSetting

Precision = Literal["float32", "mixed", "bfloat16"]
Logger = Literal["tensorboard", "wandb"]
Order = Literal["length", "random", "given"]


@dataclass(frozen=True)
class LossConfig:
    """What the model is trained for, at the tokens of the answer.

    At the digit the loss is `off_format + cross_entropy * CE + regression * (E - y)^2 + pairwise * rank`: the negative
    logarithm of the probability of any digit at all, cross-entropy over the five digits, squared error of the expected score,
    and the loss of pairs. Off-format and cross-entropy together are the usual cross-entropy over the whole vocabulary.
    """

    digit: float = 1.0
    """Weight of the loss at the digit of a score."""
    words: float = 0.04
    """Weight of all other tokens of a score's answer together: only its digit is read, the rest keeps the format."""
    text: float = 0.5
    """Weight of all tokens of any other answer together."""
    cross_entropy: float = 1.0
    """Weight of cross-entropy over the five digits."""
    softness: float = 0.0
    """Above 0: targets proportional to exp(-distance / softness), with the distance to the true level, instead of the true level alone (soft ordinal
    labels, Diaz and Marathe, CVPR 2019)."""
    regression: float = 0.0
    """Weight of the squared error of the expected score."""
    pairwise: float = 0.0
    """Weight of log(1 + exp(-(E_i - E_j))) over pairs of a batch with true levels i > j (RankNet, Burges et al., ICML 2005)."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidSetting(f"{item.name} of the loss is {value}. Choose 0 or more.")
        if self.cross_entropy == self.regression == self.pairwise == 0:
            raise InvalidSetting(
                "The loss has neither cross_entropy nor regression nor pairwise, so no score is learned. "
                "Give one of them a weight above 0."
            )


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters in every linear layer of the language model and the projector, instead of training them."""

    rank: int = 64
    """Rank of the adapters."""
    alpha: int = 128
    """Scale of the adapters, over the rank."""
    dropout: float = 0.0
    """Dropout before the adapters."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not 0 <= self.dropout < 1:
            raise InvalidSetting(
                f"LoRA needs a rank and an alpha of 1 or more and a dropout in [0, 1), not {self}."
            )


@dataclass(frozen=True)
class SftConfig:
    """How a model is fine-tuned; nano's language stage has these settings too."""

    learning_rate: float = 3e-6
    """Peak learning rate; falls to zero along a cosine."""
    warmup: float = 0.05
    """Linear warm-up: part of all steps below 1, else a number of steps."""
    weight_decay: float = 0.05
    """Weight decay of AdamW, for matrices only."""
    max_gradient_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    steps: int | None = None
    """Optimizer steps; by default as many as `epochs` take."""
    epochs: float = 3.0
    """Passes over the data, if `steps` is not given."""
    batch_size: int = 8
    """Examples that one device takes at a time."""
    accumulation: int = 4
    """Batches whose gradients are added up before a step."""
    order: Order = "length"
    """`random`; `length` puts examples of similar length into one batch, so that less is padded; `given` as they are."""
    projector: bool = True
    """Train the projector (merger and what feeds the deepstack) as well; the vision tower itself is always frozen."""
    precision: Precision = "mixed"
    """`mixed`: weights and moments in float32, arithmetic in bfloat16. `bfloat16`: all of it, for less memory. On a CPU
    `float32` is fastest."""
    gradient_checkpointing: bool = True
    """Keep one activation a layer and compute the others again: less memory, a third more time."""
    lora: LoraSettings | None = None
    """Train adapters only, as the settings `-lora` do; needs the extra `train`."""
    fsdp: bool = False
    """Spread weights, gradients and moments over all processes of `torchrun` (FSDP2)."""
    max_length: int = 8192
    """Most tokens of an example."""
    attention: str | None = None
    """Attention of the language model by its name in transformers, such as flash_attention_2."""
    device: Literal["auto", "cpu"] = "auto"
    """A GPU if there is one, or the CPU."""
    workers: int = 0
    """Processes that decode videos ahead, for each device."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What is trained for."""
    validate_every: int = 200
    """Steps between validations; each also writes a checkpoint. The one with the lowest macro MAE becomes the model."""
    keep_checkpoints: bool = False
    """Keep the checkpoint of every validation; by default the best and the last."""
    validation_batch_size: int = 16
    """Examples that one device validates at a time."""
    log_every: int = 10
    """Steps between rows of `metrics.jsonl`."""
    log_to: tuple[Logger, ...] = ()
    """Also log to TensorBoard or W&B, by transformers' callbacks."""
    seed: int = 0
    """Seed of order, adapters and dropout."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation", "max_length", "validate_every",
                     "validation_batch_size", "log_every"):  # fmt: skip
            if getattr(self, name) < 1:
                raise InvalidSetting(f"{name} is {getattr(self, name)}. Choose 1 or more.")
        if self.steps is not None and self.steps < 1:
            raise InvalidSetting(f"steps is {self.steps}. Choose 1 or more.")
        if not self.epochs > 0:
            raise InvalidSetting(f"epochs is {self.epochs}. Choose a number above 0.")
        for name in ("learning_rate", "warmup", "weight_decay", "workers"):
            if not getattr(self, name) >= 0:
                raise InvalidSetting(f"{name} is {getattr(self, name)}. Choose 0 or more.")
        if self.lora is not None and not self.projector:
            raise InvalidSetting("Adapters go into the projector too. Leave out --no-projector.")


@dataclass(frozen=True)
class TrainConfig:
    """A fine-tuning run."""

    model: str = "roboreward-nano"
    """What to begin with: a folder, a hub id with or without @REVISION, or roboreward-nano, -4b or -8b."""
    data: tuple[Path, ...] = ()
    """Folders in the published layout, with splits `train` and `val`, or of simulated reward data."""
    out: Path = Path("runs/train")
    """Folder of the run; `OUT/model` is the result. The same command continues a run that was stopped."""
    sft: SftConfig = field(default_factory=SftConfig)
    """How it is trained."""
    features: Path | None = None
    """Folder where the frozen tower's output is kept, computed once; by default the tower runs in every step."""
    validation_examples: int = 1000
    """Examples of the validation split: always the same ones, as many of every subset; 0 trains without validation."""
    plan: bool = False
    """Print how much memory this training needs on 1, 2 and 8 GPUs, and train nothing."""

    def __post_init__(self) -> None:
        if self.validation_examples < 0:
            raise InvalidSetting(
                f"validation_examples is {self.validation_examples}. Choose 0 or more."
            )


# Each value with its source: [A] the authors' training scripts (github.com/teetone/Qwen2.5-VL and the Qwen3 scripts of
# RoboReward), [S] secondhand notes on the paper, [O] our own choice.
_AUTHORS: dict[str, Any] = {
    "warmup": 0.05,  # [A]
    "weight_decay": 0.05,  # [A] AdamW
    "max_gradient_norm": 1.0,  # [A]
    "epochs": 3.0,  # [A] 2 to 3, in the last version of the script 3
    "projector": True,  # [A] projector and language model are trained, the vision tower is frozen
    "precision": "mixed",  # [A] bf16; DeepSpeed ZeRO-3 keeps float32 master weights, as `mixed` does
    "gradient_checkpointing": True,  # [A]
    "max_length": 8192,  # [A]
    "order": "length",  # [O] the authors put examples end to end in one sequence, which needs flash attention
    "validate_every": 200,  # [A] a checkpoint every 200 steps; [S] chosen by the lowest validation MAE
    # [A] plain cross-entropy over the answer. "ANSWER: 3" and the end of the turn are six tokens of Qwen3 ("ANS", "WER", ":",
    # the space, the digit, the end), of equal weight: the digit has one sixth.
    "loss": LossConfig(digit=1 / 6, words=5 / 6, text=1.0),
}

NAMED = {
    "roboreward-4b": TrainConfig(
        model="Qwen/Qwen3-VL-4B-Instruct",  # [A]
        sft=SftConfig(
            **_AUTHORS,
            learning_rate=3e-6,  # [A]
            batch_size=8,  # [A]
            accumulation=4,  # [A] 8 x 4 = 32
        ),
    ),
    "roboreward-8b": TrainConfig(
        model="Qwen/Qwen3-VL-8B-Instruct",  # [A]
        sft=SftConfig(
            **_AUTHORS,
            learning_rate=5e-6,  # [A] in the last version of the script; 2e-6 in an earlier one
            batch_size=2,  # [A]
            accumulation=16,  # [A] 2 x 16 = 32
        ),
    ),
    "nano": TrainConfig(
        model="roboreward-nano",
        sft=SftConfig(  # [O] as nano's own language stage
            learning_rate=1e-3,
            warmup=50,
            steps=500,
            batch_size=32,
            accumulation=1,
            precision="float32",
            gradient_checkpointing=False,
            device="cpu",
            validate_every=100,
        ),
        features=Path("runs/features"),
    ),
}
"""Settings by name: those of RoboReward's authors for the two published sizes, and ours for nano on a CPU."""

DESCRIPTIONS = {
    "roboreward-4b": "Qwen3-VL-4B-Instruct with the hyper-parameters of RoboReward's authors.",
    "roboreward-8b": "Qwen3-VL-8B-Instruct with the hyper-parameters of RoboReward's authors.",
    "nano": "roboreward-nano on a CPU, in minutes.",
}

_PUBLISHED = ("roboreward-4b", "roboreward-8b")


_ADAPTERS_RATE = 10
"""Best learning rate of adapters over that of all weights (Schulman and Thinking Machines Lab, LoRA Without Regret, 2025)."""


def _with_adapters(config: TrainConfig) -> TrainConfig:
    rate = _ADAPTERS_RATE * config.sft.learning_rate
    return replace(config, sft=replace(config.sft, lora=LoraSettings(), learning_rate=rate))  # [O]


# By name, because the command line has the options `--sft.lora.*` only where there are adapters from the start.
NAMED |= {f"{name}-lora": _with_adapters(NAMED[name]) for name in _PUBLISHED}
DESCRIPTIONS |= {f"{name}-lora": f"As {name}, but with LoRA adapters only." for name in _PUBLISHED}
