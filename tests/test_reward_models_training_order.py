"""Which example comes when."""

import numpy as np
import pytest

from reward_models.training.config import Order
from reward_models.training.order import epoch_orders

LENGTHS = [10 * (i % 5) + 100 for i in range(23)]


def orders(order: Order, *, steps: int = 10, seed: int = 0) -> np.ndarray:
    laid = epoch_orders(LENGTHS, steps=steps, batch_size=2, per_step=4, order=order, seed=seed)
    return np.array(laid)


@pytest.mark.parametrize("order", ["random", "length", "given"])
def test_an_epoch_has_every_example_at_most_once(order: Order) -> None:
    laid = orders(order)
    assert len(laid) == 40
    first, second = laid[:20], laid[20:]  # 23 examples make five steps of four
    assert len(set(first.tolist())) == len(set(second.tolist())) == 20


@pytest.mark.parametrize("order", ["random", "length"])
def test_epochs_and_seeds_have_orders_of_their_own(order: Order) -> None:
    laid = orders(order)
    np.testing.assert_array_equal(laid, orders(order))
    assert not np.array_equal(laid[:20], laid[20:])
    assert not np.array_equal(laid, orders(order, seed=1))


@pytest.mark.parametrize("order", ["random", "length"])
def test_more_steps_begin_like_fewer(order: Order) -> None:
    np.testing.assert_array_equal(orders(order, steps=20)[:40], orders(order))


def test_batches_have_similar_lengths() -> None:
    lengths = list(np.random.default_rng(0).integers(100, 900, 400))
    laid = np.array(
        epoch_orders(lengths, steps=25, batch_size=8, per_step=16, order="length", seed=0)
    )
    batches = np.array(lengths)[laid].reshape(-1, 8)
    padding = (batches.max(1, keepdims=True) - batches).mean()
    shuffled = np.random.default_rng(1).permutation(lengths).reshape(-1, 8)
    assert padding < 0.3 * (shuffled.max(1, keepdims=True) - shuffled).mean()
    # A step sees batches of different lengths, and not one that is a little shorter each time.
    falling = (np.diff(batches.mean(1)) < 0).mean()
    assert 0.3 < falling < 0.7


def test_given_examples_stay_in_their_order() -> None:
    np.testing.assert_array_equal(orders("given")[:20], np.arange(20))
