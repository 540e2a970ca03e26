"""Simulated time does not run away from its clients, nor wait for those that are gone."""

import threading

from robots.ros.simulator.client_progress import CLIENT_TIMEOUT_S, MAX_AHEAD_S, ClientProgress
from robots.ros.simulator.pace import Pace


def test_without_clients_time_goes_on() -> None:
    assert ClientProgress().may_advance(1e9, 0.0)


def test_time_waits_for_the_slowest() -> None:
    progress = ClientProgress()
    progress.report("quick", 5.0, 0.0)
    progress.report("slow", 1.0, 0.0)
    assert progress.may_advance(1.0 + MAX_AHEAD_S, 0.0)
    assert not progress.may_advance(1.01 + MAX_AHEAD_S, 0.0)
    progress.report("slow", 2.0, 0.0)
    assert progress.may_advance(1.01 + MAX_AHEAD_S, 0.0)


def test_nobody_waits_for_a_client_that_left() -> None:
    progress = ClientProgress()
    progress.report("gone", 1.0, 0.0)
    progress.report("gone", 0.0, 0.0)
    assert progress.may_advance(9.0, 0.0)


def test_nobody_waits_for_a_client_that_crashed() -> None:
    progress = ClientProgress()
    progress.report("gone", 1.0, 0.0)
    assert not progress.may_advance(9.0, CLIENT_TIMEOUT_S)
    assert progress.may_advance(9.0, CLIENT_TIMEOUT_S + 0.1)


def test_a_client_that_comes_back_is_waited_for_again() -> None:
    progress = ClientProgress()
    progress.report("busy", 1.0, 0.0)
    assert progress.may_advance(9.0, 2 * CLIENT_TIMEOUT_S)
    progress.report("busy", 1.0, 2 * CLIENT_TIMEOUT_S)
    assert not progress.may_advance(9.0, 2 * CLIENT_TIMEOUT_S)


def test_the_pace_publishes_the_time_again_while_it_waits() -> None:
    stop, published, ticks = threading.Event(), [], []

    def tick() -> None:
        ticks.append(len(published))
        stop.set()

    pace = Pace(
        tick,
        0.01,
        speed=1000.0,
        stop=stop,
        on_lag=lambda: None,
        may_go_on=lambda: len(published) >= 2,
        on_wait=lambda: published.append(None),
    )
    pace.run()
    assert ticks == [2]
