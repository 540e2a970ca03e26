"""Output of the frozen vision tower on disk, computed once for each clip; it replaces most of the work of every step.

A folder of caches holds one for each tower and protocol, and in it

- `values.bin`: rows of numbers, a row a patch, one clip after the other, mapped and never loaded as a whole;
- `index.jsonl`: for each clip the fingerprint of its pixels, its first row, its grid and its times; a line is written when
  the rows of its clip are there, so that an interrupted computation goes on from where it was;
- `layout.json`: type and width of the rows.

Several data sets may share a folder: clips with the same pixels are kept once.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, SampledClip, VideoProtocol
from reward_models.protocol.inputs import PIXEL_MEAN, PIXEL_STD, Grid, clip_patches
from reward_models.training.collate import Visual
from reward_models.training.projector import tower_features
from reward_models.training.questions import Clips
from roboreward_gym.errors import WeightsError

VALUES, INDEX, LAYOUT = "values.bin", "index.jsonl", "layout.json"
STORED = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.int16}
"""Types of rows, and as what numpy maps them: it has no bfloat16 of its own."""


@dataclass(frozen=True)
class Entry:
    """Where the rows of one clip are."""

    start: int
    grid: Grid
    group_times_s: tuple[float, ...]

    @property
    def end(self) -> int:
        """Row behind the last one."""
        return self.start + math.prod(self.grid)


@dataclass(frozen=True, eq=False)
class FeatureCache:
    """Features of the clips of one data set.

    Attributes:
        folder: The cache.
        width: Numbers a patch.
        dtype: Their type.
        entries: Where those of each clip are.
    """

    folder: Path
    width: int
    dtype: torch.dtype
    entries: Sequence[Entry]

    def __getitem__(self, clip: int) -> Visual:
        """Read the features of one clip."""
        entry = self.entries[clip]
        rows = torch.from_numpy(np.array(self._rows[entry.start : entry.end])).view(self.dtype)
        return Visual(entry.grid, entry.group_times_s, rows)

    @cached_property
    def _rows(self) -> np.ndarray:
        rows = np.memmap(self.folder / VALUES, STORED[self.dtype], "r").reshape(-1, self.width)
        needed = max(entry.end for entry in self.entries)
        if len(rows) < needed:
            raise WeightsError(
                f"{self.folder / VALUES} has {len(rows)} rows, but its index says {needed}. Delete the "
                "folder: it is computed again."
            )
        return rows


@dataclass(frozen=True, eq=False)
class PixelVisuals:
    """Pixels of clips, for a model that still has its tower."""

    clips: Clips
    protocol: VideoProtocol = ROBOREWARD_PROTOCOL

    def __getitem__(self, clip: int) -> Visual:
        """Read one clip and cut it into patches."""
        sampled = self.clips.sampled(clip)
        values, grid = clip_patches(sampled.frames, self.protocol)
        return Visual(grid, sampled.group_times_s, values)


def cache_features(
    visual: Qwen3VLVisionModel,
    clips: Clips,
    root: Path,
    *,
    protocol: VideoProtocol = ROBOREWARD_PROTOCOL,
    dtype: torch.dtype | None = None,
    batch_size: int = 8,
) -> FeatureCache:
    """Open the cache of this tower and protocol, after running the tower over every clip that it lacks.

    Args:
        visual: The tower, on the device where it shall run.
        clips: The clips.
        root: Folder of caches.
        protocol: Frame sampling and pixel budget.
        dtype: How numbers are stored; as the tower computes them by default, which loses nothing.
        batch_size: Clips at a time.
    """
    dtype = dtype or visual.dtype
    width = visual.config.hidden_size * (1 + len(visual.deepstack_merger_list))
    folder = root / tower_key(visual, protocol, dtype)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    numbers = tqdm(range(len(clips)), desc="fingerprints of clips", unit="clip", leave=False)
    names = [clips.fingerprint(clip) for clip in numbers]
    with FileLock(folder / ".lock"):
        _check_layout(folder, {"dtype": str(dtype).removeprefix("torch."), "width": width})
        known = _read_index(folder, width * dtype.itemsize)
        missing = {name: clip for clip, name in enumerate(names) if name not in known}
        _compute(visual, clips, missing, folder, known, (protocol, dtype, batch_size))
    return FeatureCache(folder, width, dtype, [known[name] for name in names])


def _compute(
    visual: Qwen3VLVisionModel,
    clips: Clips,
    missing: Mapping[str, int],
    folder: Path,
    known: dict[str, Entry],
    settings: tuple[VideoProtocol, torch.dtype, int],
) -> None:
    protocol, dtype, size = settings
    row = max((entry.end for entry in known.values()), default=0)
    names = list(missing)
    chunks = [names[i : i + size] for i in range(0, len(names), size)]
    with (
        (folder / VALUES).open("ab") as values,
        (folder / INDEX).open("a", encoding="utf-8") as index,
    ):
        for chunk in tqdm(chunks, desc="features of clips", unit="batch", disable=not chunks):
            sampled = [clips.sampled(missing[name]) for name in chunk]
            rows, grids = _run_tower(visual, sampled, protocol)
            values.write(rows.to("cpu", dtype).view(torch.uint8).numpy().tobytes())
            values.flush()
            for name, clip, grid in zip(chunk, sampled, grids, strict=True):
                entry = Entry(row, grid, clip.group_times_s)
                index.write(json.dumps({"clip": name, **asdict(entry)}) + "\n")
                known[name], row = entry, entry.end
            index.flush()


def _run_tower(
    visual: Qwen3VLVisionModel, clips: Sequence[SampledClip], protocol: VideoProtocol
) -> tuple[torch.Tensor, list[Grid]]:
    pixels, grids = zip(*(clip_patches(clip.frames, protocol) for clip in clips), strict=True)
    device = visual.pos_embed.weight.device
    rows = tower_features(visual, torch.cat(pixels).to(device), torch.tensor(grids).to(device))
    return rows.contiguous(), list(grids)


def tower_key(visual: Qwen3VLVisionModel, protocol: VideoProtocol, dtype: torch.dtype) -> str:
    """Fingerprint of all that features follow from beside the pixels: the tower's weights and the protocol."""
    config = visual.config
    settings = {
        "protocol": asdict(protocol),
        "normalisation": [PIXEL_MEAN, PIXEL_STD],
        "tower": [config.depth, config.num_heads, config.patch_size, config.spatial_merge_size],
        "deepstack": list(config.deepstack_visual_indexes),
        "dtype": str(dtype),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, weights in sorted(visual.state_dict().items()):
        if "merger" not in name:  # the projector comes after what is kept
            digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode())
            digest.update(weights.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _check_layout(folder: Path, layout: Mapping[str, Any]) -> None:
    path = folder / LAYOUT
    if not path.is_file():
        path.write_text(json.dumps(layout) + "\n", encoding="utf-8")
    elif json.loads(path.read_text(encoding="utf-8")) != layout:
        raise WeightsError(f"{folder} holds rows of another kind. Delete it: it is computed again.")


def _read_index(folder: Path, row_bytes: int) -> dict[str, Entry]:
    """Read what is there, and cut off what an interrupted computation left half written."""
    known: dict[str, Entry] = {}
    path, values = folder / INDEX, folder / VALUES
    values.touch()
    there = values.stat().st_size // row_bytes
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    whole = []
    for line in lines:
        try:
            fields = json.loads(line)
            entry = Entry(fields["start"], tuple(fields["grid"]), tuple(fields["group_times_s"]))
        except (ValueError, KeyError, TypeError):
            break
        if entry.end > there:
            break
        known[fields["clip"]] = entry
        whole.append(line + "\n")
    path.write_text("".join(whole), encoding="utf-8")
    with values.open("r+b") as file:
        file.truncate(max((entry.end for entry in known.values()), default=0) * row_bytes)
    return known
