"""Where things are in the image: a small convolutional net that points at landmarks."""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.errors import InvalidObservation

IMAGE_SIZE = (96, 128)
"""Height and width of what the policy sees, in pixels; cameras deliver the same 4:3 aspect."""

STRIDE = 4
PEAK_WIDTH = 1.0
"""Standard deviation of a target peak, in cells of the heat map."""


def downsample(images: np.ndarray) -> np.ndarray:
    """Shrink camera images to the policy's size by averaging over areas.

    Demonstrations and live images must pass through this one function: another filter would shift
    what the policy sees by a fraction of a pixel and nobody would notice.

    Args:
        images: `(..., H, W, 3)` uint8 of aspect 4:3.

    Returns:
        `(..., 96, 128, 3)` uint8.

    Raises:
        InvalidObservation: Not uint8, not three channels, or another aspect.
    """
    height, width = IMAGE_SIZE
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise InvalidObservation(
            f"Images must be uint8 (..., H, W, 3), got {images.dtype} {images.shape}."
        )
    if images.shape[-3] * width != images.shape[-2] * height or images.shape[-3] < height:
        raise InvalidObservation(
            f"Images must be 4:3 and at least {IMAGE_SIZE} (height, width), got {images.shape[-3:-1]}. "
            "Crop the camera image to 4:3."
        )
    if images.shape[-3:-1] == IMAGE_SIZE:
        return images
    flat = images.reshape(-1, *images.shape[-3:])
    small = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in flat]
    return np.stack(small).reshape(*images.shape[:-3], height, width, 3)


class LandmarkNet(nn.Module):
    """Image to `maps` points: each heat map becomes (x, y, confidence).

    The first maps are taught where named landmarks are (see `landmark_loss`); the others are free
    for whatever behaviour cloning finds useful. Dilation and a pooled context vector let a map know
    about the whole scene, which tells two equal drawers apart.
    """

    grid: Tensor
    pixel_grid: Tensor

    def __init__(self, maps: int, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(5, width, 8, STRIDE, (8 - STRIDE) // 2)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            for dilation in (1, 2, 4)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for _ in range(4))
        self.context = nn.Linear(width, width)
        self.head = nn.Conv2d(width, maps, 1)
        self.confidence = nn.Parameter(torch.tensor([[1.0], [0.0]]).repeat(1, maps))
        height, width_ = (side // STRIDE for side in IMAGE_SIZE)
        self.register_buffer("grid", _grid(height, width_), persistent=False)
        self.register_buffer("pixel_grid", _grid(*IMAGE_SIZE), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Point at things.

        Args:
            images: `(B, 96, 128, 3)` uint8, or float in 0..255.

        Returns:
            `(B, maps, 3)` x and y in [-1, 1] and confidence in [0, 1]; and the heat maps
            `(B, maps, 24, 32)` as logits.
        """
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        place = self.pixel_grid.expand(len(x), -1, -1, -1)
        x = F.silu(self.norms[0](self.stem(torch.cat([x, place], 1))))
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            x = x + F.silu(norm(conv(x)))
        x = x + self.context(x.mean((2, 3)))[:, :, None, None]
        logits = self.head(F.silu(x))  # (B, maps, 24, 32)
        flat = logits.flatten(2)
        points = flat.softmax(-1) @ self.grid.flatten(1).T  # (B, maps, 2)
        scale, offset = self.confidence
        confidence = torch.sigmoid(scale * flat.amax(-1) + offset)
        return torch.cat([points, confidence[..., None]], -1), logits


def landmark_loss(points: Tensor, logits: Tensor, landmarks: Tensor) -> Tensor:
    """How far the first maps are from the landmarks, where those are in the picture.

    Args:
        points: `(B, maps, 3)` from `LandmarkNet`.
        logits: `(B, maps, 24, 32)` from `LandmarkNet`.
        landmarks: `(B, K, 3)` x and y in [0, 1) of image width and height, and present 0/1.

    Returns:
        Scalar: cross entropy of the heat map with a small peak (teaches coarse search fast), plus
        distance of the mean position (teaches the fraction of a cell), plus presence.
    """
    names = landmarks.shape[1]
    present = landmarks[..., 2]
    height, width = logits.shape[2:]
    device = landmarks.device
    cells = landmarks[..., :2] * torch.tensor([width, height], device=device) - 0.5
    columns = torch.arange(width, device=device) - cells[..., 0:1]  # (B, K, 32)
    rows = torch.arange(height, device=device) - cells[..., 1:2]  # (B, K, 24)
    exponent = -(rows[..., :, None] ** 2 + columns[..., None, :] ** 2) / (2 * PEAK_WIDTH**2)
    target = exponent.flatten(2).softmax(-1)
    search = -(target * logits[:, :names].flatten(2).log_softmax(-1)).sum(-1)
    distance = (points[:, :names, :2] - (2 * landmarks[..., :2] - 1)).abs().sum(-1)
    located = ((search + 5.0 * distance) * present).sum() / present.sum().clamp(min=1.0)
    presence = F.binary_cross_entropy(points[:, :names, 2].clamp(1e-6, 1 - 1e-6), present)
    return located + presence


def augment(
    images: np.ndarray, landmarks: np.ndarray, shift: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Move each image by a few pixels and change its light, so that 100 demos look like more.

    Args:
        images: `(B, 96, 128, 3)` uint8.
        landmarks: `(B, K, 3)` x, y in [0, 1), present.
        shift: Largest move in [px]; edges are repeated.
        rng: Source of randomness.

    Returns:
        `(B, 96, 128, 3)` float32 in 0..255 and the moved landmarks; one that leaves the image
        is marked absent.
    """
    height, width = IMAGE_SIZE
    moves = rng.integers(-shift, shift + 1, (len(images), 2))  # (B, 2) dx, dy
    rows, columns = np.arange(height), np.arange(width)
    moved = np.empty_like(images)
    for image, out, (dx, dy) in zip(images, moved, moves, strict=True):
        source = np.clip(rows - dy, 0, height - 1)
        out[...] = image[source][:, np.clip(columns - dx, 0, width - 1)]
    gain = rng.uniform(0.8, 1.2, (len(images), 1, 1, 1)) * rng.uniform(
        0.95, 1.05, (len(images), 1, 1, 3)
    )
    bias = rng.uniform(-20, 20, (len(images), 1, 1, 1))
    light = moved * gain.astype(np.float32) + bias.astype(np.float32)
    points = landmarks.copy()
    points[..., :2] += (moves / (width, height)).astype(np.float32)[:, None]
    points[..., 2] *= ((points[..., :2] >= 0) & (points[..., :2] < 1)).all(-1)
    return np.clip(light, 0, 255), points


def _grid(height: int, width: int) -> Tensor:
    """`(2, height, width)` x and y of the cell centres in [-1, 1]."""
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
