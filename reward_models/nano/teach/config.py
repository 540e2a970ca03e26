"""Settings of `python -m reward_models.nano.teach`; no torch here, so that `--help` answers at once."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reward_models.training.config import SftConfig
from roboreward_gym.errors import InvalidSetting

FEWEST_EPISODES = 2
"""Of each split; far fewer than a useful reward model needs."""

LANGUAGE = SftConfig(
    steps=300,
    batch_size=16,
    accumulation=1,
    learning_rate=1e-3,
    warmup=30,
    order="random",
    precision="float32",
    gradient_checkpointing=False,
    device="cpu",
    validate_every=100,
    validation_batch_size=64,
    log_every=50,
)
"""How the language model and the projector go on from the shipped weights."""


@dataclass(frozen=True)
class Episodes:
    """What is played to learn from."""

    train: int = 600
    """Episodes to train on."""
    val: int = 100
    """Episodes to choose the checkpoint by."""
    test: int = 150
    """Episodes that the report is about: nothing is chosen by them."""
    prefixes: int = 2
    """Beginnings of each episode that are shown as well, each with the level it had reached by then."""
    random_share: float = 0.5
    """Share of the episodes of a given policy in which some actions are random ones, so that failures of all kinds occur."""
    max_steps: int | None = None
    """Steps after which an episode is cut; by default the environment's own time limit."""

    def __post_init__(self) -> None:
        for split, count in self.by_split.items():
            if count < FEWEST_EPISODES:
                raise InvalidSetting(
                    f"The split {split} has {count} episodes. Choose {FEWEST_EPISODES} or more."
                )
        if self.prefixes < 0 or not 0 <= self.random_share <= 1:
            raise InvalidSetting("Choose 0 or more prefixes, and a random share in [0, 1].")
        if self.max_steps is not None and self.max_steps < 1:
            raise InvalidSetting(f"max_steps is {self.max_steps}. Choose 1 or more.")

    @property
    def by_split(self) -> dict[str, int]:
        """Number of episodes, by split."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclass(frozen=True)
class Tower:
    """How the vision tower learns to see: from pairs of frames, each with the level of its moment."""

    steps: int = 400
    """Optimizer steps; 0 keeps the tower of the base."""
    batch_size: int = 8
    """Clips in a step."""
    learning_rate: float = 5e-4
    """Peak learning rate; falls to zero along a cosine."""
    warmup: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.02
    """Weight decay of AdamW, for matrices only."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1:
            raise InvalidSetting(
                "Choose 0 or more steps of the tower, and a batch size of 1 or more."
            )


@dataclass(frozen=True)
class TeachConfig:
    """An environment, what it says of itself, and how a reward model is trained on it."""

    env: str
    """Gymnasium id, such as `gym_pusht/PushT-v0`; the module that registers it may stand before it, with a colon between."""
    level: str
    """How the environment says its level: a key of `info`, or a function `my.module:level` of environment and info. A number, or a
    mapping from tasks to numbers; None where it is not known."""
    out: Path
    """Folder for data, checkpoints and the report; `OUT/model` is the result. The same command goes on from where it was stopped."""
    task: str = ""
    """The task in words. Not needed where the level is a mapping with one task."""
    thresholds: tuple[float, float, float, float] | None = None
    """From which values on the level is 2, 3, 4 and 5; without them the number is the level itself, 1 to 5."""
    policy: tuple[str, ...] = ("random",)
    """Who plays, in equal shares: `random`, or a function `my.module:policy` of environment and random generator that returns a
    function from observation to action."""
    env_options: str = "{}"
    """Arguments of `gym.make` as JSON, such as '{"visualization_width": 160}'."""
    frame_source: str = "render"
    """Where frames come from, as in `VLMRewardWrapper`."""
    fps: float | None = None
    """Steps per second in [Hz]; by default `render_fps` of the environment's metadata."""
    allow_unseeded: bool = False
    """Go on although a reset with the same seed does not repeat itself; then no run can be repeated."""
    episodes: Episodes = field(default_factory=Episodes)
    """What is played."""
    base: Path | None = None
    """Model folder to begin with; by default the shipped roboreward-nano."""
    tower: Tower = field(default_factory=Tower)
    """How the vision tower goes on."""
    language: SftConfig = field(default_factory=lambda: LANGUAGE)
    """How the language model goes on, by the trainer of `roboreward train`; its seed is that of the run."""
    seed: int = 0
    """Seed of episodes, weights and batches."""
    threads: int = 2
    """CPU threads."""

    def __post_init__(self) -> None:
        if self.thresholds is not None and any(
            low >= high for low, high in itertools.pairwise(self.thresholds)
        ):
            raise InvalidSetting(f"The four thresholds must rise, not {self.thresholds}.")
        if not self.policy or self.threads < 1 or self.seed < 0:
            raise InvalidSetting("Name a policy, 1 or more threads and a seed of 0 or more.")
        _ = self.env_arguments

    @property
    def env_arguments(self) -> dict[str, Any]:
        """Arguments of `gym.make`.

        Raises:
            InvalidSetting: They are no JSON object.
        """
        try:
            found = json.loads(self.env_options)
        except ValueError as error:
            raise InvalidSetting(f"--env-options is no JSON: {error}.") from error
        if not isinstance(found, dict):
            raise InvalidSetting(
                "--env-options is no JSON object. Write it as '{\"name\": value}'."
            )
        return found
