"""Behaviour cloning of what was played: the baselines that fine-tune the base policy itself instead of steering its noise.

A copy of the denoiser goes on learning by the loss of its pre-training, from the episodes of the run alone, the warm-up included:

- `filtered_bc` clones the episodes that the reward calls a success, R >= `success_reward`;
- `weighted_bc` clones all, each with the weight R - R_min: reward-weighted regression (Peters and Schaal, 2007) with weights
  that are linear in the reward, so that there is no temperature to tune.

Replay, number of updates and episodes are those of DSRL. The image encoder stays frozen, and what is played is a running average.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from policies.checkpoint import load_checkpoint, save_checkpoint
from policies.diffusion import SCHEDULER, training_loss
from policies.dsrl.replay import Batch
from policies.player import BaseNoise, Policy
from policies.policy import DiffusionPolicy
from roboreward_gym.errors import InvalidSetting, WeightsError

CLONING = ("filtered_bc", "weighted_bc")
"""Algorithms that change the policy itself."""
FEATURE_NOISE = 0.02
"""Standard deviation of noise on the frozen features, as in the pre-training (`policies.pretrain`)."""
MAX_GRAD_NORM = 1.0
"""As in the pre-training."""


@dataclass(frozen=True, eq=False)
class ClonedPolicy:
    """A policy that was fine-tuned itself, and plays its own Gaussian noise.

    Attributes:
        policy: What decodes it, in place of the base policy.
    """

    policy: DiffusionPolicy

    def __call__(
        self, policy: Policy, features: Tensor, elapsed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise, whatever the features, and what its own policy decodes it to, `(1, chunk, A)` each."""
        return BaseNoise()(self.policy, features, elapsed, generator)

    def save(self, path: Path) -> None:
        """Write one file that `load` reads."""
        save_checkpoint(path, {"denoiser": self.policy.denoiser.state_dict()})

    @classmethod
    def load(cls, path: Path, policy: Policy) -> "ClonedPolicy":
        """Read what `save` wrote.

        Raises:
            WeightsError: Missing, corrupt, or of another policy.
            InvalidSetting: The base policy cannot be cloned.
        """
        clone = clone_of(policy)
        try:
            clone.denoiser.load_state_dict(load_checkpoint(path)["denoiser"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(
                f"{path} was not fine-tuned from this base policy ({error}). Give the one that was."
            ) from error
        return cls(clone)


def clone_of(policy: Policy) -> DiffusionPolicy:
    """A copy that can be changed.

    Raises:
        InvalidSetting: It is not one of our policies, whose training is known.
    """
    if not isinstance(policy, DiffusionPolicy):
        raise InvalidSetting(
            f"{' and '.join(CLONING)} go on with the pre-training of one of our policies, not with that of a "
            f"{type(policy).__name__}. Choose best_of_n or sac."
        )
    return copy.deepcopy(policy)


class WeightedCloning:
    """Updates of the denoiser towards the actions of scored episodes, each with a weight.

    Args:
        policy: The base policy; a copy of it learns.
        lr: Learning rate of Adam.
        average_tau: Share of the weights that moves into their running average per update.
        weigh: Weight the episodes by reward; otherwise all alike.
        generator: For noise and diffusion steps.
    """

    def __init__(
        self, policy: Policy, lr: float, average_tau: float, generator: torch.Generator, *, weigh: bool
    ) -> None:  # fmt: skip
        self.average = clone_of(policy)
        self.net = copy.deepcopy(self.average.denoiser).requires_grad_().train()
        self.average_tau, self.weigh, self.generator = average_tau, weigh, generator
        self.lowest = torch.tensor(torch.inf, device=generator.device)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr, foreach=True)
        self.scheduler = DDPMScheduler(**SCHEDULER)
        learned = {"networks": self.net, "average": self.average.denoiser, "lowest": self.lowest}
        self.parts = {**learned, "optimiser": self.optimiser, "generator": generator}

    def update(self, batch: Batch, *, actor: bool) -> dict[str, Tensor]:
        """One step; there are no critics, so that the warm-up trains the policy too."""
        policy = self.average
        shape = (len(batch.action), policy.chunk, policy.action_dim)
        actions = policy.action_normalizer.normalize(batch.action.view(shape)).clamp(-1.0, 1.0)
        features = batch.features[:, : policy.feature_dim]  # without the time feature
        noise = torch.empty_like(features).normal_(0.0, FEATURE_NOISE, generator=self.generator)
        # w = R - R_min, or 1; the loss is sum(w * error) / sum(w)
        weight = batch.reward - self.lowest if self.weigh else torch.ones_like(batch.reward)
        weights = weight[:, None].expand(shape[:2])
        loss = training_loss(
            self.net, self.scheduler, actions, weights, features + noise, self.generator
        )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), MAX_GRAD_NORM, foreach=True)
        self.optimiser.step()
        with torch.no_grad():
            for mean, new in zip(policy.denoiser.parameters(), self.net.parameters(), strict=True):
                mean.lerp_(new, self.average_tau)
        return {"cloning_loss": loss.detach()}
