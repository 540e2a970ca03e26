"""The control loop's clock neither drifts nor makes up for a pause."""

import math
import threading
import time

import numpy as np
import pytest

from robots.xs.clock import ControlClock, SystemTimer

STOP = threading.Event()


class LateTimer:
    """A clock of its own that wakes late by what a test says."""

    def __init__(self) -> None:
        self.time = 100.0
        self.late: list[float] = []

    def now(self) -> float:
        return self.time

    def date(self) -> float:
        return self.time

    def wait(self, event: threading.Event, until: float) -> bool:
        self.time = max(self.time, until) + (self.late.pop(0) if self.late else 0.0)
        return event.is_set()

    def monotonic(self) -> float:
        return self.time

    def sleep(self, duration_s: float) -> None:
        self.time += duration_s


def test_the_end_of_a_period_and_of_an_episode_are_reported() -> None:
    calls: list[str] = []
    clock = ControlClock(
        0.2,
        LateTimer(),
        after_period=lambda: calls.append("period"),
        after_stop=lambda: calls.append("stop"),
    )
    clock.begin()
    assert calls == []
    clock.finish(STOP)
    assert calls == ["period"]
    clock.stop()
    assert calls == ["period", "stop"]


def test_one_late_period_does_not_delay_the_next() -> None:
    timer = LateTimer()
    timer.late = [0.0, 0.05, 0.0, 0.0]
    clock = ControlClock(0.2, timer)
    ends = []
    for _ in range(4):
        clock.begin()
        assert not clock.finish(STOP)
        ends.append(timer.time - 100.0)
    np.testing.assert_allclose(ends, [0.2, 0.45, 0.6, 0.8])
    assert clock.overruns == 0
    assert clock.hz == pytest.approx(5.0)
    assert clock.lateness_ms(100) == pytest.approx(50.0)


def test_thinking_within_the_period_costs_nothing() -> None:
    timer = LateTimer()
    clock = ControlClock(0.2, timer)
    for _ in range(10):
        clock.begin()
        clock.finish(STOP)
        timer.time += 0.15
    clock.begin()
    clock.finish(STOP)
    assert timer.time == pytest.approx(100.0 + 11 * 0.2)


def test_a_pause_is_no_burst_of_periods() -> None:
    timer = LateTimer()
    clock = ControlClock(0.2, timer)
    clock.begin()
    clock.finish(STOP)
    timer.time += 3.0
    clock.begin()
    clock.finish(STOP)
    assert timer.time == pytest.approx(100.0 + 0.2 + 3.0 + 0.2)
    assert clock.overruns == 1


def test_a_new_episode_starts_anew_without_counting_as_late() -> None:
    timer = LateTimer()
    clock = ControlClock(0.2, timer)
    clock.begin()
    clock.finish(STOP)
    clock.stop()
    timer.time += 60.0
    clock.begin()
    clock.finish(STOP)
    assert (clock.overruns, clock.periods) == (0, 2)
    assert clock.hz == pytest.approx(5.0)


def test_a_stop_ends_the_period_and_is_not_counted() -> None:
    stop = threading.Event()
    stop.set()
    clock = ControlClock(0.2, LateTimer())
    clock.begin()
    assert clock.finish(stop)
    assert clock.periods == 0
    assert math.isnan(clock.hz)
    assert math.isnan(clock.lateness_ms(95))


def test_the_system_timer_wakes_at_the_event() -> None:
    timer, stop = SystemTimer(), threading.Event()
    threading.Timer(0.01, stop.set).start()
    assert timer.wait(stop, timer.now() + 60.0)
    assert not timer.wait(threading.Event(), timer.now() + 0.001)
    assert abs(timer.date() - time.time()) < 10.0
