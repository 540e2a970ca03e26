"""Time of a simulation: as fast as the wall's, or as fast as the machine can."""

import threading
import time
from collections.abc import Callable

LARGEST_LAG_S = 0.2
"""Behind by more, a simulation does not try to catch up: its time stands still a little instead."""


class Pace(threading.Thread):
    """Calls `tick` once in `period_s`, from a thread of its own.

    Args:
        tick: Moves the simulation on by one period.
        period_s: Simulated length of a tick [s].
        speed: Simulated seconds in a second.
        stop: Ends the thread.
        on_lag: Called when time stands still.
    """

    def __init__(
        self,
        tick: Callable[[], None],
        period_s: float,
        *,
        speed: float,
        stop: threading.Event,
        on_lag: Callable[[], None],
    ) -> None:
        super().__init__(name="physics", daemon=True)
        self._tick, self._wall_s = tick, period_s / speed
        self._stopped, self._on_lag = stop, on_lag

    def run(self) -> None:
        """Tick until stopped; a late tick is made up for, a long pause is not."""
        try:
            self._run()
        finally:  # also after an error: without physics there is nothing to drive
            self._stopped.set()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            self._tick()
            due += self._wall_s
            left = due - time.monotonic()
            if left > 0.0:
                self._stopped.wait(left)
            elif left < -LARGEST_LAG_S:
                due = time.monotonic()
                self._on_lag()
