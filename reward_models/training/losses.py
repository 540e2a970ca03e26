"""The loss at the tokens of the answers; see `LossConfig`."""

from collections.abc import Mapping

import torch
from torch.nn import functional as F

from reward_models.training.collate import NO_TARGET
from reward_models.training.config import LossConfig
from roboreward_gym.types import LEVELS


def answer_loss(
    logits: torch.Tensor,
    batch: Mapping[str, torch.Tensor],
    digits: torch.Tensor,
    config: LossConfig,
) -> torch.Tensor:
    """Mean loss of the answers of a batch.

    Args:
        logits: `(B, K, vocabulary)` at the positions before the last K tokens.
        batch: As `Collator` makes it.
        digits: `(5,)` int64 token ids of the levels.
        config: Which loss.
    """
    logits = logits.float()
    words = F.cross_entropy(
        logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=NO_TARGET, reduction="none"
    )
    loss = (words * batch["weights"].flatten()).sum()
    scored = batch["digit"] >= 0
    if scored.any():
        mass = digit_log_mass(logits, batch["digit"], digits)[scored]
        loss = loss + config.digit * digit_loss(mass, batch["levels"][scored], config)
    return loss / len(logits)


def digit_log_mass(logits: torch.Tensor, digit: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
    """`(B, 5)` log-probabilities of the five digits at the digit of each answer, over the whole vocabulary."""
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, digit.clamp(min=0)].log_softmax(-1)[:, digits]


def digit_loss(mass: torch.Tensor, levels: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """Sum of the losses at the digits.

    Args:
        mass: `(R, 5)` log-probabilities of the five digits over the whole vocabulary.
        levels: `(R,)` int64 true levels.
        config: Which loss.
    """
    inside = mass.logsumexp(-1, keepdim=True)
    log_probabilities = mass - inside
    scale = torch.tensor(LEVELS, dtype=mass.dtype, device=mass.device)
    expected = log_probabilities.exp() @ scale
    loss = -inside.sum()
    if config.cross_entropy:
        target = soft_targets(levels, scale, config.softness)
        loss = loss - config.cross_entropy * (target * log_probabilities).sum()
    if config.regression:
        loss = loss + config.regression * (expected - levels).square().sum()
    if config.pairwise:
        loss = loss + config.pairwise * len(levels) * pair_loss(expected, levels)
    return loss


def soft_targets(levels: torch.Tensor, scale: torch.Tensor, softness: float) -> torch.Tensor:
    """`(R, 5)` target probabilities: exp(-distance to the level / softness), normalised; one-hot without softness."""
    distance = (scale - levels[:, None]).abs()
    return (-distance / softness).softmax(-1) if softness else (distance == 0).to(scale.dtype)


def pair_loss(expected: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Mean of log(1 + exp(-(E_i - E_j))) over pairs with levels i > j; 0 without such pairs."""
    ordered = levels[:, None] > levels
    difference = expected[:, None] - expected
    return F.softplus(-difference)[ordered].sum() / ordered.sum().clamp(min=1)
