import pytest
import torch

from policies.replay import EndRule, Replay, Transitions


def episode(number: int, count: int = 2, *, terminated: bool = False) -> Transitions:
    """Features count up from 10 * number; the last of the chunks took two steps."""
    features = 10.0 * number + torch.arange(count + 1.0)[:, None].repeat(1, 3)
    discounts = torch.full((count,), 0.9**8)
    discounts[-1] = 0.9**2
    return Transitions(
        episode=number,
        features=features,
        noise=torch.full((count, 4), float(number)),
        rewards=torch.zeros(count),
        discounts=discounts,
        tail=0.9,
        terminated=terminated,
    )


def replay(capacity: int = 10, rule: EndRule | None = None) -> Replay:
    return Replay(capacity, 3, 4, rule or EndRule())


def everything(made: Replay) -> torch.Tensor:
    return made.data[: len(made)]


def test_rows_are_what_was_inserted() -> None:
    made = replay()
    made.hold(episode(2))
    made.score(2, 0.5)
    batch = made.batch(torch.tensor([0, 1]))
    assert batch.features[:, 0].tolist() == [20, 21]
    assert batch.next_features[:, 0].tolist() == [21, 22]
    assert batch.noise[:, 0].tolist() == [2, 2]
    assert batch.reward.tolist() == pytest.approx([0.0, 0.9 * 0.5])
    assert batch.discount.tolist() == pytest.approx([0.9**8, 0.0])


def test_held_episode_is_not_drawn() -> None:
    made = replay()
    made.hold(episode(0))
    assert len(made) == 0


def test_late_score_equals_immediate_score() -> None:
    late, immediate = replay(), replay()
    for number, reward in enumerate([0.25, 1.0, 0.0]):
        late.hold(episode(number))
        immediate.hold(episode(number))
        immediate.score(number, reward)
    for number, reward in enumerate([0.25, 1.0, 0.0]):
        late.score(number, reward)
    assert torch.equal(everything(late), everything(immediate))
    assert torch.equal(late.notes, immediate.notes)


def test_second_score_changes_reward_and_end_only() -> None:
    rule = EndRule("success_only")
    made = replay(rule=rule)
    for number in range(2):
        made.hold(episode(number))
        made.score(number, 0.0)
    before = everything(made).clone()
    made.score(0, 1.0)
    after = everything(made)
    assert torch.equal(after[:, :-2], before[:, :-2])
    assert torch.equal(after[[0, 2, 3]], before[[0, 2, 3]])
    assert before[1, -2:].tolist() == pytest.approx([0.0, 0.9**2])
    assert after[1, -2:].tolist() == pytest.approx([0.9, 0.0])
    made.score(0, 0.0)
    assert torch.equal(everything(made), before)


@pytest.mark.parametrize(
    ("ending", "success_reward", "reward", "terminated", "terminal"),
    [
        ("scored_end", 1.0, 0.25, False, True),
        ("success_only", 1.0, 0.0, False, False),
        ("success_only", 1.0, 1.0, False, True),
        ("success_only", 0.0, -1.0, False, False),
        ("success_only", 0.0, 0.0, False, True),
        ("success_only", 1.0, 0.0, True, True),
    ],
)
def test_only_a_real_end_stops_the_bootstrap(
    *, ending: str, success_reward: float, reward: float, terminated: bool, terminal: bool
) -> None:
    made = replay(rule=EndRule(ending, success_reward))
    made.hold(episode(0, terminated=terminated))
    made.score(0, reward)
    assert made.data[0, -1] == pytest.approx(0.9**8), "never inside an episode"
    assert (made.data[1, -1] == 0.0) == terminal


def test_full_ring_forgets_the_oldest() -> None:
    made = replay(capacity=5)
    for number in range(4):
        made.hold(episode(number))
        made.score(number, 1.0)
    assert len(made) == 5
    assert sorted(made.data[:, 3 + 0].tolist()) == [1, 2, 2, 3, 3]
    made.score(0, 0.5)  # forgotten: nothing to change
    assert 0.45 not in made.data[:, -2].tolist()
    made.score(1, 0.5)  # its last row is still there
    assert made.data[:, -2].tolist().count(pytest.approx(0.45)) == 1


def test_draw_is_uniform_over_what_is_there() -> None:
    made = replay()
    made.hold(episode(0, 4))
    made.score(0, 1.0)
    rows = made.draw(100, 16, torch.Generator().manual_seed(0))
    assert rows.shape == (100, 16)
    assert rows.unique().tolist() == [0, 1, 2, 3]


def test_restored_ring_goes_on_alike() -> None:
    first, second = replay(capacity=5), replay(capacity=5)
    for number in range(3):
        first.hold(episode(number))
        first.score(number, 1.0)
    second.restore(first.state())
    for made in (first, second):
        made.hold(episode(9))
        made.score(9, 0.0)
    assert torch.equal(first.data, second.data)
    assert torch.equal(first.notes, second.notes)
