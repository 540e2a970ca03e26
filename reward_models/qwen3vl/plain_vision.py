"""Qwen3-VL's vision tower in plain torch: see `reward_models.qwen3vl.plain`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from reward_models.protocol.frames import MERGE, PATCH, TEMPORAL_PATCH

EPSILON = 1e-6
"""Of the tower's norms, as in transformers."""


@dataclass(frozen=True, eq=False)
class VisionOutput:
    """What the tower gives, under transformers' names."""

    pooler_output: torch.Tensor
    deepstack_features: tuple[torch.Tensor, ...] = ()


class VisionModel(nn.Module):
    """The vision tower: pairs of frames to visual tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Embedding(config.num_position_embeddings, width)
        self.blocks = nn.ModuleList([VisionBlock(config) for _ in range(config.depth)])
        self.merger = Merger(width, config.out_hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.pos_embed.weight.dtype

    def forward(self, hidden_states: torch.Tensor, grid_thw: torch.Tensor) -> VisionOutput:
        """`(patches, 1536)` pixels to `(patches / 4, out_hidden_size)` tokens."""
        grids = grid_thw.tolist()
        hidden = self.patch_embed(hidden_states) + self._places(grids)
        angles = self._angles(grids).to(hidden.device)
        rotary = torch.cat((angles, angles), -1)
        lengths = [h * w for t, h, w in grids for _ in range(t)]
        for block in self.blocks:
            hidden = block(hidden, rotary.cos(), rotary.sin(), lengths)
        return VisionOutput(self.merger(hidden))

    def _places(self, grids: list[list[int]]) -> torch.Tensor:
        """`(patches, width)` learned positions, interpolated to the grid of each video."""
        side = int(self.config.num_position_embeddings**0.5)
        found = []
        for t, h, w in grids:
            rows, columns = (torch.linspace(0, side - 1, n) for n in (h, w))
            top, left = rows.int(), columns.int()
            bottom, right = ((x + 1).clip(max=side - 1) for x in (top, left))
            dy, dx = (rows - top)[:, None], (columns - left)[None]
            corners = [
                (top, left, (1 - dy) * (1 - dx)), (top, right, (1 - dy) * dx),
                (bottom, left, dy * (1 - dx)), (bottom, right, dy * dx),
            ]  # fmt: skip
            parts = [
                self.pos_embed((y[:, None] * side + x[None]).flatten().long().to(self.pos_embed.weight.device))
                * weight.flatten().to(self.pos_embed.weight)[:, None]
                for y, x, weight in corners
            ]  # fmt: skip
            place = parts[0] + parts[1] + parts[2] + parts[3]
            found.append(_in_blocks(place.repeat(t, 1), t, h, w))
        return torch.cat(found)

    def _angles(self, grids: list[list[int]]) -> torch.Tensor:
        """`(patches, head / 2)` angles of row and column."""
        quarter = self.config.hidden_size // self.config.num_heads // 2
        frequencies = 1.0 / (10000.0 ** (torch.arange(0, quarter, 2, dtype=torch.float) / quarter))
        found = []
        for t, h, w in grids:
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            place = torch.stack((rows, columns), -1).flatten(0, 1).repeat(t, 1)
            found.append(_in_blocks(place, t, h, w))
        places = torch.cat(found)
        table = torch.outer(torch.arange(int(places.max()) + 1, dtype=torch.float), frequencies)
        return table[places].flatten(1)


class PatchEmbed(nn.Module):
    """Pixels of a patch to one vector."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        kernel = (TEMPORAL_PATCH, PATCH, PATCH)
        self._shape = (-1, config.in_channels, *kernel)
        self._width = config.hidden_size
        self.proj = nn.Conv3d(config.in_channels, config.hidden_size, kernel, stride=kernel)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """`(patches, 1536)` to `(patches, width)`."""
        pixels = patches.to(self.proj.weight.dtype).view(self._shape)
        return self.proj(pixels).view(-1, self._width)


class VisionBlock(nn.Module):
    """One layer of the tower."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, expanded = config.hidden_size, config.intermediate_size
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=EPSILON) for _ in range(2))
        self.attn = VisionAttention(width, config.num_heads)
        self.mlp = VisionMLP(width, expanded)

    def forward(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, lengths: list[int]
    ) -> torch.Tensor:
        """`(patches, width)` to the same."""
        hidden = hidden + self.attn(self.norm1(hidden), cos, sin, lengths)
        return hidden + self.mlp(self.norm2(hidden))


class VisionMLP(nn.Module):
    """Feed-forward layers of the tower."""

    def __init__(self, width: int, expanded: int) -> None:
        super().__init__()
        self.linear_fc1, self.linear_fc2 = nn.Linear(width, expanded), nn.Linear(expanded, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(patches, width)` to the same."""
        return self.linear_fc2(F.gelu(self.linear_fc1(hidden), approximate="tanh"))


class VisionAttention(nn.Module):
    """Attention within each pair of frames."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, lengths: list[int]
    ) -> torch.Tensor:
        """`(patches, width)` to the same; `lengths` are the patches of each pair of frames."""
        count = len(hidden)
        q, k, v = self.qkv(hidden).reshape(count, 3, self._heads, -1).permute(1, 0, 2, 3).unbind(0)
        turn = (cos[:, None].float(), sin[:, None].float())
        q, k = (rotate(x.float(), *turn).to(x.dtype) for x in (q, k))
        parts = zip(*(x.transpose(0, 1)[None].split(lengths, 2) for x in (q, k, v)), strict=True)
        mixed = [F.scaled_dot_product_attention(*part).transpose(1, 2) for part in parts]
        return self.proj(torch.cat(mixed, 1).reshape(count, -1))


class Merger(nn.Module):
    """Four patches to one visual token."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self._joined = width * MERGE**2
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.linear_fc1 = nn.Linear(self._joined, self._joined)
        self.linear_fc2 = nn.Linear(self._joined, out)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(patches, width)` to `(patches / 4, out)`."""
        joined = self.norm(hidden).view(-1, self._joined)
        return self.linear_fc2(F.gelu(self.linear_fc1(joined)))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs of numbers half a vector apart."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _in_blocks(values: torch.Tensor, t: int, h: int, w: int) -> torch.Tensor:
    """Order `(t * h * w, ...)` rows as patches are: the four of a visual token together."""
    blocks = values.view(t, h // MERGE, MERGE, w // MERGE, MERGE, -1)
    return blocks.permute(0, 1, 3, 2, 4, 5).flatten(0, 4)
