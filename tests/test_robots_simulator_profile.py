"""The servo's trapezoid: it arrives in time, without a jump, and never faster than the servo can."""

import numpy as np
import pytest

from robots.ros.simulator.profile import ACCELERATION_UNIT, VELOCITY_UNIT, Trapezoid, plan

LIMIT = np.pi


def timed(goal: float, *, velocity: int, acceleration: int, entry: float = 0.0) -> Trapezoid:
    """A move from 0 with a time profile [ms]."""
    return plan(
        0.0, entry, goal, kind="time", velocity=velocity, acceleration=acceleration, limit=LIMIT
    )


def sampled(move: Trapezoid, count: int = 2001) -> tuple[np.ndarray, np.ndarray]:
    """Set-points and speeds from before the start to after the end."""
    values = [move.at(t) for t in np.linspace(0.0, 1.1 * move.duration, count)]
    position, speed = np.array(values).T
    return position, speed


def test_a_time_profile_takes_its_time() -> None:
    move = timed(1.0, velocity=2000, acceleration=300)
    assert move.duration == 2.0
    assert move.at(1.0)[0] == pytest.approx(0.5)
    assert move.at(1.99)[0] < 1.0
    assert move.at(2.0) == (1.0, 0.0)


@pytest.mark.parametrize("entry", [0.0, 0.4, -0.7])
def test_position_and_speed_have_no_jump(entry: float) -> None:
    move = timed(0.6, velocity=1000, acceleration=300, entry=entry)
    position, speed = sampled(move)
    step = 1.1 * move.duration / 2000
    assert position[0] == 0.0
    assert speed[0] == pytest.approx(entry)
    assert np.abs(np.diff(position)).max() <= 1.01 * step * np.abs(speed).max()
    assert np.abs(np.diff(speed)).max() < 0.01
    assert position[-1] == pytest.approx(0.6)


def test_the_speed_is_the_derivative_of_the_position() -> None:
    move = timed(-0.8, velocity=1500, acceleration=400, entry=0.3)
    for time in (0.1, 0.7, 1.3):
        slope = (move.at(time + 1e-6)[0] - move.at(time - 1e-6)[0]) / 2e-6
        assert slope == pytest.approx(move.at(time)[1], abs=1e-6)


@pytest.mark.parametrize(("velocity", "acceleration"), [(0, 0), (200, 100), (100, 300), (10, 0)])
def test_no_move_is_faster_than_the_servo(velocity: int, acceleration: int) -> None:
    move = timed(3.0, velocity=velocity, acceleration=acceleration)
    _, speed = sampled(move)
    assert np.abs(speed).max() <= LIMIT * (1 + 1e-9)
    assert move.duration >= 3.0 / LIMIT
    assert move.at(move.duration)[0] == 3.0


def test_ramps_are_at_most_half_of_the_move() -> None:
    assert timed(0.1, velocity=200, acceleration=500).ramp == pytest.approx(0.1)


def test_a_velocity_profile_keeps_its_speed_and_acceleration() -> None:
    move = plan(0.0, 0.0, 2.0, kind="velocity", velocity=50, acceleration=5, limit=LIMIT)
    assert move.cruise == pytest.approx(50 * VELOCITY_UNIT)
    assert move.cruise / move.ramp == pytest.approx(5 * ACCELERATION_UNIT)


def test_a_short_velocity_move_never_reaches_its_speed() -> None:
    move = plan(0.0, 0.0, 0.05, kind="velocity", velocity=100, acceleration=2, limit=LIMIT)
    assert move.cruise < 100 * VELOCITY_UNIT
    assert move.at(move.duration)[0] == 0.05


def test_no_distance_is_no_motion() -> None:
    for kind in ("time", "velocity"):
        move = plan(0.3, 0.0, 0.3, kind=kind, velocity=20, acceleration=10, limit=LIMIT)
        assert move.at(0.01) == (pytest.approx(0.3), pytest.approx(0.0))


def test_a_move_shorter_than_its_ramps_is_refused() -> None:
    with pytest.raises(ValueError, match="ramp"):
        Trapezoid(0.0, 0.0, 1.0, 0.1, 0.2)
