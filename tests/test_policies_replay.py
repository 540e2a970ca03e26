import pytest
import torch

from policies.dsrl.replay import Replay, Transitions


def episode(number: int, count: int = 2) -> Transitions:
    """Features count up from 10 * number; the last of the chunks took two steps."""
    return Transitions(
        features=10.0 * number + torch.arange(count + 1.0)[:, None].repeat(1, 3),
        action=torch.full((count, 4), float(number)),
        rewards=torch.arange(float(count)),
        discounts=torch.tensor([0.9**8] * (count - 1) + [0.9**2]),
    )


def replay(capacity: int = 10) -> Replay:
    return Replay(capacity, 3, 4)


def test_batch_is_what_was_added() -> None:
    made = replay()
    made.add(episode(2))
    batch = made.batch(torch.tensor([0, 1]))
    assert batch.features[:, 0].tolist() == [20, 21]
    assert batch.next_features[:, 0].tolist() == [21, 22]
    assert batch.action[:, 0].tolist() == [2, 2]
    assert batch.reward.tolist() == [0.0, 1.0]
    assert batch.discount.tolist() == pytest.approx([0.9**8, 0.9**2])


def test_full_ring_overwrites_the_oldest() -> None:
    made = replay(capacity=5)
    for number in range(4):
        made.add(episode(number))
    assert len(made) == 5
    assert sorted(made.rows[:, 3].tolist()) == [1, 2, 2, 3, 3]


def test_draw_is_uniform_over_what_is_there() -> None:
    made = replay()
    made.add(episode(0, 4))
    rows = made.draw(100, 16, torch.Generator().manual_seed(0))
    assert rows.shape == (100, 16)
    assert rows.unique().tolist() == [0, 1, 2, 3]


def test_restored_ring_goes_on_alike() -> None:
    first, second = replay(capacity=5), replay(capacity=5)
    for number in range(3):
        first.add(episode(number))
    second.restore(first.state())
    for made in (first, second):
        made.add(episode(9))
    assert torch.equal(first.rows, second.rows)
