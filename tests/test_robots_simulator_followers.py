"""Simulated time does not run away from its clients, nor wait for those that are gone."""

import threading

from robots.ros.simulator.followers import AHEAD_S, FORGOTTEN_S, Followers
from robots.ros.simulator.pace import Pace


def test_without_clients_time_goes_on() -> None:
    assert Followers().allow(1e9, 0.0)


def test_time_waits_for_the_slowest() -> None:
    followers = Followers()
    followers.say("quick", 5.0, 0.0)
    followers.say("slow", 1.0, 0.0)
    assert followers.allow(1.0 + AHEAD_S, 0.0)
    assert not followers.allow(1.01 + AHEAD_S, 0.0)
    followers.say("slow", 2.0, 0.0)
    assert followers.allow(1.01 + AHEAD_S, 0.0)


def test_nobody_waits_for_a_client_that_left() -> None:
    followers = Followers()
    followers.say("gone", 1.0, 0.0)
    followers.say("gone", 0.0, 0.0)
    assert followers.allow(9.0, 0.0)


def test_nobody_waits_for_a_client_that_crashed() -> None:
    followers = Followers()
    followers.say("gone", 1.0, 0.0)
    assert not followers.allow(9.0, FORGOTTEN_S)
    assert followers.allow(9.0, FORGOTTEN_S + 0.1)


def test_a_client_that_comes_back_is_waited_for_again() -> None:
    followers = Followers()
    followers.say("busy", 1.0, 0.0)
    assert followers.allow(9.0, 2 * FORGOTTEN_S)
    followers.say("busy", 1.0, 2 * FORGOTTEN_S)
    assert not followers.allow(9.0, 2 * FORGOTTEN_S)


def test_the_pace_tells_the_time_again_while_it_waits() -> None:
    stop, told, ticks = threading.Event(), [], []

    def tick() -> None:
        ticks.append(len(told))
        stop.set()

    pace = Pace(
        tick,
        0.01,
        speed=1000.0,
        stop=stop,
        on_lag=lambda: None,
        may_go_on=lambda: len(told) >= 2,
        on_wait=lambda: told.append(None),
    )
    pace.run()
    assert ticks == [2]
