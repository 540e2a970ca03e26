"""The gripper's linkage has the vendor's numbers."""

import numpy as np
import pytest

from robots.conventions import FINGER_CLOSED_M, FINGER_OPEN_M
from robots.xs.gripper_linkage import angle_from_finger, finger_from_angle, finger_speed


@pytest.mark.parametrize(("angle", "finger"), [(0.0, 0.0195), (-0.378, 0.015), (1.268, 0.037)])
def test_angles_give_the_published_fingers(angle: float, finger: float) -> None:
    assert finger_from_angle(angle) == pytest.approx(finger, abs=5e-5)


def test_the_inverse_is_the_inverse() -> None:
    for finger in np.linspace(FINGER_CLOSED_M, FINGER_OPEN_M, 9):
        assert finger_from_angle(angle_from_finger(finger)) == pytest.approx(finger, abs=1e-12)


def test_a_finger_out_of_reach_gives_the_nearest_angle() -> None:
    assert angle_from_finger(0.05) == pytest.approx(np.pi / 2)


def test_the_speed_is_the_derivative() -> None:
    for angle in (-0.3, 0.0, 0.5, 1.2):
        step = 1e-6
        slope = (finger_from_angle(angle + step) - finger_from_angle(angle - step)) / (2 * step)
        assert finger_speed(angle, 2.0) == pytest.approx(2.0 * slope, rel=1e-6)
