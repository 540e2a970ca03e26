"""The truth about each task, on states made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from robots.sim.tasks.drawer import both_level, close_level, open_level
from robots.sim.tasks.look import banded
from robots.sim.tasks.objects import Toy, pick_level
from robots.sim.tasks.toy import ToyState, put_level


def toy(x: float, y: float, z: float = 0.014, *, held: bool = False, speed: float = 0.0) -> Toy:
    return Toy(np.array([x, y, z]), speed, held)


def state(duck: Toy, gripper: tuple[float, float, float] = (0.2, 0.0, 0.2)) -> ToyState:
    return ToyState(
        toys={"duck": duck, "block": toy(0.36, -0.1, 0.016)},
        towel=np.array([0.24, 0.1, 0.0]),
        plate=np.array([0.36, 0.1]),
        gripper=np.array(gripper),
        opening=1.0,
    )


START = state(toy(0.24, -0.1))
ON_TOWEL = state(toy(0.24, 0.1))


def level(before: ToyState, now: ToyState, target: str = "towel") -> int:
    return put_level(START, before, now, "duck", target)


def test_nothing_moved_is_one() -> None:
    assert level(START, START) == 1


def test_nearer_but_far_is_two() -> None:
    assert level(START, state(toy(0.24, -0.06))) == 2


def test_more_than_half_way_is_three() -> None:
    assert level(START, state(toy(0.24, 0.02))) == 3


def test_released_at_rest_on_the_towel_for_two_steps_is_five() -> None:
    assert level(ON_TOWEL, ON_TOWEL) == 5


@pytest.mark.parametrize(
    "flawed",
    [
        state(toy(0.24, 0.1, 0.06, held=True)),
        state(toy(0.24, 0.1, speed=0.5)),
        state(toy(0.24, 0.1), gripper=(0.24, 0.1, 0.03)),
        state(toy(0.24, 0.158)),
    ],
    ids=["held above", "still moving", "gripper not retracted", "over the edge"],
)
def test_one_flaw_is_four(flawed: ToyState) -> None:
    assert level(flawed, flawed) == 4


def test_success_must_hold_for_two_steps() -> None:
    assert level(state(toy(0.24, 0.1, speed=0.5)), ON_TOWEL) == 4


def test_another_target_is_not_success() -> None:
    assert level(ON_TOWEL, ON_TOWEL, "plate") < 5


def test_a_turned_towel_has_a_turned_outline() -> None:
    corner = state(toy(0.24 + 0.05, 0.1 + 0.04))
    turned = replace(corner, towel=np.array([0.24, 0.1, np.pi / 4]))
    assert level(corner, corner) == 5
    assert level(turned, turned) == 4


def test_lifting_needs_height_and_grasp_for_two_steps() -> None:
    start = toy(0.2, 0.0)
    high, slipped = toy(0.2, 0.0, 0.08, held=True), toy(0.2, 0.0, 0.08)
    assert pick_level(start, high, high) == 5
    assert pick_level(start, start, high) == 4
    assert pick_level(start, start, toy(0.2, 0.0, 0.03, held=True)) == 3
    assert pick_level(start, start, toy(0.2, 0.0, held=True)) == 2
    assert pick_level(start, start, toy(0.25, 0.0)) == 1
    assert pick_level(start, start, slipped) == 1


@pytest.mark.parametrize(
    ("opened", "expected"), [(0, 1), (0.02, 2), (0.04, 3), (0.06, 4), (0.09, 5)]
)
def test_drawer_levels_follow_the_opening(opened: float, expected: int) -> None:
    assert open_level(opened, opened) == expected


def test_an_open_drawer_counts_after_two_steps() -> None:
    assert open_level(0.0, 0.09) == 4


@pytest.mark.parametrize(("now", "expected"), [(0.1, 1), (0.08, 2), (0.04, 3), (0.02, 4), (0.0, 5)])
def test_closing_levels_follow_the_rest(now: float, expected: int) -> None:
    assert close_level(0.1, now, now) == expected


def test_one_of_two_drawers_is_partial() -> None:
    assert (both_level(5, 5), both_level(5, 1), both_level(5, 4), both_level(1, 1)) == (5, 3, 4, 1)


def test_held_out_bands_do_not_overlap_the_training_bands() -> None:
    rng = np.random.default_rng(0)
    train = {int(banded(rng, "train") * 25) for _ in range(2000)}
    test = {int(banded(rng, "test") * 25) for _ in range(2000)}
    assert test == {4, 9, 14, 19, 24}
    assert train == set(range(25)) - test
