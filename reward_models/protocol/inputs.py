"""From sampled clips to the tensors of the model: token ids, rotary positions and pixel values.

This is the protocol itself, and follows no installed processor: the layout with one pair of vision tokens a time stamp that
RoboReward was trained with (transformers 4.57.1), the resizing and the scaling of pixels, and the three rotary positions
of each token. The tests freeze it by golden values.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from reward_models.protocol.frames import (
    MERGE,
    PATCH,
    ROBOREWARD_PROTOCOL,
    TEMPORAL_PATCH,
    SampledClip,
    VideoProtocol,
    resized_size,
)
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt, render_chat
from reward_models.protocol.tokens import PromptTokenizer

PIXEL_MEAN = PIXEL_STD = 127.5
"""Mean and deviation of 0.5 in the units of uint8: pixel values lie in [-1, 1]."""

Grid = tuple[int, int, int]
"""Patches of a video: temporal groups, rows, columns."""


class InputBuilder:
    """Builds the inputs of one forward pass, padded on the left: the answer comes next.

    Args:
        tokenizer: The checkpoint's tokenizer.
        protocol: Pixel budget.
        answer_prefix: Forced start of the answer; empty to let the model generate it.
    """

    def __init__(
        self,
        tokenizer: PromptTokenizer,
        protocol: VideoProtocol = ROBOREWARD_PROTOCOL,
        answer_prefix: str = ANSWER_PREFIX,
    ) -> None:
        self._tokenizer = tokenizer
        self._protocol = protocol
        self._answer_prefix = answer_prefix

    def __call__(self, clips: Sequence[SampledClip]) -> dict[str, torch.Tensor]:
        """Return the keyword arguments of a forward pass over clips of any sizes.

        Returns:
            `input_ids` and `attention_mask` `(B, S)` int64, `position_ids` `(3, B, S)` int64,
            `pixel_values_videos` `(patches, 1536)` float32, `video_grid_thw` `(B, 3)` int64.
        """
        pixels, grids = zip(
            *(clip_patches(clip.frames, self._protocol) for clip in clips), strict=True
        )
        return {
            **self.text(clips, grids),
            "pixel_values_videos": pixels[0] if len(pixels) == 1 else torch.cat(pixels),
            "video_grid_thw": torch.tensor(grids),
        }

    def text(self, clips: Sequence[SampledClip], grids: Sequence[Grid]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask` and `position_ids` alone, for videos of these grids."""
        rows = [self._tokens(clip, grid) for clip, grid in zip(clips, grids, strict=True)]
        width = max(map(len, rows))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        positions = np.zeros((3, len(rows), width), np.int64)
        for i, (row, grid) in enumerate(zip(rows, grids, strict=True)):
            start = width - len(row)
            ids[i, start:] = row
            mask[i, start:] = 1
            positions[:, i, start:] = rotary_positions(ids[i, start:], grid, self._tokenizer)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "position_ids": torch.from_numpy(positions),
        }

    def _tokens(self, clip: SampledClip, grid: Grid) -> list[int]:
        """Token ids of the whole prompt."""
        return chat_tokens(
            build_prompt(clip.task), grid, clip.group_times_s, self._tokenizer, self._answer_prefix
        )


def chat_tokens(
    question: str,
    grid: Grid,
    group_times_s: Sequence[float],
    tokenizer: PromptTokenizer,
    answer: str = "",
) -> list[int]:
    """Return the token ids of a question about a video and, behind them, of an answer or its start.

    Reserved tokens split a text before it is encoded, so the parts between them can be encoded by themselves.

    Args:
        question: What the user asks.
        grid: Patches of the video.
        group_times_s: Time of each temporal group in [s].
        tokenizer: The checkpoint's tokenizer.
        answer: What the assistant's turn begins with.
    """
    head, tail = render_chat(question)
    stamps = [f"<{time:.1f} seconds>" for time in group_times_s]
    encode, picture = tokenizer.encode, vision_tokens(grid, tokenizer)
    # The first time stands right behind the task and may merge with its last character.
    ids = [*encode(head + stamps[0]), *picture]
    for stamp in stamps[1:]:
        ids += [*encode(stamp), *picture]
    return ids + list(encode(tail + answer))


def vision_tokens(grid: Grid, tokenizer: PromptTokenizer) -> list[int]:
    """Return the tokens of one temporal group: its visual tokens between a pair of vision tokens."""
    pads = [tokenizer.video_pad] * (grid[1] * grid[2] // MERGE**2)
    return [tokenizer.vision_start, *pads, tokenizer.vision_end]


def clip_patches(
    frames: np.ndarray, protocol: VideoProtocol = ROBOREWARD_PROTOCOL
) -> tuple[torch.Tensor, Grid]:
    """Resize frames to the pixel budget, scale them to [-1, 1] and cut them into patches.

    Args:
        frames: `(n, H, W, 3)` uint8 RGB.
        protocol: Pixel budget.

    Returns:
        `(t * h * w, 3 * 2 * 16 * 16)` float32 in the order of the vision tower, and `(t, h, w)`.
    """
    height, width = resized_size(len(frames), *frames.shape[1:3], protocol)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if (height, width) != frames.shape[1:3]:
        # On bytes, as the reference does: the result is rounded to bytes again.
        images = F.interpolate(images, (height, width), mode="bicubic", antialias=True)
    if missing := -len(images) % TEMPORAL_PATCH:
        images = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])
    t, h, w = len(images) // TEMPORAL_PATCH, height // PATCH, width // PATCH
    # Bytes are put in order, and only then made numbers of four times their size.
    blocks = images.contiguous().view(
        t, TEMPORAL_PATCH, -1, h // MERGE, MERGE, PATCH, w // MERGE, MERGE, PATCH
    )
    values = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).contiguous().to(torch.float32)
    values.sub_(PIXEL_MEAN).div_(PIXEL_STD)
    return values.view(t * h * w, -1), (t, h, w)


def rotary_positions(ids: np.ndarray, grid: Grid, tokenizer: PromptTokenizer) -> np.ndarray:
    """Place each token of a prompt in time, height and width.

    A text token advances all three by one. The visual tokens of a temporal group share one time, and their rows and
    columns count from there; what follows stands behind the longer side of the group.

    Args:
        ids: `(S,)` int64 token ids of a prompt with one video.
        grid: Its patches `(t, h, w)`.
        tokenizer: Says which tokens are visual.

    Returns:
        `(3, S)` int64.
    """
    rows, columns = grid[1] // MERGE, grid[2] // MERGE
    inside = np.stack(
        [
            np.zeros(rows * columns, np.int64),
            np.repeat(np.arange(rows), columns),
            np.tile(np.arange(columns), rows),
        ]
    )
    parts, next_position = [], 0
    for visual, group in itertools.groupby((ids == tokenizer.video_pad).tolist()):
        count = len(list(group))
        if visual:
            parts.append(inside + next_position)
            next_position += max(rows, columns)
        else:
            parts.append(np.tile(np.arange(count), (3, 1)) + next_position)
            next_position += count
    return np.concatenate(parts, axis=1)


def move(inputs: Mapping[str, torch.Tensor], device: torch.device | str) -> dict[str, torch.Tensor]:
    """Return the inputs on another device."""
    return {name: tensor.to(device) for name, tensor in inputs.items()}
