"""Short trainings from one checkpoint, to compare what differs between them: `benchmarks.losses`, `benchmarks.negatives_ablation`."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reward_models.nano.config import LANGUAGE
from reward_models.training.questions import TrainingSet
from reward_models.training.run import fine_tune


@dataclass(frozen=True)
class ShortRuns:
    """What all runs have in common."""

    base: Path
    """Checkpoint that every run begins with: the model of `benchmarks.score_free_base`."""
    _: KW_ONLY
    steps: int = 300
    """Optimizer steps of each run."""
    batch_size: int = 16
    """Examples in a step."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    seeds: int = 3
    """Seeds of the order of the examples, the same ones for all that is compared."""

    @property
    def about(self) -> dict[str, Any]:
        """For the file of results."""
        return {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }

    def train(
        self, train: TrainingSet, validation: TrainingSet | None, folder: Path, **sft: Any
    ) -> None:
        """Train once; the frozen tower looks at each clip once, for all runs in the folder above."""
        config = replace(
            LANGUAGE,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=self.steps // 10,
            validate_every=self.steps,
            **sft,
        )
        fine_tune(
            self.base,
            config,
            train,
            validation,
            folder,
            features=folder.parent / "features",
            feature_dtype=torch.float16,
        )


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, and the numbers themselves."""
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
        "seeds": [round(float(value), 4) for value in values],
    }


def print_table(title: str, numbers: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """A row for each thing that was compared: mean and standard deviation of each number."""
    print(f"| {title} | {' | '.join(numbers)} |")
    print(f"| --- {'| --- ' * len(numbers)}|")
    for name, row in rows.items():
        cells = [f"{row[number]['mean']:.3f} ± {row[number]['sd'] or 0:.3f}" for number in numbers]
        print(f"| {name} | {' | '.join(cells)} |")
