"""How good the new reward model is on episodes that nothing was chosen by: `OUT/report.json`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from reward_models.bench.intervals import intervals
from reward_models.bench.metrics import (
    confusion_matrix,
    false_positive_rate,
    kendall_tau,
    macro_mean_absolute_error,
    mean_absolute_error,
    true_positive_rate,
)
from reward_models.data import published
from reward_models.data.example import Example, examples
from reward_models.data.sources import ReadOptions
from reward_models.json_lines import without_nan
from reward_models.nano.teach.config import TeachConfig
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.types import LEVELS

REPORT = "report.json"
BOOTSTRAP = 1000
BATCH = 32


def write_report(config: TeachConfig, data: Path, folder: Path) -> dict[str, Any]:
    """Score the test split and write what came out."""
    rows = list(examples(published.read(data, ReadOptions(split="test"))))
    predicted = score_examples(RoboReward(folder, device="cpu"), rows)
    truth = np.array([row.reward for row in rows], np.int64)
    episodes = [row.source_episode for row in rows]
    report = {
        "env": config.env,
        "examples": len(rows),
        "episodes": len(set(episodes)),
        "seed": config.seed,
        **numbers(predicted, truth),
        "abstained": float(np.isnan(predicted).mean()),
        "intervals": intervals(lambda i: numbers(predicted[i], truth[i]), episodes, BOOTSTRAP),
        "best_constant_macro_mae": min(
            numbers(np.full(len(truth), float(level)), truth)["macro_mae"] for level in LEVELS
        ),
        "confusion": confusion_matrix(predicted, truth).tolist(),
    }
    text = json.dumps(without_nan(report), indent=2)
    (config.out / REPORT).write_text(text + "\n", encoding="utf-8")
    low, high = report["intervals"]["macro_mae"]
    tqdm.write(
        f"test: macro MAE {report['macro_mae']:.2f} [{low:.2f}, {high:.2f}] levels (a constant: "
        f"{report['best_constant_macro_mae']:.2f}), false positives {report['false_positive_rate']:.1%}, "
        f"abstained {report['abstained']:.1%}"
    )
    return report


def numbers(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The single numbers; `macro_mae` is the mean over the true levels that occur."""
    return {
        "macro_mae": macro_mean_absolute_error(predicted, truth, [str(t) for t in truth])[0],
        "mae": mean_absolute_error(predicted, truth),
        "exact": float((predicted == truth).mean()),
        "kendall_tau": kendall_tau(predicted, truth),
        "false_positive_rate": false_positive_rate(predicted, truth),
        "true_positive_rate": true_positive_rate(predicted, truth),
    }


def score_examples(model: RoboReward, rows: Sequence[Example]) -> np.ndarray:
    """`(N,)` float64 levels of labelled videos; NaN where an answer is unreadable."""
    levels: list[float] = []
    starts = range(0, len(rows), BATCH)
    for start in tqdm(starts, desc="test", unit="batch"):
        clips = [row.video.read().clip(row.task) for row in rows[start : start + BATCH]]
        levels += [np.nan if s.level is None else float(s.level) for s in model.score(clips)]
    return np.array(levels)
