"""The frame rate of a file whose time stamps are rounded, and may be uneven."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from reward_models.video.recording import InvalidVideo

MIN_HZ, MAX_HZ = 0.01, 1000.0
"""Frame rates that a camera may have; time stamps that say otherwise are wrong."""

GRIDS = (Fraction(1), Fraction(1, 10), Fraction(1000, 1001))
"""Cameras run at multiples of these rates in [Hz]: whole ones, decimals, and broadcast's 30000/1001."""

JITTER = 0.2
"""Most deviation of a time stamp from an even grid that is taken for rounding, in frame periods."""


def frame_rate(
    times_s: Sequence[Fraction | None],
    declared: Sequence[Fraction],
    time_base: Fraction,
    name: object,
) -> tuple[float, np.ndarray]:
    """Find the constant rate at which frames are shown, and which of them is shown at each tick.

    A rate that the file declares counts if the time stamps agree with it up to their rounding.
    Otherwise the simplest rate that they agree with is taken, and where there is none (a camera
    that dropped frames), their mean.

    Args:
        times_s: Time of each frame in [s].
        declared: Rates that the file says, in [Hz].
        time_base: Unit that time stamps are rounded to, in [s].
        name: The file, for errors.

    Returns:
        The rate in [Hz], and `(len(times_s),)` int64 indices of frames. They are 0, 1, 2, ... unless
        there was a pause: it stays as long as it was, with the frame before it repeated.

    Raises:
        InvalidVideo: A single frame, no time stamps, or some that do not increase.
    """
    count = len(times_s)
    if count == 1:
        raise InvalidVideo(
            f"{name} has a single frame, and progress is a change between frames. "
            "Record at least two."
        )
    known = [time_s for time_s in times_s if time_s is not None]
    duration = known[-1] - known[0] if len(known) == count else Fraction(0)
    mean = (count - 1) / duration if duration > 0 else Fraction(0)
    stamps = np.array([float(time_s - known[0]) for time_s in known])
    if not MIN_HZ <= mean <= MAX_HZ or (np.diff(stamps) < 0).any():
        raise InvalidVideo(
            f"The time stamps of {name} do not give the rate of its {count} frames "
            f"({float(mean):.4g} Hz). Pass the frames per second with --fps."
        )
    in_order = np.arange(count)
    simple = [round(mean / grid) * grid for grid in GRIDS]
    for rate in (*declared, *simple):
        if rate > 0:
            tolerance = min(float(time_base), JITTER / float(rate)) + 1e-6
            if np.abs(stamps - in_order / float(rate)).max() <= tolerance:
                return float(rate), in_order
    ticks = in_order / float(mean)
    if np.abs(stamps - ticks).max() <= 0.5 / float(mean):
        return float(mean), in_order
    shown = np.searchsorted(stamps, ticks + 1e-6, side="right") - 1
    return float(mean), np.clip(shown, 0, None)
