"""Soft actor-critic (arXiv 1801.01290, 1812.05905) over the steered noise: networks and updates.

What differs from the usual form, and why:

- No entropy in the critics' target, and a small initial temperature: a terminal reward of 0..1 differs by tenths
  between two noises, and the entropy of many dimensions drowns that for thousands of updates.
- The untrained actor is close to N(0, I), so that learning starts from the base policy.
- The actor is bounded: noise = bound * tanh(u).
- A running average of the actor is kept beside it: the actor itself moves with every batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.dsrl.networks import Ensemble
from policies.dsrl.replay import Batch
from policies.settings import require_positive

LOG_STD = (-5.0, 1.0)


@dataclass(frozen=True)
class SacConfig:
    """Networks and updates; those of the critics hold for `best_of_n`, too."""

    batch: int = 64
    """Transitions per update."""
    actor_every: int = 2
    """Critic updates per actor update."""
    noise_bound: float = 1.5
    """Largest steered noise, per coordinate."""
    width: int = 128
    """Width of the hidden layers."""
    layers: int = 2
    """Hidden layers, each tanh after LayerNorm."""
    critics: int = 4
    """Critics; `sac` takes the smallest, `best_of_n` the mean."""
    actor_lr: float = 3e-4
    """Learning rate of the actor, and of the policy in behaviour cloning."""
    critic_lr: float = 3e-4
    """Learning rate of the critics."""
    alpha_lr: float = 3e-4
    """Learning rate of the temperature."""
    alpha: float = 0.003
    """Initial temperature, for rewards of 0..1. With ten times as much the actor stays the base policy."""
    target_entropy: float = 0.0
    """Entropy of the steered noise that the temperature is tuned for, in [nat]."""
    tau: float = 0.005
    """Share of the critics that moves into the target critics per update."""
    average_tau: float = 0.002
    """Share of the actor, or of the cloned policy, that moves into its running average per update of it; 1 keeps no average."""

    def __post_init__(self) -> None:
        require_positive(self, "batch", "actor_every", "noise_bound", "critics", "average_tau")


class Actor(nn.Module):
    """Features `(B, features)` to a squashed Gaussian over noise `(B, size)` within a bound."""

    def __init__(
        self,
        features: int,
        size: int,
        hidden: Sequence[int],
        bound: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.bound = bound
        self.net = Ensemble(1, [features, *hidden, 2 * size], generator)
        with torch.no_grad():
            # So that the mean is about 0, the standard deviation 1.
            self.net.layers[-1][0].mul_(0.01)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before squashing, `(B, D)` each."""
        mean, log_std = self.net(features)[0].chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD)

    def mean(self, features: Tensor) -> Tensor:
        """The noise `(B, D)` without exploration."""
        return self.bound * torch.tanh(self(features)[0])

    def sample(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise `(B, D)` within the bound, and its log density `(B,)`."""
        mean, log_std = self(features)
        unit = torch.randn(mean.shape, generator=generator, device=mean.device)
        u = mean + log_std.exp() * unit
        # log N(u; mean, std) - log |d noise / d u|, the second as log bound + log(1 - tanh(u)^2) in the form that does not
        # underflow: log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)). What has no gradient is summed apart.
        constant = (0.5 * unit.square() + math.log(math.sqrt(2 * math.pi) * 4 * self.bound)).sum(-1)
        log_density = (2 * (u + F.softplus(-2 * u)) - log_std).sum(-1) - constant
        return self.bound * torch.tanh(u), log_density


class Sac(nn.Module):
    """Actor, critics and temperature, and one update of each, on the device of the generator.

    Features are `(B, features)`, the learner's action is noise `(B, size)`.
    """

    def __init__(
        self, config: SacConfig, features: int, size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.config = config
        self.generator = generator
        hidden = [config.width] * config.layers
        self.actor, self.average = (
            Actor(features, size, hidden, config.noise_bound, generator) for _ in range(2)
        )
        self.critics, self.targets = (
            Ensemble(config.critics, [features + size, *hidden, 1], generator) for _ in range(2)
        )
        self.average.net.follow(self.actor.net, 1.0)
        self.targets.follow(self.critics, 1.0)
        log_alpha = torch.tensor(math.log(config.alpha), device=generator.device)
        self.log_alpha = nn.Parameter(log_alpha)
        self.optimisers = {
            "critics": torch.optim.Adam([self.critics.vector], config.critic_lr, fused=True),
            "actor": torch.optim.Adam(
                [
                    {"params": [self.actor.net.vector], "lr": config.actor_lr},
                    {"params": [self.log_alpha], "lr": config.alpha_lr},
                ],
                fused=True,
            ),
        }

    def update(self, batch: Batch, *, actor: bool) -> dict[str, Tensor]:
        """One update of the critics, and then of the actor if it is its turn."""
        # The actor is the same in both, so that one pass of it serves both.
        states = torch.cat([batch.next_features, batch.features]) if actor else batch.next_features
        noise, log_density = self.actor.sample(states, self.generator)
        count = len(batch.reward)
        losses = self.update_critics(batch, noise[:count].detach())
        return (
            losses | self.update_actor(batch, noise[count:], log_density[count:])
            if actor
            else losses
        )

    def update_critics(self, batch: Batch, next_noise: Tensor) -> dict[str, Tensor]:
        """One step of the critics towards reward plus discounted value, and of their targets.

        `next_noise` `(B, D)` is the actor's choice after each transition.
        """
        with torch.no_grad():
            value = self.targets(torch.cat([batch.next_features, next_noise], 1))[..., 0].amin(0)
            # y = r + gamma^k * min_i Q_i'(s', w'),  w' ~ pi(s'); discount 0 where nothing follows
            target = batch.reward + batch.discount * value
        q = self.critics(torch.cat([batch.features, batch.action], 1))[..., 0]  # (critics, B)
        loss = (q - target).square().mean(1).sum()  # sum over critics of the mean of (Q_i - y)^2
        (self.critics.vector.grad,) = torch.autograd.grad(loss, self.critics.vector)
        self.optimisers["critics"].step()
        self.targets.follow(self.critics, self.config.tau)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def update_actor(self, batch: Batch, noise: Tensor, log_density: Tensor) -> dict[str, Tensor]:
        """One step of the actor towards higher values, and of the temperature towards the target entropy.

        `noise` `(B, D)` was sampled from the actor with `log_density` `(B,)`.
        """
        q = self.critics(torch.cat([batch.features, noise], 1), frozen=True)[..., 0].amin(0)
        # J_actor = mean of alpha * log pi(w | s) - min_i Q_i(s, w)
        alpha = self.log_alpha.detach().exp()
        loss = (alpha * log_density - q).mean()
        entropy = -log_density.detach().mean()
        # J_alpha = alpha * (entropy - target): alpha falls while the entropy is above its target
        self.log_alpha.grad = alpha * (entropy - self.config.target_entropy)  # d J / d log alpha
        (self.actor.net.vector.grad,) = torch.autograd.grad(loss, self.actor.net.vector)
        self.optimisers["actor"].step()
        self.average.net.follow(self.actor.net, self.config.average_tau)
        return {"actor_loss": loss.detach(), "entropy": entropy, "alpha": alpha}

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"networks": self, "optimisers": self.optimisers, "generator": self.generator}
