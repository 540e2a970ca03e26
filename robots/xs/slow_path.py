"""Slow motion in joint space: where a reset and going to sleep send the arm."""

import math
from collections.abc import Iterator

import numpy as np

SLOW_RAD_S = 0.6
"""Fastest joint of a reset or of going to sleep."""
STREAM_HZ = 20.0
"""Set-points per second."""


def slow_path(start: np.ndarray, end: np.ndarray) -> Iterator[np.ndarray]:
    """Set-points `(6,)` [rad] behind `start` up to `end`, for `STREAM_HZ`; at rest at both ends."""
    # 1.5 times the mean speed is the top of a smooth step.
    steps = max(2, math.ceil(1.5 * np.abs(end - start).max() / SLOW_RAD_S * STREAM_HZ))
    for i in range(1, steps + 1):
        s = i / steps
        yield start + (end - start) * s * s * (3.0 - 2.0 * s)
