"""The forward pass for one question, what comes next?, with the layers of a Qwen3-VL and without what that needs not.

Every prompt begins with the same instruction: it is read once, and its keys and values are kept. Of the last layer only the
last position is computed. What depends on the size of the frames alone is kept, and nothing makes a GPU wait for the CPU in
between. `matches_model` compares all this with the model's own pass on a small input when a checkpoint is loaded.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from transformers import BatchFeature, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextDecoderLayer,
    apply_rotary_pos_emb,
)

from reward_models.protocol.inputs import VIDEO_TYPE

Pair = tuple[torch.Tensor, torch.Tensor]

KEPT_GRIDS, KEPT_LAYOUTS = 16, 1024
"""Sizes of videos, some megabytes each, and layouts of prompts, some kilobytes each, that are remembered."""
SHARING_ATTENTION = ("sdpa", "eager")
"""Implementations for which we know how to write "behind the instruction, causal"."""
TOLERANCE, ROUNDING = 1e-4, 5e-2
"""Largest difference to the model's own logits, relative to the largest of these: in float32, and where more is rounded."""


class Instruction:
    """Keys and values of the beginning of all prompts; takes the place of a cache in transformers' layers."""

    def __init__(self, *, length: int = 0) -> None:
        self.length = length
        self._layers: list[Pair] = []

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object) -> Pair:
        """Put `(B, heads, tokens, head size)` behind those of the instruction, or keep them as such."""
        if layer == len(self._layers):
            self._layers.append((keys, values))
            return keys, values
        before = (kept.expand(len(keys), -1, -1, -1) for kept in self._layers[layer])
        first, second = (torch.cat(pair, 2) for pair in zip(before, (keys, values), strict=True))
        return first, second


class Nothing:
    """An instruction of no length."""

    length = 0

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: object) -> Pair:
        """Leave them as they are."""
        return keys, values


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts without their common beginning, padded on the right: causal attention needs no mask for that.

    Attributes:
        ids: `(B, S)` int64.
        positions: `(3, B, S)` int64 of Qwen3-VL's rotary embedding.
        lengths: `(B,)` int64.
        visual: `(N,)` int64, places of the visual tokens in `ids.view(-1)`.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    lengths: torch.Tensor
    visual: torch.Tensor

    def to(self, device: torch.device) -> "Prompts":
        """The same on another device."""
        return Prompts(*(tensor.to(device) for tensor in vars(self).values()))


class OnePass:
    """Logits of the next token.

    Args:
        model: Any Qwen3-VL, its vision tower made faster by `speed_up`.
        instruction: Token ids that prompts begin with; those that do not are read as a whole.
    """

    def __init__(
        self, model: Qwen3VLForConditionalGeneration, instruction: Sequence[int] = ()
    ) -> None:
        self._model = model
        shares = model.config.text_config._attn_implementation in SHARING_ATTENTION
        self._begin = np.array(instruction if shares else (), np.int64)
        self._instruction: Instruction | None = None
        self._places = functools.lru_cache(KEPT_GRIDS)(self._find_places)
        self._positions = functools.lru_cache(KEPT_LAYOUTS)(self._find_positions)

    @torch.inference_mode()
    def __call__(self, inputs: BatchFeature) -> torch.Tensor:
        """Return `(B, vocabulary)` logits behind prompts as `InputBuilder` makes them, on the CPU."""
        device = self._model.device
        before = self._before(inputs)
        prompts = self._lay_out(inputs, before.length).to(device)
        grids = [tuple(grid) for grid in inputs["video_grid_thw"].tolist()]
        seen, taps = self._look(inputs["pixel_values_videos"].to(device), grids)
        text = self._model.model.language_model
        hidden = text.embed_tokens(prompts.ids)
        hidden.view(-1, hidden.shape[-1]).index_copy_(0, prompts.visual, seen.to(hidden.dtype))
        turn = text.rotary_emb(hidden, prompts.positions)
        mask = self._mask(hidden, before.length)
        *layers, last = text.layers
        for index, layer in enumerate(layers):
            hidden = layer(
                hidden, position_embeddings=turn, attention_mask=mask, past_key_values=before
            )
            if index < len(taps):
                rows = hidden.view(-1, hidden.shape[-1])
                rows.index_add_(0, prompts.visual, taps[index].to(hidden.dtype))
        answer = self._answer(last, hidden, turn, before, prompts.lengths)
        return self._model.lm_head(text.norm(answer))

    def _before(self, inputs: BatchFeature) -> Instruction | Nothing:
        """What is known of the beginning, if all prompts have it."""
        ids, mask = inputs["input_ids"].numpy(), inputs["attention_mask"].numpy()
        n = len(self._begin)
        if n == 0 or not all(
            np.array_equal(row[shown.argmax() :][:n], self._begin)
            for row, shown in zip(ids, mask, strict=True)
        ):
            return Nothing()
        if self._instruction is None:
            self._instruction = self._read()
        return self._instruction

    def _read(self) -> Instruction:
        text = self._model.model.language_model
        hidden = text.embed_tokens(torch.from_numpy(self._begin)[None].to(self._model.device))
        positions = torch.arange(len(self._begin), device=hidden.device).expand(3, 1, -1)
        turn = text.rotary_emb(hidden, positions)
        mask, kept = self._mask(hidden, 0), Instruction(length=len(self._begin))
        for layer in text.layers:
            hidden = layer(
                hidden, position_embeddings=turn, attention_mask=mask, past_key_values=kept
            )
        return kept

    def _mask(self, hidden: torch.Tensor, before: int) -> torch.Tensor | None:
        """What each position may look at; None is plainly causal."""
        eager = self._model.config.text_config._attn_implementation == "eager"
        if not before and not eager:
            return None
        n = hidden.shape[1]
        allowed = torch.ones(n, before + n, dtype=torch.bool, device=hidden.device).tril(before)
        if eager:
            lowest = torch.finfo(hidden.dtype).min
            return torch.zeros(1, 1, *allowed.shape).to(hidden).masked_fill(~allowed, lowest)
        return allowed[None, None]

    def _answer(
        self,
        layer: Qwen3VLTextDecoderLayer,
        hidden: torch.Tensor,
        turn: Pair,
        before: Instruction | Nothing,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """The last layer, `(B, width)` at the last position of each row only."""
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        rows, ends = torch.arange(len(lengths), device=lengths.device), lengths - 1

        def heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.unflatten(-1, (-1, attention.head_dim))

        query = attention.q_norm(heads(attention.q_proj(normed[rows, ends][:, None])))
        key = attention.k_norm(heads(attention.k_proj(normed))).transpose(1, 2)
        value = heads(attention.v_proj(normed)).transpose(1, 2)
        cos, sin = turn
        _, key = apply_rotary_pos_emb(key, key, cos, sin)
        at_end = (cos[rows, ends][:, None], sin[rows, ends][:, None])
        query, _ = apply_rotary_pos_emb(query.transpose(1, 2), query.transpose(1, 2), *at_end)
        key, value = before.update(key, value, attention.layer_idx)
        known = torch.arange(key.shape[2], device=key.device) < (before.length + lengths)[:, None]
        out = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(attention.num_key_value_groups, 1),
            value.repeat_interleave(attention.num_key_value_groups, 1),
            attn_mask=known[:, None, None],
            scale=attention.scaling,
        )
        answer = hidden[rows, ends] + attention.o_proj(out.flatten(1))
        return answer + layer.mlp(layer.post_attention_layernorm(answer))

    def _look(
        self, pixels: torch.Tensor, grids: Sequence[tuple[int, ...]]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The vision tower: its output, and what goes into the first layers of the language model too."""
        visual = self._model.model.visual
        embedded, cos, sin = (
            torch.cat(parts) for parts in zip(*map(self._places, grids), strict=True)
        )
        hidden = visual.patch_embed(pixels) + embedded
        # On the CPU, where it is read.
        starts = torch.tensor([0, *(h * w for t, h, w in grids for _ in range(t))]).cumsum(0)
        taps = []
        for index, block in enumerate(visual.blocks):
            hidden = block(hidden, cu_seqlens=starts, position_embeddings=(cos, sin))
            if index in visual.deepstack_visual_indexes:
                place = visual.deepstack_visual_indexes.index(index)
                taps.append(visual.deepstack_merger_list[place](hidden))
        return visual.merger(hidden), taps

    def _find_places(self, grid: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        """Position embedding, cosine and sine of each patch of one video."""
        visual, sizes = self._model.model.visual, torch.tensor([grid])
        angles = visual.rot_pos_emb(sizes)
        angles = torch.cat((angles, angles), -1)
        return visual.fast_pos_embed_interpolate(sizes), angles.cos(), angles.sin()

    def _lay_out(self, inputs: BatchFeature, before: int) -> Prompts:
        grids, rows, places = inputs["video_grid_thw"].tolist(), [], []
        for ids, kinds, shown, grid in zip(
            inputs["input_ids"].numpy(),
            inputs["mm_token_type_ids"].numpy(),
            inputs["attention_mask"].numpy(),
            grids,
            strict=True,
        ):
            kept = shown.astype(bool)
            rows.append(ids[kept][before:])
            places.append(self._positions(kinds[kept].tobytes(), tuple(grid))[:, before:])
        lengths = np.array([len(row) for row in rows])
        shape = (len(rows), int(lengths.max()))
        ids = np.zeros(shape, np.int64)
        positions = np.zeros((3, *shape), np.int64)
        for i, (row, place) in enumerate(zip(rows, places, strict=True)):
            ids[i, : len(row)], positions[:, i, : len(row)] = row, place
        visual = np.flatnonzero(ids == self._model.config.video_token_id)
        return Prompts(*map(torch.from_numpy, (ids, positions, lengths, visual)))

    def _find_positions(self, kinds: bytes, grid: tuple[int, ...]) -> np.ndarray:
        """`(3, tokens)` rotary positions of a prompt with this layout."""
        types = torch.from_numpy(np.frombuffer(kinds, np.int64).copy())[None]
        positions, _ = self._model.model.get_rope_index(
            types, mm_token_type_ids=types, video_grid_thw=torch.tensor([grid])
        )
        return positions[:, 0].numpy()


class PlainPass:
    """The model's own forward pass, for a version of transformers that computes otherwise."""

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        self._model = model

    @torch.inference_mode()
    def __call__(self, inputs: BatchFeature) -> torch.Tensor:
        """Return `(B, vocabulary)` logits of the next token."""
        inputs = inputs.to(self._model.device)
        return self._model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1]


def matches_model(model: Qwen3VLForConditionalGeneration) -> bool:
    """Whether `OnePass` gives the model's own logits for two small prompts of different length."""
    config, begin = model.config, list(range(4))
    side = config.vision_config.spatial_merge_size
    picture = [config.vision_start_token_id, *[config.video_token_id] * 2]
    rows = np.array(
        [[*begin, *picture, *picture, *begin], [0, *begin, *picture, *picture, 0, 1, 2]]
    )
    shown = np.ones_like(rows)
    shown[1, 0] = 0
    vision = config.vision_config
    width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    patches = np.random.default_rng(0).uniform(-1, 1, (2 * 2 * 2 * side**2, width))
    kinds = np.where(rows == config.video_token_id, VIDEO_TYPE, 0)
    inputs = BatchFeature(
        {
            "input_ids": torch.from_numpy(rows),
            "attention_mask": torch.from_numpy(shown),
            "mm_token_type_ids": torch.from_numpy(kinds),
            "pixel_values_videos": torch.from_numpy(patches.astype(np.float32)),
            "video_grid_thw": torch.tensor([(2, side, 2 * side)] * 2),
        }
    )
    ours = OnePass(model, begin)(inputs)
    theirs = PlainPass(model)(inputs)
    exact = model.dtype == torch.float32 and not getattr(model, "is_quantized", False)
    limit = (TOLERANCE if exact else ROUNDING) * theirs.abs().max()
    return bool((ours - theirs).abs().max() <= limit)
