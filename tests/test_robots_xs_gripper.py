"""The gripper closes, holds, and never burns."""

import numpy as np
import pytest

from robots.conventions import FINGER_CLOSED_M, FINGER_OPEN_M
from robots.xs.gripper import PWM_COOL, PWM_HOLD, PWM_MAX, GripperController, HeatBudget

DT = 0.02


def drive(controller: GripperController, target: float, finger: float, seconds: float,
          stop_m: float = 0.0) -> tuple[float, list[float]]:  # fmt: skip
    """Let a finger follow; it does not pass `stop_m`. Returns where it is and the PWM sent."""
    sent = []
    for _ in range(round(seconds / DT)):
        sent.append(controller.pwm(target, finger, DT))
        finger = float(np.clip(finger + sent[-1] / PWM_MAX * 0.03 * DT, stop_m, FINGER_OPEN_M))
    return finger, sent


@pytest.mark.parametrize(("target", "start"), [(FINGER_OPEN_M, FINGER_CLOSED_M), (0.016, 0.037)])
def test_it_goes_where_it_is_sent_and_then_rests(target: float, start: float) -> None:
    finger, sent = drive(GripperController(), target, start, 3.0)
    assert finger == pytest.approx(target, abs=0.001)
    assert np.sign(sent[0]) == np.sign(target - start)
    assert sent[-1] == 0.0
    assert np.abs(sent).max() == PWM_MAX


def test_it_backs_off_on_something_and_pushes_again_for_a_new_target() -> None:
    controller = GripperController()
    finger, sent = drive(controller, FINGER_CLOSED_M, 0.025, 2.0, stop_m=0.02)
    assert finger == 0.02
    assert sent[0] == -PWM_MAX
    assert sent[-1] == -PWM_HOLD
    assert controller.pwm(FINGER_OPEN_M, finger, DT) == PWM_MAX


def test_a_policy_that_opens_and_closes_for_ever_is_cut_back() -> None:
    controller = GripperController()
    sent = []
    for i in range(3000):
        target = FINGER_OPEN_M if i % 15 < 7 else FINGER_CLOSED_M
        sent.append(abs(controller.pwm(target, 0.026, DT)))
    duty = np.convolve(np.square(np.array(sent) / PWM_MAX), np.ones(1500) / 1500, "valid")
    assert duty.max() < 0.42  # of full heat, in any half minute; what it can hold for ever is 0.33
    assert min(sent) == PWM_COOL


def test_what_can_be_held_for_ever_never_fills_the_budget() -> None:
    budget = HeatBudget()
    for _ in range(10_000):
        assert budget.spend(PWM_HOLD, DT) == PWM_HOLD
    assert budget.heat_s < 1e-6


def test_it_recovers_once_it_has_cooled() -> None:
    budget = HeatBudget()
    while not budget.cooling:
        budget.spend(PWM_MAX, DT)
    assert budget.spend(-PWM_MAX, DT) == -PWM_COOL
    for _ in range(1000):
        budget.spend(0.0, DT)
    assert budget.spend(PWM_MAX, DT) == PWM_MAX
