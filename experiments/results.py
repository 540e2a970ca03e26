"""The record of a finished run: what its `result.json` holds."""

import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from experiments.metrics import (
    Rate,
    binned_mean,
    confusion,
    false_negative_rate,
    false_positive_rate,
    mean_absolute_error,
)

CURVE_BLOCKS = 16
PACKAGES = ("numpy", "torch", "transformers", "mujoco", "gymnasium")
METRIC_KEYS = {
    "reward": "reward",
    "predicted": "roboreward/level",
    "level": "truth/level",
    "success": "truth/success",
}
"""Our short names for what the fine-tuner logs of each training episode."""


@dataclass(frozen=True)
class Training:
    """What happened in the training episodes, one number per episode each.

    Attributes:
        reward: Return as the learner saw it.
        predicted: Level that the reward model predicted, 1..5.
        level: True level, 1..5; reported, never learned from.
        success: True success, 0 or 1; reported, never learned from.
    """

    reward: list[float]
    predicted: list[float]
    level: list[float]
    success: list[float]

    @classmethod
    def from_metrics(cls, lines: Sequence[Mapping[str, Any]]) -> "Training":
        """Read the lines of the fine-tuner's `metrics.jsonl`; what is missing becomes NaN."""
        columns = {
            ours: [_number(line.get(theirs)) for line in lines]
            for ours, theirs in METRIC_KEYS.items()
        }
        return cls(**columns)

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def unscored(self) -> int:
        """Episodes that the reward model gave no reward for, and that were not learned from."""
        return sum(map(math.isnan, self.reward))

    @property
    def confusion(self) -> np.ndarray:
        """`(5, 5)` counts: true level (row) against predicted level (column)."""
        return confusion(self.level, self.predicted)


def summarize(base: Rate, final: Rate, training: Training) -> dict[str, Any]:
    """All measured numbers of a run, JSON-serialisable; what cannot be computed is None."""
    counts = training.confusion
    width = max(1, math.ceil(len(training) / CURVE_BLOCKS))
    curve = {
        name: [[n, _json_number(mean)] for n, mean in binned_mean(values, width)]
        for name, values in vars(training).items()
    }
    return {
        "base_success": _json_number(base.value),
        "base_episodes": base.total,
        "base_interval": [_json_number(end) for end in base.interval],
        "final_success": _json_number(final.value),
        "final_episodes": final.total,
        "final_interval": [_json_number(end) for end in final.interval],
        "gain_points": _json_number(100 * (final.value - base.value)),
        "training_episodes": len(training),
        "unscored_episodes": training.unscored,
        "false_positive_rate": _json_number(false_positive_rate(counts)),
        "false_negative_rate": _json_number(false_negative_rate(counts)),
        "reward_model_mae": _json_number(mean_absolute_error(counts)),
        "confusion_true_by_predicted": counts.tolist(),
        "curve": curve,
    }


def provenance() -> dict[str, Any]:
    """Where numbers come from: commit, uncommitted changes, versions, machine kind."""
    commit = _git("rev-parse", "HEAD")
    return {
        "git_commit": commit or "unknown",
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _json_number(value: float) -> float | None:
    """NaN is not JSON."""
    return value if math.isfinite(value) else None
