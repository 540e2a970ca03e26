"""Which part of a chunk's noise an actor chooses, and the clock it may look at.

Actions of one chunk resemble each other, so it is the slow part of the noise that decides what the
decoder does; the fast part is smoothed away. Steering only the slow cosines leaves fewer numbers to
learn and the behaviour of the base policy where it was.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_basis(steered: int, chunk: int) -> Tensor:
    """`(steered, chunk)` orthonormal rows: slow cosines, or single time steps if all are steered."""
    if steered == chunk:
        return torch.eye(chunk)
    angle = math.pi / chunk * (torch.arange(chunk) + 0.5) * torch.arange(steered)[:, None]
    return F.normalize(angle.cos(), dim=1)


def join_noise(steered: Tensor, rest: Tensor, basis: Tensor) -> Tensor:
    """Put steered coordinates `(B, steered * A)` into noise `(B, chunk, A)`.

    The basis is orthonormal: standard normal coordinates and rest give standard normal noise.
    """
    noise = basis.T @ steered.view(len(steered), len(basis), -1)
    return noise + (rest - basis.T @ (basis @ rest)) if rest.numel() else noise


def split_noise(noise: Tensor, basis: Tensor) -> Tensor:
    """Steered coordinates `(B, steered * A)` of noise `(B, chunk, A)`."""
    return (basis @ noise).flatten(1)


def add_clock(features: Tensor, elapsed: Tensor, clock: int) -> Tensor:
    """Append the time into the episode, in units of `clock` env steps and centred."""
    if clock == 0:
        return features
    return torch.cat([features, 2.0 * elapsed[:, None].float() / clock - 1.0], 1)
