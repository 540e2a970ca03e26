"""The denoiser: a small diffusion transformer over an action chunk, conditioned by adaLN-Zero."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Modulation(nn.Linear):
    """Condition `(..., width)` to shift, scale and gate, and again if there are more parts: `(..., parts * width)`.

    Before training scales are 1 and all others 0.
    """

    offset: Tensor

    def __init__(self, width: int, parts: int) -> None:
        super().__init__(width, parts * width)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        is_scale = torch.arange(parts) % 3 == 1
        self.register_buffer("offset", is_scale.float().repeat_interleave(width), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """The parts side by side."""
        return F.linear(input, self.weight, self.bias + self.offset)


class Block(nn.Module):
    """Self-attention and MLP whose norms and gates are set by the condition (Peebles & Xie 2023)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = Modulation(width, 6)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """`x` (B, chunk, width), `modulation` (B, 6 width) of the condition, from `Modulation`."""
        # x + gate f(norm(x) scale + shift), once for attention and once for the MLP
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation[:, None].chunk(6, -1)
        x = torch.addcmul(x, gate1, self._attend(torch.addcmul(shift1, self.norm(x), scale1)))
        return torch.addcmul(x, gate2, self.mlp(torch.addcmul(shift2, self.norm(x), scale2)))

    def _attend(self, x: Tensor) -> Tensor:
        batch, chunk, width = x.shape
        qkv = self.qkv(x).view(batch, chunk, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, chunk, width / heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, chunk, width))


class DiffusionTransformer(nn.Module):
    """Predicts from a noisy action chunk, its diffusion step and the features of the observation.

    Every output is zero before training: gates and the last layer start at zero.
    """

    rate: Tensor

    def __init__(
        self, *, features: int, action_dim: int, chunk: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(action_dim, width)
        self.position = nn.Parameter(0.02 * torch.randn(chunk, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.condition = nn.Sequential(
            nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = Modulation(width, 2)
        self.out = nn.Linear(width, action_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        rate = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
        self.register_buffer("rate", rate, persistent=False)

    def forward(self, noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """One prediction.

        Args:
            noisy: `(B, chunk, action_dim)`.
            step: `(B,)` diffusion step, 0 = nearly clean.
            condition: `(B, width)` from `embed_condition`; the same for all denoising steps.

        Returns:
            `(B, chunk, action_dim)`, in the parametrisation that it was trained for.
        """
        return self.denoise(noisy, self.modulate(step, condition))

    def modulate(self, step: Tensor, condition: Tensor) -> list[Tensor]:
        """What step and condition do in each block and at the end; `(S, 1)` steps give `(S, B, ...)` each, at once."""
        angle = step[..., None].float() * self.rate
        time = self.time(torch.cat([angle.sin(), angle.cos()], -1))
        joint = F.silu(time + condition)
        return [*(cast(Block, b).modulation(joint) for b in self.blocks), self.modulation(joint)]

    def denoise(self, noisy: Tensor, modulations: list[Tensor]) -> Tensor:
        """One prediction by what `modulate` gave for its step, `(B, ...)` each."""
        x = self.embed(noisy) + self.position
        for block, modulation in zip(self.blocks, modulations, strict=False):
            x = block(x, modulation)
        shift, scale = modulations[-1][:, None].chunk(2, -1)
        return self.out(torch.addcmul(shift, self.norm(x), scale))

    def embed_condition(self, features: Tensor) -> Tensor:
        """`(B, features)` to `(B, width)`, once per chunk."""
        return self.condition(features)
