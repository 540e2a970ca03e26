"""Which motions a joint may be behind with, and which mean that it does not follow."""

from collections.abc import Callable

import numpy as np
import pytest

from robots.errors import ArmFault
from robots.xs.feeds import Joints
from robots.xs.watch import FollowWatch

TICK_S = 0.02


def watch(setpoint: Callable[[float], float], joint: Callable[[float], float], s: float) -> None:
    """Let one joint do something for `s` seconds under the watch."""
    follow = FollowWatch()
    for t in np.arange(0.0, s, TICK_S):
        arm, speed, wanted = np.zeros(6), np.zeros(6), np.zeros(6)
        arm[2], wanted[2] = joint(t), setpoint(t)
        speed[2] = (joint(t) - joint(t - TICK_S)) / TICK_S
        follow.check(Joints(arm, speed, np.zeros(6), 0.02, 0.0, t), wanted, t)


def steps(t: float, *, size: float, period_s: float = 1.2) -> float:
    """A set-point that moves to and fro in steps at 5 Hz, around 0."""
    phase = np.floor(max(t, 0.0) / 0.2) * 0.2 % period_s / period_s
    return size * (1.0 - abs(4.0 * phase - 2.0)) / 2.0


def lagging(t: float, lag_s: float = 0.2) -> float:
    return steps(t - lag_s, size=0.4)


@pytest.mark.parametrize("size", [0.12, 0.2, 0.4, 1.0])
def test_a_joint_that_stands_still_while_it_is_sent_to_swing_is_noticed(size: float) -> None:
    with pytest.raises(ArmFault, match=r"elbow does not follow .* lost commands"):
        watch(lambda t: steps(t, size=size), lambda _: 0.0, 3.0)


def test_encoder_noise_is_no_motion() -> None:
    with pytest.raises(ArmFault, match="elbow does not follow"):
        watch(lambda t: steps(t, size=0.3), lambda t: 0.0015 * (round(t / TICK_S) % 2), 3.0)


def test_a_joint_that_lags_follows() -> None:
    watch(lambda t: steps(t, size=0.4), lagging, 10.0)


def test_a_joint_that_has_only_now_been_sent_has_time() -> None:
    watch(lambda t: 0.2 if t > 1.5 else 0.0, lambda t: 0.2 if t > 1.8 else 0.0, 4.0)


def test_a_joint_that_sags_a_little_at_rest_follows() -> None:
    watch(lambda _: 0.0, lambda _: 0.08, 5.0)


def test_after_a_pause_the_past_does_not_count() -> None:
    follow = FollowWatch()
    for i in range(45):
        setpoint = np.full(6, 0.2 * (i > 20))
        follow.check(
            Joints(np.zeros(6), np.zeros(6), np.zeros(6), 0.02, 0.0, 0.0), setpoint, 0.02 * i
        )
    follow.forget()
    still = Joints(np.full(6, 0.2), np.zeros(6), np.zeros(6), 0.02, 0.0, 0.0)
    for i in range(45, 150):
        follow.check(still, np.full(6, 0.2), 0.02 * i)
