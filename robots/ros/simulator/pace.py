"""Time of a simulation: as fast as the wall's, or as fast as the machine can."""

import threading
import time
from collections.abc import Callable

LARGEST_LAG_S = 0.2
"""Behind by more, a simulation does not try to catch up: its time stands still a little instead."""
POLL_S = 0.001
REPUBLISH_S = 0.1
"""How often the present time is published again while the simulation waits for a client: messages can be lost."""


class Pace(threading.Thread):
    """Calls `tick` once in `period_s`, from a thread of its own.

    Args:
        tick: Moves the simulation on by one period.
        period_s: Simulated length of a tick [s].
        speed: Simulated seconds in a second.
        stop: Ends the thread.
        on_lag: Called when time stands still because the machine is too slow.
        may_go_on: Whether everybody has come so far that the next tick may come.
        on_wait: Called now and then while somebody has not.
    """

    def __init__(
        self,
        tick: Callable[[], None],
        period_s: float,
        *,
        speed: float,
        stop: threading.Event,
        on_lag: Callable[[], None],
        may_go_on: Callable[[], bool],
        on_wait: Callable[[], None],
    ) -> None:
        super().__init__(name="physics", daemon=True)
        self._tick, self._wall_s = tick, period_s / speed
        self._stopped, self._on_lag = stop, on_lag
        self._may_go_on, self._on_wait = may_go_on, on_wait

    def run(self) -> None:
        """Tick until stopped; a late tick is made up for, a long pause is not."""
        try:
            self._run()
        finally:  # also after an error: without physics there is nothing to drive
            self._stopped.set()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            due += self._wait_for_others()
            self._tick()
            due += self._wall_s
            left = due - time.monotonic()
            if left > 0.0:
                self._stopped.wait(left)
            elif left < -LARGEST_LAG_S:
                due = time.monotonic()
                self._on_lag()

    def _wait_for_others(self) -> float:
        """Wait until everybody is so far; returns for how long [s]."""
        began = published = time.monotonic()
        while not self._may_go_on() and not self._stopped.wait(POLL_S):
            if time.monotonic() - published > REPUBLISH_S:
                published = time.monotonic()
                self._on_wait()
        return time.monotonic() - began
