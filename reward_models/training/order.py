"""Which example comes when: a fixed function of seed and place, so that a run that was stopped goes on with the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers.trainer_pt_utils import get_length_grouped_indices

from reward_models.training.collate import Sample, Visual
from reward_models.training.config import Order
from reward_models.training.questions import Question


class Visuals(Protocol):
    """What the model sees of each clip."""

    def __getitem__(self, clip: int) -> Visual:
        """Read one clip."""


@dataclass(frozen=True, eq=False)
class Samples(Dataset[Sample]):
    """Questions with their clips, in a given order.

    Attributes:
        questions: The questions.
        visuals: What the model sees of their clips.
        order: Which question comes at which place.
    """

    questions: Sequence[Question]
    visuals: Visuals
    order: Sequence[int]

    def __len__(self) -> int:
        """How many places there are."""
        return len(self.order)

    def __getitem__(self, index: int) -> Sample:
        """Read the question at a place, and its clip."""
        number = self.order[index]
        question = self.questions[number]
        return Sample(number, question, self.visuals[question.clip])


def epoch_orders(
    lengths: Sequence[int],
    *,
    steps: int,
    batch_size: int,
    per_step: int,
    order: Order,
    seed: int,
) -> list[int]:
    """Lay out the examples of all steps, one epoch behind the other.

    Args:
        lengths: Tokens of each example, roughly.
        steps: Optimizer steps.
        batch_size: Examples that are padded to one length.
        per_step: Examples in a step; what is left over at the end of an epoch waits for the next.
        order: How an epoch is ordered.
        seed: Seed of the orders.

    Returns:
        `steps * per_step` numbers of examples.
    """
    steps_an_epoch = len(lengths) // per_step
    used = steps_an_epoch * per_step
    epochs = [
        _epoch(lengths, batch_size, order, (seed, epoch))[:used]
        for epoch in range(-(-steps // steps_an_epoch))
    ]
    return np.concatenate(epochs)[: steps * per_step].tolist()


def _epoch(
    lengths: Sequence[int], batch_size: int, order: Order, seed: tuple[int, int]
) -> np.ndarray:
    if order == "given":
        return np.arange(len(lengths))
    rng = np.random.default_rng(seed)
    if order == "random":
        return rng.permutation(len(lengths))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    indices = get_length_grouped_indices(list(lengths), batch_size, generator=generator)
    # The library sorts within groups of batches. Whole batches are shuffled again, so that no step sees long ones only.
    whole = len(indices) // batch_size * batch_size
    batches = rng.permutation(np.reshape(indices[:whole], (-1, batch_size)))
    return np.concatenate([batches.reshape(-1), np.asarray(indices[whole:], np.int64)])
