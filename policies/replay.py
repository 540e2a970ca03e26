"""Replay of chunk transitions whose reward arrives late, and may be judged again.

A judge speaks after the episode. Until then its transitions are held; `score` inserts them. A later
`score` of the same episode, by another judge, changes its reward and nothing else.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Ending = Literal["scored_end", "success_only"]


@dataclass(frozen=True)
class EndRule:
    """Whether there is value beyond the last transition of an episode.

    With `scored_end`, none: a graded reward paid at the time limit is the whole return, and a value
    bootstrapped past it would count it twice. Right for `progress` and `raw` rewards.

    With `success_only`, a time limit is no end of the task: only success, or an env that says
    `terminated`, is. Right for binary and -1/0 rewards.
    """

    ending: Ending = "scored_end"
    success_reward: float = 1.0
    """Terminal reward from which on an episode counts as success: 1 for binary, 0 for -1/0."""

    def is_terminal(self, reward: float, *, terminated: bool) -> bool:
        """Whether the scored last transition of an episode has no future."""
        return terminated or self.ending == "scored_end" or reward >= self.success_reward


@dataclass(frozen=True, eq=False)
class Transitions:
    """An episode as chunk transitions, less the terminal reward.

    Attributes:
        episode: Its number.
        features: `(C+1, F)` before each transition, and after the last.
        noise: `(C, D)` the learner's action.
        rewards: `(C,)` discounted sum within the chunk, without the terminal reward.
        discounts: `(C,)` gamma to the power of the executed env steps.
        tail: Discount of the terminal reward within the last chunk.
        terminated: The env itself ended the episode.
    """

    episode: int
    features: Tensor
    noise: Tensor
    rewards: Tensor
    discounts: Tensor
    tail: float
    terminated: bool

    def __len__(self) -> int:
        return len(self.noise)


@dataclass(frozen=True, eq=False)
class Batch:
    """Transitions drawn from the replay: `(B, F)`, `(B, D)`, `(B, F)`, `(B,)`, `(B,)`."""

    features: Tensor
    noise: Tensor
    next_features: Tensor
    reward: Tensor
    discount: Tensor


class Replay:
    """Ring of transitions; the oldest go first, and being full is no error.

    A row of `data` is features, noise, next features, reward, discount, side by side: one gather
    per update. A row of `notes` is episode, reward before the terminal one, discount before the
    end rule, tail (0 unless the episode's last), terminated.
    """

    def __init__(self, capacity: int, feature_dim: int, noise_dim: int, rule: EndRule) -> None:
        self.sizes = [feature_dim, noise_dim, feature_dim, 1, 1]
        self.data = torch.zeros(capacity, sum(self.sizes))
        self.notes = torch.zeros(capacity, 5, dtype=torch.float64)
        self.rule = rule
        self.held: dict[int, Transitions] = {}
        self.inserted = 0

    def __len__(self) -> int:
        return min(self.inserted, len(self.data))

    def hold(self, transitions: Transitions) -> None:
        """Keep an episode that has no score yet; nothing is drawn from it."""
        self.held[transitions.episode] = transitions

    def score(self, episode: int, reward: float) -> None:
        """Give an episode its terminal reward: insert it if it was held, else judge it again.

        An episode that the ring has forgotten is left forgotten.
        """
        held = self.held.pop(episode, None)
        if held is not None:
            self._insert(held)
        last = (self.notes[: len(self), 0] == episode) & (self.notes[: len(self), 3] > 0)
        for row in last.nonzero()[:, 0].tolist():
            _, before, discount, tail, terminated = self.notes[row].tolist()
            terminal = self.rule.is_terminal(reward, terminated=bool(terminated))
            self.data[row, -2] = before + tail * reward
            self.data[row, -1] = 0.0 if terminal else discount

    def forget(self, episode: int) -> None:
        """Let go of a held episode that cannot be judged."""
        self.held.pop(episode, None)

    def draw(self, updates: int, size: int, generator: torch.Generator) -> Tensor:
        """Row numbers `(updates, size)`, uniform with replacement."""
        return torch.randint(len(self), (updates, size), generator=generator)

    def batch(self, rows: Tensor) -> Batch:
        """The transitions at `rows`."""
        features, noise, after, reward, discount = self.data[rows].split(self.sizes, 1)
        return Batch(features, noise, after, reward[:, 0], discount[:, 0])

    def state(self) -> dict[str, Any]:
        """What `restore` needs. Held episodes are not part of it: save when all are scored."""
        return {
            "data": self.data[: len(self)],
            "notes": self.notes[: len(self)],
            "inserted": self.inserted,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.inserted = state["inserted"]
        self.data[: len(self)] = state["data"]
        self.notes[: len(self)] = state["notes"]

    def _insert(self, new: Transitions) -> None:
        count = len(new)
        rows = torch.arange(self.inserted, self.inserted + count) % len(self.data)
        tail = torch.zeros(count)
        tail[-1] = new.tail
        number = torch.full((count,), float(new.episode))
        ends = torch.full((count,), float(new.terminated))
        scalars = [new.rewards[:, None], new.discounts[:, None]]
        self.data[rows] = torch.cat([new.features[:-1], new.noise, new.features[1:], *scalars], 1)
        self.notes[rows] = torch.stack([number, new.rewards, new.discounts, tail, ends], 1).double()
        self.inserted += count
