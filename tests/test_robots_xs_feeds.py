"""Joint states are believed only if they can be true."""

from dataclasses import replace

import numpy as np
import pytest

from robots.errors import ArmFault
from robots.xs.feeds import JointFeed, JointMessage, taken_at
from robots.xs.interface import STATE_JOINTS


def message(stamp_s: float = 1000.0, **changes: object) -> JointMessage:
    base = JointMessage(STATE_JOINTS, np.zeros(9), np.zeros(9), np.zeros(9), stamp_s)
    return replace(base, **changes)  # ty: ignore[invalid-argument-type]


def test_age_counts_from_when_the_joints_were_like_that() -> None:
    feed = JointFeed()
    assert feed.age_s(5.0) == float("inf")
    feed.take(message(999.95), now=5.0, wall=1000.0)
    assert feed.age_s(5.1) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("stamp_s", "taken"), [(1000.0, 5.0), (1000.04, 5.0), (999.0, 4.0), (998.1, 3.1)]
)
def test_a_stamp_is_taken_by_our_clock(stamp_s: float, taken: float) -> None:
    assert taken_at("x", stamp_s, now=5.0, wall=1000.0) == pytest.approx(taken)


@pytest.mark.parametrize("stamp_s", [1000.1, 997.0, 0.0, float("nan")])
def test_a_stamp_that_cannot_be_true_is_a_fault(stamp_s: float) -> None:
    with pytest.raises(ArmFault, match="A clock jumped"):
        taken_at("x", stamp_s, now=5.0, wall=1000.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"names": STATE_JOINTS[::-1]}, "in this order"),
        ({"names": STATE_JOINTS[:6], "positions": np.zeros(6)}, "left_finger"),
        ({"positions": np.zeros(3)}, "9 joints needs as many positions, got 3"),
        ({"velocities": np.zeros(0)}, "9 joints needs as many velocities, got 0"),
        ({"efforts": np.zeros(0)}, "9 joints needs as many efforts, got 0"),
        ({"positions": np.array([0, 0, np.inf, 0, 0, 0, 0, 0.02, 0])}, "positions must be finite"),
        ({"positions": np.array([0, 0, 0, 0, 0, 0, 0, np.nan, 0])}, "positions must be finite"),
        ({"positions": np.array([0, 0, 2.5, 0, 0, 0, 0, 0.02, 0])}, "inside their limits"),
    ],
)
def test_a_bad_message_leaves_the_last_good_one(changes: dict[str, object], words: str) -> None:
    feed = JointFeed()
    feed.take(message(), now=5.0, wall=1000.0)
    good = feed.newest
    with pytest.raises(ArmFault, match=words):
        feed.take(message(1000.01, **changes), now=5.01, wall=1000.01)
    assert feed.newest is good


def test_a_joint_cannot_jump_but_may_have_moved_while_nothing_came() -> None:
    jump = np.zeros(9)
    jump[2] = 0.5
    feed = JointFeed()
    feed.take(message(), now=5.0, wall=1000.0)
    with pytest.raises(ArmFault, match=r"elbow .* 0\.50 rad"):
        feed.take(message(1000.01, positions=jump), now=5.01, wall=1000.01)
    feed.take(message(1000.2, positions=jump), now=5.2, wall=1000.2)
    feed.forget()
    feed.take(message(1000.21, positions=-jump), now=5.21, wall=1000.21)


def test_a_peak_of_effort_is_no_strain() -> None:
    feed = JointFeed()
    peak = np.zeros(9)
    peak[1] = 3000.0
    for i in range(10):
        efforts = peak if i in (3, 4, 5) else np.zeros(9)
        feed.take(message(1000.0 + 0.01 * i, efforts=efforts), 5.0 + 0.01 * i, 1000.0 + 0.01 * i)
    assert feed.newest is not None
    assert feed.newest.effort_ma[1] == 0.0
    for i in range(10, 17):
        feed.take(message(1000.0 + 0.01 * i, efforts=peak), 5.0 + 0.01 * i, 1000.0 + 0.01 * i)
    assert feed.newest.effort_ma[1] == 3000.0
