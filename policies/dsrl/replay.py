"""Replay of chunk transitions. An episode goes in when its score is known, in whatever order scores come."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Transitions:
    """A scored episode as chunk transitions.

    Attributes:
        features: `(C+1, F)` before each transition, and after the last.
        action: `(C, D)` the learner's action: steered noise, or a decoded chunk.
        rewards: `(C,)` discounted sum of the rewards within the chunk.
        discounts: `(C,)` of the value after the chunk; 0 where nothing follows.
    """

    features: Tensor
    action: Tensor
    rewards: Tensor
    discounts: Tensor

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True, eq=False)
class Batch:
    """Transitions drawn from the replay: `(B, F)`, `(B, D)`, `(B, F)`, `(B,)`, `(B,)`."""

    features: Tensor
    action: Tensor
    next_features: Tensor
    reward: Tensor
    discount: Tensor


class Replay:
    """Ring of transitions; the oldest go first, and being full is not an error.

    A row is features, action, next features, reward, discount, side by side: one gather per update.
    """

    def __init__(
        self, capacity: int, feature_dim: int, action_dim: int, device: torch.device | str = "cpu"
    ) -> None:
        self.sizes = [feature_dim, action_dim, feature_dim, 1, 1]
        self.rows = torch.zeros(capacity, sum(self.sizes), device=device)
        self.inserted = 0

    def __len__(self) -> int:
        return min(self.inserted, len(self.rows))

    def add(self, new: Transitions) -> None:
        """Insert an episode in place of the oldest transitions."""
        places = torch.arange(self.inserted, self.inserted + len(new)) % len(self.rows)
        scalars = [new.rewards[:, None], new.discounts[:, None]]
        rows = torch.cat([new.features[:-1], new.action, new.features[1:], *scalars], 1)
        self.rows[places] = rows.to(self.rows.device)
        self.inserted += len(new)

    def draw(self, updates: int, size: int, generator: torch.Generator) -> Tensor:
        """Row numbers `(updates, size)`, uniform with replacement."""
        shape = (updates, size)
        return torch.randint(len(self), shape, generator=generator, device=generator.device)

    def batch(self, numbers: Tensor) -> Batch:
        """The transitions of these row numbers."""
        features, action, after, reward, discount = self.rows[numbers].split(self.sizes, 1)
        return Batch(features, action, after, reward[:, 0], discount[:, 0])

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""
        return {"rows": self.rows[: len(self)], "inserted": self.inserted}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.inserted = state["inserted"]
        self.rows[: len(self)] = state["rows"]
