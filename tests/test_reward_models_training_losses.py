"""Each option of the loss against numbers computed by hand."""

import math
from typing import Any

import pytest
import torch

from reward_models.training.config import LossConfig
from reward_models.training.losses import answer_loss, digit_loss
from roboreward_gym.errors import InvalidSetting

MASS = torch.tensor([[0.1, 0.2, 0.3, 0.1, 0.1], [0.05, 0.05, 0.1, 0.2, 0.4]]).log()
"""Probabilities of the five digits; 0.2 of each row is something else."""
LEVELS = torch.tensor([3, 5])


def loss(**settings: Any) -> float:
    return digit_loss(MASS, LEVELS, LossConfig(**settings)).item()


def test_by_default_it_is_cross_entropy_over_the_whole_vocabulary() -> None:
    assert loss() == pytest.approx(-math.log(0.3) - math.log(0.4))


def test_soft_targets_spread_over_the_neighbours() -> None:
    weights = [[math.exp(-abs(k - y) / 0.5) for k in range(1, 6)] for y in (3, 5)]
    targets = [[w / sum(row) for w in row] for row in weights]
    rows = MASS.exp().tolist()
    by_hand = -sum(
        t * math.log(p)
        for target, row in zip(targets, rows, strict=True)
        for t, p in zip(target, row, strict=True)
    )
    assert loss(softness=0.5) == pytest.approx(by_hand)


def test_regression_is_the_squared_error_of_the_expected_score() -> None:
    off_format = -2 * math.log(0.8)
    first = (0.1 + 0.4 + 0.9 + 0.4 + 0.5) / 0.8 - 3
    second = (0.05 + 0.1 + 0.3 + 0.8 + 2.0) / 0.8 - 5
    expected = off_format + 0.7 * (first**2 + second**2)
    assert loss(cross_entropy=0.0, regression=0.7) == pytest.approx(expected)


def test_pairs_are_ranked_by_their_expected_scores() -> None:
    off_format = -2 * math.log(0.8)
    difference = 3.25 / 0.8 - 2.3 / 0.8
    one_pair = math.log(1 + math.exp(-difference))
    assert loss(cross_entropy=0.0, pairwise=2.0) == pytest.approx(off_format + 2 * 2.0 * one_pair)


def test_without_pairs_their_loss_is_zero() -> None:
    config = LossConfig(cross_entropy=0.0, pairwise=1.0)
    same = digit_loss(MASS, torch.tensor([4, 4]), config)
    assert same.item() == pytest.approx(-2 * math.log(0.8))


@pytest.mark.parametrize(
    "config",
    [
        LossConfig(),
        LossConfig(softness=0.7),
        LossConfig(cross_entropy=0.0, regression=0.3),
        LossConfig(pairwise=0.5),
    ],
    ids=["hard", "soft", "regression", "pairwise"],
)
def test_every_loss_teaches_the_level_and_the_format(config: LossConfig) -> None:
    logits = torch.zeros(4, 1, 9, requires_grad=True)
    levels = torch.tensor([1, 2, 4, 5])
    digits = torch.tensor([2, 3, 4, 5, 6])
    batch = {
        "targets": digits[levels - 1][:, None],
        "weights": torch.zeros(4, 1),
        "digit": torch.zeros(4, dtype=torch.long),
        "levels": levels,
    }
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        answer_loss(logits, batch, digits, config).backward()
        optimizer.step()
    probabilities = logits.detach()[:, 0].softmax(-1)[:, digits]
    expected = (probabilities / probabilities.sum(-1, keepdim=True)) @ torch.arange(1.0, 6.0)
    assert (probabilities.sum(-1) > 0.95).all()
    torch.testing.assert_close(expected, levels.float(), atol=0.4, rtol=0)


@pytest.mark.parametrize("name", ["digit", "words", "softness", "regression", "pairwise"])
def test_a_negative_weight_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        LossConfig(**{name: -0.1})


def test_a_loss_without_scores_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="no score is learned"):
        LossConfig(cross_entropy=0.0)
