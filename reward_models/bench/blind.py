"""Two models that see almost nothing, as a lower bound: the duration alone, and the duration with a tiny last frame.

Both are ridge regressions from scikit-learn, fitted and tested on different units of the same data by cross-validation: a
reward model that is hardly better may rest on the same shortcut.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy.stats import pearsonr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from reward_models.bench.intervals import intervals
from reward_models.bench.metrics import summarize
from reward_models.bench.questions import InvalidBenchmark, Question, Questions
from roboreward_gym.types import LEVELS, Clip

THUMBNAIL = 8
"""Side of the last frame that the second one sees, in pixels."""
FOLDS = 5
ALPHAS = tuple(10.0**power for power in range(-2, 5))


def measure_blind(questions: Questions, *, bootstrap: int, seed: int = 0) -> dict[str, Any]:
    """Errors of both blind models, with intervals over units.

    Raises:
        InvalidBenchmark: Fewer than two independent units.
    """
    rows = questions.rows
    units = [row.unit for row in rows]
    folds = min(FOLDS, len(set(units)))
    if folds < 2:
        raise InvalidBenchmark(
            "The blind models need videos of two independent episodes at least. Name more data."
        )
    seen = _features(questions)
    duration = np.stack([seen[row.video][0] for row in rows])
    picture = np.stack([seen[row.video][1] for row in rows])
    inputs = {
        "duration": duration,
        "duration and 8x8 last frame": np.concatenate([duration, picture], axis=1),
    }
    truth = np.array([row.level for row in rows])
    found = {}
    for name, features in inputs.items():
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS))
        folded = GroupKFold(folds)
        predicted = cross_val_predict(model, features, truth, groups=units, cv=folded)
        found[name] = _numbers(rows, predicted, truth, bootstrap, seed)
    return found


def _numbers(
    rows: Sequence[Question], predicted: np.ndarray, truth: np.ndarray, bootstrap: int, seed: int
) -> dict[str, Any]:
    levels = np.clip(np.round(predicted), LEVELS[0], LEVELS[-1])
    names = ("macro_mae", "mae", "false_positive_rate", "true_positive_rate", "kendall_tau_b")

    def numbers(chosen: np.ndarray) -> dict[str, float]:
        summary = summarize(levels[chosen], truth[chosen], [rows[i].subset for i in chosen])
        return {name: float(summary[name]) for name in names}

    constant = np.ptp(predicted) == 0 or np.ptp(truth) == 0
    return {
        **numbers(np.arange(len(rows))),
        "pearson_r": None if constant else float(pearsonr(predicted, truth).statistic),
        "intervals": intervals(numbers, [row.unit for row in rows], bootstrap, seed),
    }


def _features(questions: Questions) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each video `(2,)` of its duration and `(192,)` of its last frame."""
    first = {row.video: row for row in reversed(questions.rows)}
    return {
        video: _look(questions.read(row))
        for video, row in tqdm(first.items(), desc="blind models", unit="video")
    }


def _look(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    seconds = clip.duration_s
    image = Image.fromarray(clip.frames[-1])
    small = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.array([seconds, np.log(seconds)]), np.asarray(small, np.float64).ravel() / 255
