"""Where a reward model's score counts as success for one task: the file that `roboreward calibrate` writes.

A level is the likeliest of five answers; the probability of 5, or the mean level, above a threshold that was fitted on a few
labelled episodes can separate success from failure better.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from roboreward_gym.errors import InvalidScore, InvalidSetting
from roboreward_gym.types import LEVELS, ProgressScore

FORMAT = "roboreward operating point 1"
Statistic = Literal["expected", "success_probability"]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold on one number of a score.

    Attributes:
        model: Name of the reward model that it was fitted for.
        statistic: `expected`, the mean level in 1..5, or `success_probability`, that of level 5.
        threshold: From this value on, the score counts as success.
        temperature: Probabilities are raised to the power of its inverse and normalised, before anything else.
        weights_sha256: Weights that it was fitted for; scores of others are refused. Empty: not known.
        about: How it was fitted, and how far it can be trusted.

    Raises:
        InvalidSetting: A value out of its range.
    """

    model: str
    statistic: Statistic
    threshold: float
    temperature: float = 1.0
    weights_sha256: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.statistic not in get_args(Statistic):
            raise InvalidSetting(
                f"The statistic is {self.statistic!r}. Choose one of {', '.join(get_args(Statistic))}."
            )
        for name in ("threshold", "temperature"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value)):
                raise InvalidSetting(f"The {name} of an operating point is {value!r}, no number.")
        if self.temperature <= 0:
            raise InvalidSetting(f"The temperature is {self.temperature}. Choose one above 0.")

    def value(self, score: ProgressScore) -> float:
        """The number that is compared with the threshold.

        Raises:
            InvalidScore: The score is unreadable, comes from other weights, or lacks the probabilities that a
                temperature needs.
        """
        if score.level is None:
            raise InvalidScore(
                f"An unreadable answer is neither success nor failure: {score.text!r}."
            )
        weights = score.manifest.get("weights_sha256")
        if self.weights_sha256 and weights and weights != self.weights_sha256:
            raise InvalidScore(
                f"The operating point was fitted for other weights of {self.model}. Run roboreward calibrate "
                "with the present ones."
            )
        if self.temperature == 1.0:
            return score.expected if self.statistic == "expected" else score.success_probability
        if score.probabilities is None:
            raise InvalidScore(
                f"The operating point has a temperature, but {self.model} gives no probabilities. Fit it "
                "without one."
            )
        p = tempered(score.probabilities, self.temperature)
        return float(p @ np.array(LEVELS)) if self.statistic == "expected" else float(p[-1])

    def is_success(self, score: ProgressScore) -> bool:
        """Whether the score counts as success."""
        return self.value(score) >= self.threshold

    def save(self, path: Path) -> None:
        """Write the file."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> "OperatingPoint":
        """Read a file that `roboreward calibrate` wrote.

        Raises:
            InvalidSetting: There is no such file, or it is something else.
        """
        try:
            row = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InvalidSetting(
                f"The operating point {path} cannot be read: {error.strerror}. Make it with roboreward calibrate."
            ) from error
        except ValueError as error:
            raise InvalidSetting(
                f"{path} is not an operating point: {error}. Make it with roboreward calibrate."
            ) from error
        if not isinstance(row, dict) or row.pop("format", None) != FORMAT:
            raise InvalidSetting(
                f"{path} is not an operating point of this version ({FORMAT!r}). Make it with roboreward calibrate."
            )
        try:
            return cls(**row)
        except TypeError as error:
            raise InvalidSetting(
                f"{path} is not a complete operating point: {error}. Make it with roboreward calibrate."
            ) from error


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """`(..., 5)` probabilities at another temperature: above 1 flatter, below 1 sharper."""
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), 1e-12)) / temperature
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
