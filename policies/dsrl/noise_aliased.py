"""DSRL-NA: noise-aliased diffusion steering (arXiv 2506.15799).

Many noises decode to the same actions. So critics of the *actions* learn from the replay by temporal differences, and critics of the
*noise* are distilled from them, on noises that nobody has played:

- Q_A(s, a)  towards  r + gamma^k min Q_A'(s', decode(s', w')),  w' ~ actor(s');
- Q_W(s, w)  towards  min Q_A(s, decode(s, w)),  w ~ N(0, I);
- the actor uphill on Q_W, as in DSRL-SAC.

Each update decodes twice as many chunks as a batch has. `best_of_n` keeps the critics of the actions, and needs neither the
distillation nor the actor.
"""

import copy

import torch
from torch import Tensor

from policies.dsrl.best_of_n import ActionCritics
from policies.dsrl.noise_policy import join_noise, split_noise
from policies.dsrl.replay import Batch
from policies.dsrl.sac import Sac
from policies.player import Policy


class NoiseAliased:
    """Updates of the critics of actions, of those of the noise, and of the actor.

    Args:
        critics: Q_A; a copy of them are their targets.
        sac: Actor, its running average, temperature, and Q_W as its critics.
        policy: The frozen decoder.
        basis: `(steered, chunk)`: the part of the noise that the actor chooses.
        unsteered_noise_scale: Scale of the random noise in the rest.
    """

    def __init__(
        self, critics: ActionCritics, sac: Sac, policy: Policy, basis: Tensor, unsteered_noise_scale: float
    ) -> None:  # fmt: skip
        self.critics, self.targets, self.sac = critics, copy.deepcopy(critics), sac
        self.policy, self.basis, self.scale = policy, basis, unsteered_noise_scale
        self.optimiser = torch.optim.Adam([critics.net.vector], sac.config.critic_lr, fused=True)
        learned = {"critics": critics, "targets": self.targets, "optimiser": self.optimiser}
        self.parts = {"sac": sac.parts, **learned}

    def fit_scale(self, actions: Tensor) -> None:
        """Take centre and scale of the critics' inputs from actions `(B, chunk * A)`."""
        for critics in (self.critics, self.targets):
            critics.fit_scale(actions)

    def update(self, batch: Batch, *, actor: bool) -> dict[str, Tensor]:
        """One update of all critics, and of the actor if it is its turn."""
        losses = self.update_action_critics(batch) | self.distil(batch)
        if actor:
            noise, log_density = self.sac.actor.sample(batch.features, self.sac.generator)
            losses |= self.sac.update_actor(batch, noise, log_density)
        return losses

    def update_action_critics(self, batch: Batch) -> dict[str, Tensor]:
        """One step of Q_A towards reward plus discounted value, and of its targets."""
        with torch.no_grad():
            steered, _ = self.sac.actor.sample(batch.next_features, self.sac.generator)
            actions = self._decode(batch.next_features, self._whole_noise(steered))
            value = self.targets(batch.next_features, actions).amin(0)
            # y = r + gamma^k * min_i Q_A_i'(s', a'); discount 0 where nothing follows
            target = batch.reward + batch.discount * value
        q = self.critics(batch.features, batch.action)  # (critics, B)
        loss = (q - target).square().mean(1).sum()  # sum over critics of the mean of (Q_i - y)^2
        (self.critics.net.vector.grad,) = torch.autograd.grad(loss, self.critics.net.vector)
        self.optimiser.step()
        self.targets.net.follow(self.critics.net, self.sac.config.tau)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def distil(self, batch: Batch) -> dict[str, Tensor]:
        """One step of Q_W towards Q_A, at noises of the base policy."""
        shape = (len(batch.reward), self.policy.chunk, self.policy.action_dim)
        generator = self.sac.generator
        noise = torch.randn(shape, generator=generator, device=generator.device)
        with torch.no_grad():
            actions = self._decode(batch.features, noise)
            target = self.critics(batch.features, actions).amin(0)
        inputs = torch.cat([batch.features, split_noise(noise, self.basis)], 1)
        q = self.sac.critics(inputs)[..., 0]
        loss = (q - target).square().mean(1).sum()
        (self.sac.critics.vector.grad,) = torch.autograd.grad(loss, self.sac.critics.vector)
        self.sac.optimisers["critics"].step()
        return {"distillation_loss": loss.detach()}

    def _whole_noise(self, steered: Tensor) -> Tensor:
        """Steered coordinates `(B, steered * A)` with random noise in the rest: `(B, chunk, A)`."""
        generator = self.sac.generator
        shape = (len(steered), self.policy.chunk, self.policy.action_dim)
        rest = torch.randn(shape, generator=generator, device=generator.device)
        return join_noise(steered, self.scale * rest, self.basis)

    def _decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Actions `(B, chunk * A)`; the decoder does not know the time feature."""
        own = features[:, : self.policy.feature_dim]
        return self.policy.decode(own, noise).flatten(1).to(features.device)
