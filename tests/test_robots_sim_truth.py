"""Both sides of every threshold of the simulator's truth: reward data, evaluation and the shipped weights rest on it."""

import numpy as np
import pytest

from robots.sim.tasks.drawer import both_level, close_level, open_level
from robots.sim.tasks.objects import Toy, pick_level
from robots.sim.tasks.toy import ToyState, put_level


def toy(y: float, z: float = 0.014, *, held: bool = False, speed: float = 0.0) -> Toy:
    return Toy(np.array([0.24, y, z]), speed, held)


def state(duck: Toy, gripper_from_duck_m: float = 0.1) -> ToyState:
    """The middle of the towel is at y = 0.1 m, its near edge at 0.055 m."""
    return ToyState(
        toys={"duck": duck, "block": toy(-0.2, 0.016)},
        towel=np.array([0.24, 0.1, 0.0]),
        plate=np.array([0.36, 0.1]),
        gripper=duck.position + np.array([0.0, 0.0, gripper_from_duck_m]),
        opening=1.0,
    )


START = state(toy(-0.1))
"""The duck is 0.155 m from the towel."""


def level(now: ToyState, before: ToyState | None = None) -> int:
    return put_level(START, before or now, now, "duck", "towel")


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (-0.1 + 0.029, 1),
        (-0.1 + 0.031, 2),  # nearer by 3 cm
        (0.055 - 0.155 * 0.51, 2),
        (0.055 - 0.155 * 0.49, 3),  # half of the way
        (0.055 - 0.155 * 0.26, 3),  # not three quarters
        (0.055 - 0.021, 3),
        (0.055 - 0.019, 4),  # within 2 cm of the towel
        (0.054, 4),
        (0.056, 5),
    ],
)
def test_levels_of_putting_follow_the_way_that_is_left(y: float, expected: int) -> None:
    assert level(state(toy(y))) == expected


@pytest.mark.parametrize("away", [(0.24, -0.2), (0.14, -0.1), (0.35, -0.1), (0.17, -0.17)])
def test_pushing_a_toy_away_from_its_target_is_no_progress(away: tuple[float, float]) -> None:
    duck = Toy(np.array([*away, 0.014]), 0.0, held=False)
    assert level(state(duck)) == 1


@pytest.mark.parametrize("y", [-0.7, -0.04, 0.0, 0.1])
def test_a_toy_below_the_table_is_no_progress(y: float) -> None:
    assert level(state(toy(y, z=-0.7))) == 1


def test_a_toy_that_is_only_pushed_is_not_picked_up_at_all() -> None:
    start, pushed = toy(0.0), toy(0.08)
    assert pick_level(start, pushed, pushed) == 1
    assert pick_level(start, pushed, toy(0.08, held=True)) == 2


def test_lifting_by_two_centimetres_is_minimal_progress() -> None:
    assert level(state(toy(-0.1, 0.014 + 0.019, held=True))) == 1
    assert level(state(toy(-0.1, 0.014 + 0.021, held=True))) == 2
    assert level(state(toy(-0.1, 0.014 + 0.021))) == 1, "nobody holds it"


def test_a_toy_that_is_not_released_is_not_perfect() -> None:
    done = state(toy(0.1))
    assert level(done) == 5
    held = state(toy(0.1, held=True))
    assert level(held) == 4
    assert level(done, before=held) == 4
    assert level(state(toy(0.1), gripper_from_duck_m=0.029)) == 4
    assert level(state(toy(0.1), gripper_from_duck_m=0.031)) == 5


@pytest.mark.parametrize(("speed", "expected"), [(0.009, 5), (0.011, 4)])
def test_a_toy_must_lie_still(speed: float, expected: int) -> None:
    assert level(state(toy(0.1, speed=speed))) == expected


@pytest.mark.parametrize(("z", "expected"), [(0.014 + 0.016, 4), (0.014 + 0.014, 5)])
def test_a_toy_must_rest_on_the_towel(z: float, expected: int) -> None:
    assert level(state(toy(0.1, z))) == expected


@pytest.mark.parametrize(
    ("opened_m", "expected"),
    [(0.009, 1), (0.011, 2), (0.029, 2), (0.031, 3), (0.054, 3), (0.056, 4), (0.070, 4), (0.079, 4), (0.081, 5)],
)  # fmt: skip
def test_a_drawer_is_open_at_eight_centimetres(opened_m: float, expected: int) -> None:
    assert open_level(opened_m, opened_m) == expected


@pytest.mark.parametrize(
    ("left_m", "expected"),
    [(0.089, 1), (0.087, 2), (0.051, 2), (0.049, 3), (0.031, 3), (0.029, 4), (0.013, 4), (0.011, 5)],
)  # fmt: skip
def test_a_drawer_is_closed_at_twelve_millimetres(left_m: float, expected: int) -> None:
    assert close_level(0.1, left_m, left_m) == expected


def test_closing_must_hold_for_two_steps() -> None:
    assert close_level(0.1, 0.05, 0.0) == 4


@pytest.mark.parametrize(
    ("lift_m", "expected"),
    [(0.007, 2), (0.009, 3), (0.024, 3), (0.026, 4), (0.049, 4), (0.051, 5)],
)
def test_levels_of_picking_up_follow_the_height(lift_m: float, expected: int) -> None:
    start, now = toy(0.0), toy(0.0, 0.014 + lift_m, held=True)
    assert pick_level(start, now, now) == expected


def test_both_drawers_are_as_good_as_both_of_them() -> None:
    levels = {(a, b): both_level(a, b) for a in range(1, 6) for b in range(1, 6)}
    assert [pair for pair, both in levels.items() if both == 5] == [(5, 5)]
    assert levels[5, 4] == levels[4, 4] == 4
    assert levels[3, 3] == levels[5, 1] == 3
    assert levels[1, 2] == 1
