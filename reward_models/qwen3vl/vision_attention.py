"""Faster Qwen3-VL vision tower with the same weights and the same output.

transformers attends to the frames one by one in a Python loop unless flash attention is installed, and embeds
patches through a Conv3d whose kernel equals its stride. Equal-sized frames fit one batched attention call, and
such a convolution is a matrix product, several times faster on CPU in the backward pass.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
    Qwen3VLVisionPatchEmbed,
    apply_rotary_pos_emb_vision,
)


class BatchedVisionAttention(nn.Module):
    """Takes over the projections of one attention layer, so that names in a checkpoint stay the same."""

    def __init__(self, original: Qwen3VLVisionAttention) -> None:
        super().__init__()
        self.num_heads = original.num_heads
        self.scaling = original.scaling
        self.qkv = original.qkv
        self.proj = original.proj

    def forward(
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        rotary_pos_emb: torch.Tensor | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **_: object,
    ) -> torch.Tensor:
        """Attend within each frame.

        Args:
            hidden_states: `(patches of all frames, hidden)`.
            cu_seqlens: `(frames + 1,)` where each frame starts.
            rotary_pos_emb: Not used by the original either.
            position_embeddings: Cosine and sine, each `(patches of all frames, head size)`.
        """
        n = hidden_states.shape[0]
        q, k, v = self.qkv(hidden_states).reshape(n, 3, self.num_heads, -1).unbind(1)
        if position_embeddings is not None:
            q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
        lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
        if len(set(lengths)) == 1:
            attended = self._attend(q, k, v, lengths[0])
        else:
            parts = zip(q.split(lengths), k.split(lengths), v.split(lengths), lengths, strict=True)
            attended = torch.cat([self._attend(*part) for part in parts])
        return self.proj(attended)

    def _attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, length: int
    ) -> torch.Tensor:
        """`(frames * length, heads, head size)` three times to `(frames * length, hidden)`."""
        q, k, v = (x.unflatten(0, (-1, length)).transpose(1, 2) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=self.scaling)
        return out.transpose(1, 2).flatten(0, 1).flatten(1)


class LinearPatchEmbed(nn.Module):
    """The patch embedding as one matrix product; keeps the Conv3d as the owner of its weight."""

    def __init__(self, original: Qwen3VLVisionPatchEmbed) -> None:
        super().__init__()
        self.proj = original.proj

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(patches, channels * 2 * 16 * 16)` to `(patches, hidden)`."""
        weight = self.proj.weight
        return F.linear(hidden_states.to(weight.dtype), weight.flatten(1), self.proj.bias)


def speed_up(visual: Qwen3VLVisionModel) -> Qwen3VLVisionModel:
    """Exchange the slow layers of this one tower, in place; nothing global is patched."""
    visual.patch_embed = LinearPatchEmbed(visual.patch_embed)
    for block in visual.blocks:
        block.attn = BatchedVisionAttention(block.attn)
    return visual
