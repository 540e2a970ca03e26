"""First stage of nano's training: the vision tower alone, on dense labels from the simulator.

Each visual token must predict which landmarks lie in it, where exactly, their value (height or opening), and its own
place in the image: the language model attends by relative position only, and could not tell where a token comes from. A
token with a landmark in it must also predict where every other landmark is, so that relations can be read from it. One
score per clip is far too little signal to learn vision from: without this stage the model stays on the prior for
thousands of steps. Single pairs of frames are enough, since the tower never attends across pairs.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from reward_models.data.reward_data import RewardData
from reward_models.nano.config import TowerConfig
from reward_models.protocol.frames import (
    MERGE,
    PATCH,
    TEMPORAL_PATCH,
    TOKEN_PIXELS,
    resized_size,
)

LABELS = 4
"""Numbers per landmark: presence, horizontal and vertical offset, value."""

PLACE = 2
"""Numbers per token beside its landmarks: its own column and row."""

SCENE = 3
"""Numbers per landmark of the whole scene: column, row and value, wherever it is."""

PRESENCE_WEIGHT = 10.0
"""The presence loss is a mean over many tokens that are nearly all empty: this brings it level with the others."""
SCENE_WEIGHT = 2.0

OTHER_RECORDINGS = ((8, 0.5), (4, 1.0), (8, 2.0))
"""Frames of a recording, and its size over that of the data, which the protocol's budget of pixels resizes."""


@dataclass(frozen=True, eq=False)
class TowerBatch:
    """Pairs of frames as the tower takes them, and their labels.

    Attributes:
        patches: `(B * patches, 3 * 2 * 16 * 16)` float32 in [-1, 1].
        grid: `(B, 3)` int64, time, height and width in patches.
        labels: `(B * tokens, K, 4)` float32, see `dense_labels`.
        places: `(B * tokens, 2)` float32, see `token_places`.
        scene: `(B, K, 4)` float32, column and row in -1..1, value, and present 0/1.
    """

    patches: torch.Tensor
    grid: torch.Tensor
    labels: torch.Tensor
    places: torch.Tensor
    scene: torch.Tensor

    def to(self, device: torch.device) -> "TowerBatch":
        """Return the same batch on a device."""
        return TowerBatch(*(getattr(self, part.name).to(device) for part in fields(self)))


@dataclass(frozen=True, eq=False)
class TowerBatches(Dataset[TowerBatch]):
    """The batches of some steps; what a step sees follows from the seed and its number.

    Attributes:
        data: Where pairs of frames come from.
        config: How they are changed.
        steps: Numbers of the steps.
        seed: Seed of the run.
    """

    data: RewardData
    config: TowerConfig
    steps: range
    seed: int

    def __len__(self) -> int:
        """How many steps there are."""
        return len(self.steps)

    def __getitem__(self, index: int) -> TowerBatch:
        """Draw the batch of one of the steps."""
        rng = np.random.default_rng((self.seed, self.steps[index]))
        return draw_batch(self.data, self.config, rng)


def draw_batch(data: RewardData, config: TowerConfig, rng: np.random.Generator) -> TowerBatch:
    """Draw random pairs from random clips, with augmentation; all of one size, as they share a grid."""
    height, width = data.frames[0].shape[2:4]
    if config.other_sizes and rng.random() < config.other_sizes:
        n_frames, scale = OTHER_RECORDINGS[int(rng.integers(len(OTHER_RECORDINGS)))]
        height, width = resized_size(n_frames, round(scale * height), round(scale * width))
    pairs, dense = [], []
    for clip in rng.integers(len(data.clips), size=config.batch_size):
        pair = int(rng.integers(data.dense.shape[1]))
        shift = rng.integers(-config.shift_px, config.shift_px + 1, size=2)
        both = data.stored(int(clip))[TEMPORAL_PATCH * pair : TEMPORAL_PATCH * (pair + 1)]
        moved, labels = shift_pair(both, data.dense[clip, pair], int(shift[0]), int(shift[1]))
        pairs.append(resized(moved, height, width))
        dense.append(labels)
    images = torch.stack(pairs).div_(255.0)
    images = jitter(images, config.colour_jitter, rng)
    patches, grid = patchify(images)
    rows, columns = (int(n) // MERGE for n in grid[0, 1:])
    marks = np.stack(dense)
    labels = dense_labels(marks, rows, columns)
    places = np.tile(token_places(rows, columns), (config.batch_size, 1))
    scene = np.concatenate([2 * marks[..., :2] - 1, marks[..., 3:], marks[..., 2:3]], -1)
    tensors = (torch.from_numpy(x.astype(np.float32)) for x in (labels, places, scene))
    return TowerBatch(patches, grid, *tensors)


def resized(frames: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Resize `(2, H, W, 3)` uint8 frames to `(2, 3, height, width)` float32 in 0..255."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def shift_pair(
    frames: np.ndarray, dense: np.ndarray, down: int, right: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move the image by whole pixels, repeating its border; landmarks that leave it become absent.

    Args:
        frames: `(2, H, W, 3)` uint8.
        dense: `(K, 4)` x, y, present, value.
        down: Shift in [px].
        right: Shift in [px].
    """
    height, width = frames.shape[1:3]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    dense = dense.copy()
    dense[:, 0] += right / width
    dense[:, 1] += down / height
    inside = ((dense[:, :2] >= 0) & (dense[:, :2] < 1)).all(1)
    dense[:, 2] *= inside
    return frames[:, rows][:, :, columns], dense


def jitter(images: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Scale each colour channel and add a grey offset, per pair; `(B, 2, 3, H, W)` in [0, 1]."""
    gain = rng.uniform(1 - strength, 1 + strength, (len(images), 1, 3, 1, 1))
    offset = rng.uniform(-strength, strength, (len(images), 1, 1, 1, 1)) / 3
    gain, offset = (torch.from_numpy(x.astype(np.float32)) for x in (gain, offset))
    return images.mul_(gain).add_(offset).clamp_(0.0, 1.0)


def patchify(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut `(B, 2, 3, H, W)` images in [0, 1] into patches in Qwen3-VL's order; see `TowerBatch`."""
    batch, _, channels, height, width = images.shape
    rows, columns = height // PATCH, width // PATCH
    blocks = (images * 2 - 1).view(
        batch, TEMPORAL_PATCH, channels, rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH
    )
    patches = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(batch * rows * columns, -1)
    return patches, torch.tensor([[1, rows, columns]] * batch)


def dense_labels(dense: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Spread landmarks over the grid of visual tokens.

    Args:
        dense: `(B, K, 4)` x, y, present, value.
        rows: Visual tokens from top to bottom.
        columns: Visual tokens from left to right.

    Returns:
        `(B * rows * columns, K, 4)` float32: presence 0/1, offset from the middle of the token
        (right and down, in -1..1), value. Zero where absent.
    """
    batch, k, _ = dense.shape
    labels = np.zeros((batch, rows, columns, k, LABELS), np.float32)
    b, mark = np.nonzero(dense[..., 2] > 0)
    x, y = dense[b, mark, 0] * columns, dense[b, mark, 1] * rows
    column, row = x.astype(int).clip(0, columns - 1), y.astype(int).clip(0, rows - 1)
    offset = 2 * np.stack([x - column, y - row], -1) - 1
    values = np.concatenate([np.ones((len(b), 1)), offset, dense[b, mark, 3:]], -1)
    labels[b, row, column, mark] = values
    return labels.reshape(-1, k, LABELS)


def token_places(rows: int, columns: int) -> np.ndarray:
    """Return `(rows * columns, 2)` float32 column and row of each visual token, in -1..1."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.stack([x, y], -1).reshape(-1, PLACE).astype(np.float32)


def make_head(visual: Qwen3VLVisionModel, landmarks: int, seed: int) -> nn.Linear:
    """Make the linear head that predicts the labels and is thrown away after the stage."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(visual.config.out_hidden_size, landmarks * (LABELS + SCENE) + PLACE)


def tower_loss(
    visual: Qwen3VLVisionModel, head: nn.Linear, batch: TowerBatch, positive_weight: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of presence and squared errors of the rest; offsets and values where a landmark is.

    loss = 10 * presence + offset + value + own place + 2 * scene
    """
    tokens = visual(batch.patches, grid_thw=batch.grid).pooler_output
    landmarks = batch.labels.shape[1]
    per_token, scene, own_place = head(tokens).split(
        [landmarks * LABELS, landmarks * SCENE, PLACE], -1
    )
    predicted = per_token.view(batch.labels.shape)
    present = batch.labels[..., 0]
    presence_loss = F.binary_cross_entropy_with_logits(
        predicted[..., 0], present, pos_weight=present.new_tensor(positive_weight)
    )
    squared = (predicted[..., 1:] - batch.labels[..., 1:])[present > 0].square()
    count = max(len(squared), 1)
    offset_loss, value_loss = squared[:, :2].sum() / count, squared[:, 2].sum() / count
    own_place_loss = F.mse_loss(own_place, batch.places)
    scene_loss = scene_error(scene, batch.scene, present)
    found = ((predicted[..., 0] > 0) & (present > 0)).sum().item() / count
    parts = {
        "presence_loss": presence_loss.item(),
        "found": found,
        "place_error_px": (offset_loss.item() / 2) ** 0.5 * TOKEN_PIXELS / 2,
        "value_error": value_loss.item() ** 0.5,
        "own_place_error": own_place_loss.item() ** 0.5,
        "scene_error": scene_loss.item() ** 0.5,
    }
    loss = PRESENCE_WEIGHT * presence_loss + offset_loss + value_loss + own_place_loss
    return loss + SCENE_WEIGHT * scene_loss, parts


def scene_error(
    predicted: torch.Tensor, scene: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """Mean squared error of what tokens with a landmark predict of all landmarks in the image.

    Args:
        predicted: `(B * tokens, K * 3)`.
        scene: `(B, K, 4)`, see `TowerBatch`.
        present: `(B * tokens, K)` which landmarks lie in a token.
    """
    batch, k, _ = scene.shape
    per_token = predicted.view(batch, -1, k, SCENE)
    error = (per_token - scene[:, None, :, :SCENE]).square().sum(-1)  # (B, tokens, K)
    has_landmark = (present.view(batch, -1, k) > 0).any(-1, keepdim=True)  # (B, tokens, 1)
    counted = has_landmark & (scene[:, None, :, SCENE] > 0)
    return error[counted].sum() / max(int(counted.sum()), 1)
