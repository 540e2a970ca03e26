"""The control loop's clock: deadlines that do not drift, and how late each one was met."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

REMEMBERED = 10_000
"""Deadlines whose lateness is kept: half an hour at 5 Hz."""


class Timer(Protocol):
    """A clock that can be waited on; tests have one that runs as fast as they do."""

    def now(self) -> float:
        """Time by which motion and messages go [s]; never goes back."""
        ...

    def date(self) -> float:
        """Seconds since 1970, as messages are stamped."""
        ...

    def wait(self, event: threading.Event, until: float) -> bool:
        """Wait until a time or until the event is set, whichever is first; returns whether it is set."""
        ...

    def monotonic(self) -> float:
        """The computer's monotonic time [s], by which networks and other processes go."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Let some of the computer's time pass [s]."""
        ...


class SystemTimer:
    """The computer's own clocks; waiting goes by the monotonic one, which no change of date touches."""

    def now(self) -> float:
        """Monotonic time [s]."""
        return time.monotonic()

    def date(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def wait(self, event: threading.Event, until: float) -> bool:
        """Wait; wakes at once when the event is set."""
        return event.wait(max(0.0, until - time.monotonic()))

    def monotonic(self) -> float:
        """Monotonic time [s]."""
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        """Sleep."""
        time.sleep(duration_s)


def _nothing() -> None:
    """Do nothing."""


class ControlClock:
    """Periods of equal length, counted from one start, so that a late one does not delay the next.

    A caller that is late by more than a period gets a new start: a burst of periods to make up for a
    pause would be a burst of motion.

    Args:
        period_s: Length of a period [s].
        timer: What it goes by.
        after_period: Called when a period has ended in time; a simulation pauses itself there.
        after_stop: Called when a pause follows.
    """

    def __init__(
        self,
        period_s: float,
        timer: Timer,
        *,
        after_period: Callable[[], None] = _nothing,
        after_stop: Callable[[], None] = _nothing,
    ) -> None:
        self._period, self._timer = period_s, timer
        self._after_period, self._after_stop = after_period, after_stop
        self._deadline: float | None = None
        self._lateness: deque[float] = deque(maxlen=REMEMBERED)
        self._lengths: deque[float] = deque(maxlen=REMEMBERED)
        self._last: float | None = None
        self.overruns = 0
        """How often a caller was late by more than a period."""

    def start(self) -> None:
        """Begin the first period now."""
        self._last = self._timer.now()
        self._deadline = self._last + self._period

    def stop(self) -> None:
        """A pause follows; the next period begins with the next `begin`."""
        self._deadline = None
        self._after_stop()

    def begin(self) -> None:
        """A caller is about to act: start if this is the first period, or after too long a pause."""
        if self._deadline is None:
            self.start()
        elif self._timer.now() > self._deadline:
            self.overruns += 1
            self.start()

    def finish(self, stop: threading.Event) -> bool:
        """Wait for the end of the period; returns whether `stop` was set before it."""
        if self._deadline is None:
            self.start()
        assert self._deadline is not None
        if self._timer.wait(stop, self._deadline):
            return True
        now = self._timer.now()
        self._lateness.append(now - self._deadline)
        if self._last is not None:
            self._lengths.append(now - self._last)
        self._last = now
        self._deadline += self._period
        self._after_period()
        return False

    @property
    def periods(self) -> int:
        """Periods that are remembered."""
        return len(self._lateness)

    @property
    def hz(self) -> float:
        """Mean rate of the remembered periods; NaN before the first."""
        return float(1.0 / np.mean(self._lengths)) if self._lengths else float("nan")

    def lateness_ms(self, percentile: float) -> float:
        """How late the ends of periods were met [ms]; NaN before the first."""
        if not self._lateness:
            return float("nan")
        return float(np.percentile(self._lateness, percentile) * 1e3)
