"""Best of N: draw several noises, decode them all, and play the one whose actions the critics value most.

The critics judge decoded actions, as those of DSRL-NA do (arXiv 2506.15799): many noises decode to the same actions, so
Q(s, a) is learned from tens of episodes where Q(s, w) needs hundreds (`experiments/results/dsrl_ablation.json`). The best of N
samples takes the actor's place, as in EMaQ (arXiv 2007.11091) and IDQL (2304.10573): there is no actor, no temperature and no
bound to tune, and what is played is always a sample of the base policy, drawn a little closer to its modes than usual. The target
is the return that followed.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from policies.checkpoint import load_checkpoint, save_checkpoint
from policies.dsrl.networks import Ensemble
from policies.dsrl.noise_policy import add_time_feature
from policies.dsrl.replay import Batch
from policies.player import Policy
from roboreward_gym.errors import WeightsError

SMALLEST_SCALE = 0.05
"""Smallest spread of an action, in units of the action space: a dimension that hardly moves is not blown up."""


class ActionCritics(nn.Module):
    """Mean return of an action chunk, by an ensemble of MLPs."""

    centre: Tensor
    scale: Tensor

    def __init__(self, members: int, sizes: list[int], generator: torch.Generator) -> None:
        super().__init__()
        self.sizes = [members, *sizes]
        self.net = Ensemble(members, [sum(sizes[:2]), *sizes[2:], 1], generator)
        self.register_buffer("centre", torch.zeros(sizes[1], device=generator.device))
        self.register_buffer("scale", torch.ones(sizes[1], device=generator.device))

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """`(B, F)` features and `(B, chunk * A)` actions to values `(members, B)`."""
        scaled = (actions - self.centre) / self.scale
        return self.net(torch.cat([features, scaled], 1))[..., 0]

    def fit_scale(self, actions: Tensor) -> None:
        """Take centre and scale from actions `(B, chunk * A)`."""
        self.centre.copy_(actions.mean(0))
        self.scale.copy_(actions.std(0).clamp(min=SMALLEST_SCALE))


@dataclass(frozen=True, eq=False)
class BestOfN:
    """A choice among noises, in place of `player.BaseNoise`.

    Attributes:
        critics: They judge what the noises decode to.
        candidates: Noises to choose from; 1 is the base policy.
        candidate_scale: Standard deviation of these noises.
        time_feature_steps: Env steps that the time feature counts as 1; 0 for no such feature.
    """

    critics: ActionCritics
    candidates: int
    candidate_scale: float
    time_feature_steps: int

    @torch.no_grad()
    def __call__(
        self, policy: Policy, features: Tensor, elapsed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise for features `(1, F)` and what it decodes to, `(1, chunk, A)` each."""
        device, count = self.critics.centre.device, self.candidates
        shape = (count, policy.chunk, policy.action_dim)
        noise = self.candidate_scale * torch.randn(shape, generator=generator, device=device)
        actions = policy.decode(features.expand(count, -1), noise).to(device)
        timed = add_time_feature(
            features.to(device), torch.tensor([elapsed], device=device), self.time_feature_steps
        )
        best = self.critics(timed.expand(count, -1), actions.flatten(1)).mean(0).argmax()
        return noise[best][None], actions[best][None]

    def save(self, path: Path) -> None:
        """Write one file that `load` reads."""
        state = {
            "sizes": self.critics.sizes,
            "candidates": self.candidates,
            "candidate_scale": self.candidate_scale,
            "time_feature_steps": self.time_feature_steps,
        }
        save_checkpoint(path, {**state, "critics": self.critics.state_dict()})

    @classmethod
    def load(cls, path: Path, policy: Policy) -> "BestOfN":
        """Read what `save` wrote.

        Raises:
            WeightsError: Missing, corrupt, made by another version, or for another policy.
        """
        state = load_checkpoint(path)
        try:
            members, *sizes = state["sizes"]
            critics = ActionCritics(members, sizes, torch.Generator())
            critics.load_state_dict(state["critics"])
            settings = ("candidates", "candidate_scale", "time_feature_steps")
            made = cls(critics, *(state[name] for name in settings))
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(
                f"{path} holds no critics of this version ({error}). Run the fine-tuning again."
            ) from error
        wanted = [policy.feature_dim + (made.time_feature_steps > 0), policy.decoded_dim]
        if sizes[:2] != wanted:
            raise WeightsError(
                f"{path} was made for another policy: features and actions {sizes[:2]}, here {wanted}. Give the base "
                "policy that was fine-tuned."
            )
        return made


class ReturnRegression:
    """Updates of the critics towards the return that followed each action chunk."""

    def __init__(self, critics: ActionCritics, lr: float, generator: torch.Generator) -> None:
        self.critics, self.generator = critics, generator
        self.optimiser = torch.optim.Adam(critics.parameters(), lr, fused=True)
        self.parts = {"networks": critics, "optimiser": self.optimiser, "generator": generator}

    def fit_scale(self, actions: Tensor) -> None:
        """Take centre and scale of the critics' inputs from actions `(B, chunk * A)`."""
        self.critics.fit_scale(actions)

    def update(self, batch: Batch, *, actor: bool) -> dict[str, Tensor]:
        """One step towards the returns; there is no actor."""
        q = self.critics(batch.features, batch.action)
        # Sum over critics of the mean of (Q_i - R)^2.
        loss = (q - batch.reward).square().mean(1).sum()
        vector = self.critics.net.vector
        (vector.grad,) = torch.autograd.grad(loss, vector)
        self.optimiser.step()
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}
