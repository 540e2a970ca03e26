"""Bring states and actions of the demonstrations to [-1, 1], where a clipped decoder can live."""

import numpy as np
import torch
from torch import Tensor, nn

SMALLEST_HALF_RANGE = 1e-3
"""For dimensions that the demonstrations never moved: they decode to their constant value."""


class Normalizer(nn.Module):
    """Per-dimension min/max to [-1, 1] and back; saved with the policy's weights."""

    centre: Tensor
    half_range: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("half_range", torch.ones(size))

    def fit(self, values: np.ndarray) -> None:
        """Take the range of `values`, `(N, size)` float32."""
        low, high = (torch.from_numpy(np.asarray(f(values, axis=0))) for f in (np.min, np.max))
        self.centre.copy_((low + high) / 2)
        self.half_range.copy_(((high - low) / 2).clamp(min=SMALLEST_HALF_RANGE))

    def normalize(self, values: Tensor) -> Tensor:
        """`(..., size)` to [-1, 1] inside the fitted range; outside it clipped at 2, because no net was trained further out."""
        return ((values - self.centre) / self.half_range).clamp(-2.0, 2.0)

    def restore(self, values: Tensor) -> Tensor:
        """Inverse of `normalize` for values `(..., size)` in [-1, 1]."""
        return values * self.half_range + self.centre
