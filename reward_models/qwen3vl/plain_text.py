"""Qwen3-VL's language model in plain torch: see `reward_models.qwen3vl.plain`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from reward_models.qwen3vl.plain_vision import rotate


@dataclass(frozen=True, eq=False)
class TextOutput:
    """What the language model gives, under transformers' names."""

    last_hidden_state: torch.Tensor


class TextModel(nn.Module):
    """The language model."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([TextLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def get_input_embeddings(self) -> nn.Embedding:
        """Vectors of tokens."""
        return self.embed_tokens

    def forward(
        self,
        *,
        inputs_embeds: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        **_: object,
    ) -> TextOutput:
        """`(B, S, width)` to the same; `position_ids` are `(3, B, S)`: time, row and column of each token."""
        cos, sin = self._turns(position_ids, inputs_embeds.dtype)
        mask = None if bool(attention_mask.all()) else _causal(attention_mask.bool())
        hidden = inputs_embeds
        for layer in self.layers:
            hidden = layer(hidden, cos, sin, mask)
        return TextOutput(self.norm(hidden))

    def _turns(
        self, positions: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, 1, S, head)` cosine and sine: each rotary pair turns by time, row or column, interleaved."""
        rope, width = self.config.rope_parameters, self.config.head_dim
        steps = torch.arange(0, width, 2, dtype=torch.int64, device=positions.device).float()
        frequencies = 1.0 / (rope["rope_theta"] ** (steps / width))
        angles = positions[..., None].float() * frequencies  # (3, B, S, head / 2)
        mixed = angles[0].clone()
        for axis in (1, 2):
            places = slice(axis, rope["mrope_section"][axis] * 3, 3)
            mixed[..., places] = angles[axis][..., places]
        both = torch.cat((mixed, mixed), -1)[:, None]
        return both.cos().to(dtype), both.sin().to(dtype)


class TextLayer(nn.Module):
    """One layer of the language model."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, expanded = config.hidden_size, config.intermediate_size
        self.self_attn = TextAttention(config)
        self.mlp = TextMLP(width, expanded)
        self.input_layernorm = RMSNorm(width, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(width, config.rms_norm_eps)

    def forward(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`(B, S, width)` to the same."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cos, sin, mask)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class TextMLP(nn.Module):
    """Gated feed-forward layers of the language model."""

    def __init__(self, width: int, expanded: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(width, expanded, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(expanded, width, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(B, S, width)` to the same."""
        return self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class TextAttention(nn.Module):
    """Causal attention; several query heads may share one of keys and values."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, self._head = config.hidden_size, config.head_dim
        heads, key_heads = config.num_attention_heads, config.num_key_value_heads
        self._shared = heads // key_heads
        self.q_proj = nn.Linear(width, heads * self._head, bias=False)
        self.k_proj, self.v_proj = (
            nn.Linear(width, key_heads * self._head, bias=False) for _ in range(2)
        )
        self.o_proj = nn.Linear(heads * self._head, width, bias=False)
        self.q_norm, self.k_norm = (RMSNorm(self._head, config.rms_norm_eps) for _ in range(2))

    def forward(
        self, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`(B, S, width)` to the same."""
        shape = (*hidden.shape[:-1], -1, self._head)
        q = rotate(self.q_norm(self.q_proj(hidden).view(shape)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(hidden).view(shape)).transpose(1, 2), cos, sin)
        v = self.v_proj(hidden).view(shape).transpose(1, 2)
        if self._shared > 1:
            k, v = (x.repeat_interleave(self._shared, 1) for x in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(mixed.transpose(1, 2).reshape(*hidden.shape[:-1], -1))


class RMSNorm(nn.Module):
    """Scales vectors to unit mean square."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight, self._epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(..., width)` to the same."""
        values = hidden.float()
        scaled = values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + self._epsilon)
        return self.weight * scaled.to(hidden.dtype)


def _causal(attention_mask: torch.Tensor) -> torch.Tensor:
    """`(B, 1, S, S)`: whom each token may look at; padding looks at itself, so that nothing becomes NaN."""
    size = attention_mask.shape[1]
    before = torch.ones(size, size, dtype=torch.bool, device=attention_mask.device).tril()
    itself = torch.eye(size, dtype=torch.bool, device=attention_mask.device)
    return ((before & attention_mask[:, None]) | itself)[:, None]
