"""A gain of success, with its paired interval and the word for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from experiments.metrics import UNKNOWN


@dataclass(frozen=True)
class Gain:
    """Success after minus success before, on the same starts.

    Attributes:
        value: Difference in -1..1; NaN if unknown.
        interval: Its 95 % interval.
        kept: Whether the fine-tuned policy was kept, run by run.
    """

    value: float
    interval: tuple[float, float]
    kept: Sequence[bool]

    @property
    def kind(self) -> str:
        """`gain` or `loss` only if the interval excludes 0, otherwise `unclear`, which is shown in grey."""
        low, high = self.interval
        if not any(self.kept):
            return "unclear"
        return "gain" if low > 0 else "loss" if high < 0 else "unclear"

    @property
    def words(self) -> str:
        """In points, with its interval."""
        if not math.isfinite(self.value):
            return UNKNOWN
        low, high = (100 * end for end in self.interval)
        return f"{100 * self.value:+.0f} [{low:+.0f}, {high:+.0f}]"

    @property
    def decision(self) -> str:
        """Which policy was kept."""
        if not any(self.kept):
            return "base kept"
        lost = len(self.kept) - sum(self.kept)
        return f"base kept in {lost} of {len(self.kept)} runs" if lost else ""
