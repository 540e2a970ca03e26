"""Features of the frozen vision tower for each clip, computed once; the language model then trains from them.

Frames are sampled and turned into pixels by the code that scores, and the features go back into the same forward pass:
`CachedTower` takes the tower's place in the model and hands out stored features instead of computing them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    BaseModelOutputWithDeepstackFeatures,
    Qwen3VLVisionModel,
)

from reward_models.data.reward_data import RewardData
from reward_models.protocol.frames import MERGE, ROBOREWARD_PROTOCOL, VideoProtocol
from reward_models.protocol.inputs import PIXEL_MEAN, PIXEL_STD, clip_patches
from roboreward_gym.errors import WeightsError

INDEX = "index.json"
ANY_TASK = "any"
"""The features do not depend on the task: the video is encoded without it."""


class CachedTower(nn.Module):
    """Stands in for the vision tower: its input is already its output.

    Args:
        visual: The tower that made the features.
    """

    def __init__(self, visual: Qwen3VLVisionModel) -> None:
        super().__init__()
        self.dtype = torch.float32
        self.spatial_merge_size = visual.spatial_merge_size
        self.width = visual.config.out_hidden_size

    def forward(
        self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **_: object
    ) -> BaseModelOutputWithDeepstackFeatures:
        """Split `(tokens, width * (1 + deepstack layers))` into the tower's outputs."""
        merged, *deepstack = hidden_states.split(self.width, dim=-1)
        return BaseModelOutputWithDeepstackFeatures(
            pooler_output=merged, deepstack_features=deepstack
        )


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """Features of all clips of a data set, mapped from disk.

    Attributes:
        values: `(tokens of all clips, width * (1 + deepstack layers))` float16.
        grids: `(M, 3)` int64 time, height and width of each clip in patches.
        group_times_s: For each clip, the time of each pair of frames.
    """

    values: np.ndarray
    grids: np.ndarray
    group_times_s: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if self._ends[-1] != len(self.values):
            raise WeightsError(
                f"The cache must hold {self._ends[-1]} tokens, got {len(self.values)}. "
                "Delete the cache folder."
            )

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(self.grids.prod(1) // MERGE**2)

    def read(self, clip: int) -> np.ndarray:
        """Return `(tokens of the clip, width)` float16."""
        end = int(self._ends[clip])
        return self.values[end - int(self.grids[clip].prod()) // MERGE**2 : end]

    @classmethod
    def open(cls, folder: Path, key: str) -> "FeatureCache | None":
        """Map a finished cache that was made with this key, or return None."""
        if not (folder / INDEX).is_file():
            return None
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["key"] != key:
            return None
        return cls(
            values=np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False),
            grids=np.asarray(index["grids"], np.int64),
            group_times_s=tuple(tuple(times) for times in index["group_times_s"]),
        )


def cache_features(
    model: Qwen3VLForConditionalGeneration,
    data: RewardData,
    folder: Path,
    *,
    protocol: VideoProtocol = ROBOREWARD_PROTOCOL,
    batch_size: int = 16,
) -> FeatureCache:
    """Open the cache of this tower, these pixels and this protocol, or run the tower over every clip once.

    Args:
        model: Its tower makes the features.
        data: The clips.
        folder: Where the cache is kept; one of another tower, other pixels or another protocol is replaced.
        protocol: Frame sampling and pixel budget.
        batch_size: Clips at a time.
    """
    key = features_key(model.model.visual, data, protocol)
    cache = FeatureCache.open(folder, key)
    if cache is not None:
        return cache
    folder.mkdir(parents=True, exist_ok=True)
    # The index goes first and comes back last: without it the values belong to nobody.
    (folder / INDEX).unlink(missing_ok=True)
    grids, times, values = [], [], []
    chunks = range(0, len(data.clips), batch_size)
    for start in tqdm(chunks, desc=f"features of {data.clips[0].split} clips", unit="batch"):
        chunk = range(start, min(start + batch_size, len(data.clips)))
        tokens, grid, group_times = _run_tower(model, data, chunk, protocol)
        values.append(tokens)
        grids += grid
        times += group_times
    np.save(folder / "values.npy", np.concatenate(values))
    index = {"key": key, "grids": grids, "group_times_s": times}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")
    cache = FeatureCache.open(folder, key)
    if cache is None:
        raise WeightsError(
            f"The cache just written to {folder} cannot be read. Check that the disk is not full."
        )
    return cache


def features_key(visual: Qwen3VLVisionModel, data: RewardData, protocol: VideoProtocol) -> str:
    """Fingerprint of all that the features follow from: weights of the tower, pixels and their times, protocol.

    It reads every frame. Names, sizes and times of the files would say nothing about what is in them.
    """
    digest = hashlib.sha256()
    config = visual.config
    settings = {
        "protocol": asdict(protocol),
        "normalisation": [PIXEL_MEAN, PIXEL_STD],
        "tower": [config.depth, config.num_heads, config.patch_size, config.spatial_merge_size],
        "deepstack": list(config.deepstack_visual_indexes),
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for name, weights in sorted(visual.state_dict().items()):
        digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
        digest.update(weights.detach().contiguous().view(torch.uint8).numpy())
    for clip, info in enumerate(data.clips):
        frames = np.ascontiguousarray(data.stored(clip))
        digest.update(f"{info.fps} {info.frame_times_s} {frames.shape}".encode())
        digest.update(frames)
    return digest.hexdigest()


@torch.inference_mode()
def _run_tower(
    model: Qwen3VLForConditionalGeneration,
    data: RewardData,
    chunk: Sequence[int],
    protocol: VideoProtocol,
) -> tuple[np.ndarray, list[list[int]], list[list[float]]]:
    """Features `(tokens, width)` float16 of some clips, their grids, and the times of their pairs of frames."""
    sampled = [data.sampled(clip, ANY_TASK, protocol) for clip in chunk]
    pixels, grids = zip(*(clip_patches(clip.frames, protocol) for clip in sampled), strict=True)
    grid = torch.tensor(grids)
    output = model.model.visual(torch.cat(pixels), grid_thw=grid)
    tokens = torch.cat([output.pooler_output, *(output.deepstack_features or [])], dim=-1)
    return (
        tokens.to(torch.float16).numpy(),
        grid.tolist(),
        [list(clip.group_times_s) for clip in sampled],
    )
