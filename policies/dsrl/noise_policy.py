"""The noise policy: chooses the steered part of a chunk's noise (DSRL: diffusion steering), and draws the rest.

Actions of one chunk resemble each other, so it is the slow part of the noise that decides what the decoder does; the
fast part is smoothed away. Steering only the slow cosines along the chunk leaves fewer numbers to learn, and the
behaviour of the base policy where it was.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from policies.checkpoint import load_checkpoint, save_checkpoint
from policies.dsrl.sac import Actor
from policies.player import Policy
from roboreward_gym.errors import WeightsError


@dataclass(frozen=True, eq=False)
class NoisePolicy:
    """A learned choice of noise, in place of `player.BaseNoise`.

    Attributes:
        actor: Chooses the steered coordinates.
        basis: `(steered, chunk)` orthonormal; its rows span the steered part of the noise.
        time_feature_steps: Env steps that the time feature counts as 1; 0 for no such feature.
        unsteered_noise_scale: Scale of the random noise in the components that are not steered.
        deterministic: Take the mean of the actor; the part that is not steered stays random.
    """

    actor: Actor
    basis: Tensor
    time_feature_steps: int
    unsteered_noise_scale: float
    deterministic: bool = True

    @torch.no_grad()
    def __call__(
        self, policy: Policy, features: Tensor, elapsed: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noise for features `(1, F)` and what it decodes to, `(1, chunk, A)` each."""
        device = self.basis.device
        timed = add_time_feature(
            features.to(device), torch.tensor([elapsed], device=device), self.time_feature_steps
        )
        steered = (
            self.actor.mean(timed) if self.deterministic else self.actor.sample(timed, generator)[0]
        )
        steered_count, chunk = self.basis.shape
        rest = torch.zeros((1, chunk, steered.shape[1] // steered_count), device=device)
        if steered_count < chunk:
            rest = self.unsteered_noise_scale * rest.normal_(generator=generator)
        noise = join_noise(steered, rest, self.basis)
        return noise, policy.decode(features, noise)

    def save(self, path: Path) -> None:
        """Write one file that `load` reads."""
        sizes = [len(weight[0]) for weight, _ in self.actor.net.layers]
        steered, chunk = self.basis.shape
        state = {
            "features": sizes[0],
            "hidden": sizes[1:],
            "size": self.actor.net.layers[-1][1].shape[-1] // 2,
            "bound": self.actor.bound,
            "steered_components": steered,
            "chunk": chunk,
            "time_feature_steps": self.time_feature_steps,
            "unsteered_noise_scale": self.unsteered_noise_scale,
            "deterministic": self.deterministic,
        }
        save_checkpoint(path, {**state, "actor": self.actor.state_dict()})

    @classmethod
    def load(cls, path: Path) -> "NoisePolicy":
        """Read what `save` wrote.

        Raises:
            WeightsError: Missing, corrupt, or made by another version.
        """
        state = load_checkpoint(path)
        try:
            sizes = [state[name] for name in ("features", "size", "hidden", "bound")]
            actor = Actor(*sizes, torch.Generator())
            actor.load_state_dict(state["actor"])
            basis = cosine_basis(state["steered_components"], state["chunk"])
            settings = {
                name: state[name]
                for name in ("time_feature_steps", "unsteered_noise_scale", "deterministic")
            }
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(
                f"{path} holds no noise policy of this version ({error}). Run the fine-tuning again."
            ) from error
        return cls(actor, basis, **settings)


def cosine_basis(steered: int, chunk: int) -> Tensor:
    """`(steered, chunk)` orthonormal rows: slow cosines, or single time steps if all are steered."""
    if steered == chunk:
        return torch.eye(chunk)
    angle = math.pi / chunk * (torch.arange(chunk) + 0.5) * torch.arange(steered)[:, None]
    return F.normalize(angle.cos(), dim=1)


def join_noise(steered: Tensor, rest: Tensor, basis: Tensor) -> Tensor:
    """Put steered coordinates `(B, steered * A)` into noise `rest`, `(B, chunk, A)`.

    The basis is orthonormal: standard normal coordinates and rest give standard normal noise.
    """
    # noise = B^T w + (I - B^T B) rest
    return basis.T @ steered.view(len(steered), len(basis), -1) + (rest - basis.T @ (basis @ rest))


def split_noise(noise: Tensor, basis: Tensor) -> Tensor:
    """Steered coordinates `(B, steered * A)` of noise `(B, chunk, A)`."""
    return (basis @ noise).flatten(1)


def add_time_feature(features: Tensor, elapsed: Tensor, unit_steps: int) -> Tensor:
    """Append the time into the episode to features `(B, F)`: -1 at the start, 1 after `unit_steps` env steps.

    `elapsed` is `(B,)` env steps. With `unit_steps` 0 nothing is appended.
    """
    if unit_steps == 0:
        return features
    return torch.cat([features, 2.0 * elapsed[:, None].float() / unit_steps - 1.0], 1)
