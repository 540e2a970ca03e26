"""Reward data on disk: clips of episodes, what the simulator knew about them, and examples (a task and its true level).

A folder holds

- `frames.npy`: `(N, 8, H, W, 3)` uint8, eight frames of each clip spread evenly over it, first and last included;
- `clips.jsonl`: one line per clip: `clip`, `episode`, `seed`, `scene`, `split`, `source`, `kept` (the part of the
  episode that is shown), `fps`, `frame_times_s`, `caption` (the final state in words);
- `dense.npy`: `(N, 4, K, 4)` float32, for the later frame of each pair and each landmark: x and y in [0, 1) of the
  image, present 0/1, value (height or opening, about 0..1); `landmarks.json`: their K names;
- `examples.jsonl`: one line per example: `clip`, `task`, `level` 1..5, `kind`; several examples share a clip.

Frames are mapped, never loaded as a whole: such folders have many gigabytes. They are arrays and no videos because the tower's
training draws 32 random pairs of frames a step: from MP4s a step takes 24 % more CPU time on one core
(`python -m benchmarks.reward_data_decode`), and more where the step itself is faster. No seed of a scene may lie in two splits.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, SampledClip, VideoProtocol
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import LEVELS, Clip

Split = Literal["train", "validation", "test"]
Kind = Literal["original", "counterfactual", "truncated", "organic"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KINDS = ("original", "counterfactual", "truncated", "organic")

_Row = TypeVar("_Row")


class InvalidData(RoboRewardError, ValueError):
    """A data folder that is incomplete, or whose parts do not fit together."""


@dataclass(frozen=True)
class ClipInfo:
    """Where a clip comes from."""

    episode: str
    seed: int
    scene: str
    split: Split
    source: str
    kept: float
    fps: float
    frame_times_s: tuple[float, ...]
    caption: str

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InvalidData(f"split must be one of {SPLITS}, got {self.split!r}.")
        times = np.asarray(self.frame_times_s)
        if not self.fps > 0 or len(times) == 0 or times[0] != 0 or (np.diff(times) < 0).any():
            raise InvalidData(
                f"The frame times of episode {self.episode!r} must start at 0 s and never fall, at a rate "
                f"above 0 Hz; these are {times} at {self.fps} Hz."
            )

    @property
    def stored_indices(self) -> np.ndarray:
        """`(8,)` int64: which frames of the whole clip are stored."""
        return np.round(np.asarray(self.frame_times_s) * self.fps).astype(np.int64)


@dataclass(frozen=True)
class Example:
    """A task that a clip may be scored with, and the true level.

    Attributes:
        clip: Number of the clip in its data.
        task: The task.
        level: True level, 1..5.
        kind: `original` (a success of an expert, its own task), `truncated` (cut short), `counterfactual` (another
            task than its own) or `organic` (anything else with its own task, such as a real failure).
    """

    clip: int
    task: str
    level: int
    kind: Kind

    def __post_init__(self) -> None:
        # 2.0 and true would become answers that no model can give.
        is_level = self.level in LEVELS and not isinstance(self.level, bool | float)
        if not is_level or self.kind not in KINDS or not self.task:
            raise InvalidData(
                f"An example needs a task, a level in 1..5 and a kind of {KINDS}: {self} lacks one of them."
            )


@dataclass(frozen=True, eq=False)
class RewardData:
    """Clips and examples of one split, from one or several folders.

    Attributes:
        clips: M clips.
        examples: `Example.clip` points into `clips`.
        dense: `(M, 4, K, 4)` float32 labels.
        landmarks: K names.
        frames: The mapped arrays of the folders.
        rows: `(M, 2)` int64, folder and row in it of each clip.
    """

    clips: tuple[ClipInfo, ...]
    examples: tuple[Example, ...]
    dense: np.ndarray
    landmarks: tuple[str, ...]
    frames: tuple[np.ndarray, ...]
    rows: np.ndarray

    @cached_property
    def subsets(self) -> tuple[str, ...]:
        """Scene and kind of each example, such as `toy-counterfactual`: what macro errors average over."""
        return tuple(f"{self.clips[e.clip].scene}-{e.kind}" for e in self.examples)

    @classmethod
    def open(cls, folders: Sequence[Path], split: Split) -> "RewardData":
        """Map all clips of one split.

        Raises:
            InvalidData: As in `open_splits`, or no clip of the split.
        """
        splits = cls.open_splits(folders)
        if split not in splits:
            raise InvalidData(
                f"There is no clip of the split {split!r} in {[str(f) for f in folders]}, only of "
                f"{', '.join(splits) or 'none'}. Name the folders of that split."
            )
        return splits[split]

    @classmethod
    def open_splits(cls, folders: Sequence[Path]) -> "dict[Split, RewardData]":
        """Map all clips of all splits that the folders hold, kept apart.

        Raises:
            InvalidData: Missing files, lengths or landmarks that do not fit, or two splits with
                episodes of the same scene and seed.
        """
        parts = [_Folder.open(folder) for folder in folders]
        if len({part.landmarks for part in parts}) > 1:
            raise InvalidData(
                "The folders have different landmarks. Collect them with one version."
            )
        _check_seeds(parts)
        found = {clip.split for part in parts for clip in part.clips}
        return {split: cls._of_split(parts, split) for split in SPLITS if split in found}

    @classmethod
    def _of_split(cls, parts: "Sequence[_Folder]", split: Split) -> "RewardData":
        clips, examples, rows, dense = [], [], [], []
        for number, part in enumerate(parts):
            new = {}
            for row, clip in enumerate(part.clips):
                if clip.split == split:
                    new[row] = len(clips)
                    clips.append(clip)
                    rows.append((number, row))
                    dense.append(part.dense[row])
            examples += [
                Example(new[e.clip], e.task, e.level, e.kind)
                for e in part.examples
                if e.clip in new
            ]
        return cls(
            clips=tuple(clips),
            examples=tuple(examples),
            dense=np.stack(dense),
            landmarks=parts[0].landmarks,
            frames=tuple(part.frames for part in parts),
            rows=np.asarray(rows, np.int64),
        )

    def stored(self, clip: int) -> np.ndarray:
        """Return the `(8, H, W, 3)` uint8 frames as they are stored."""
        folder, row = self.rows[clip]
        return self.frames[folder][row]

    def clip(self, clip: int, task: str) -> Clip:
        """Rebuild the clip at its true length, each frame being the nearest stored one."""
        info = self.clips[clip]
        nearest = _nearest(info.stored_indices, np.arange(info.stored_indices[-1] + 1))
        return Clip(self.stored(clip)[nearest], task, info.fps)

    def sampled(
        self, clip: int, task: str, protocol: VideoProtocol = ROBOREWARD_PROTOCOL
    ) -> SampledClip:
        """Sample what a model sees of `clip(...)`, without building the whole clip."""
        info = self.clips[clip]
        total = int(info.stored_indices[-1]) + 1
        indices = protocol.frame_indices(total, info.fps)
        frames = self.stored(clip)[_nearest(info.stored_indices, indices)]
        return SampledClip(frames, indices, total, info.fps, task)


@dataclass(frozen=True, eq=False)
class _Folder:
    clips: tuple[ClipInfo, ...]
    examples: tuple[Example, ...]
    dense: np.ndarray
    landmarks: tuple[str, ...]
    frames: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "_Folder":
        try:
            part = cls(
                clips=tuple(_rows(folder / "clips.jsonl", ClipInfo)),
                examples=tuple(_rows(folder / "examples.jsonl", Example)),
                dense=np.load(folder / "dense.npy", allow_pickle=False),
                landmarks=tuple(
                    json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
                ),
                frames=np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False),
            )
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidData):
                raise
            raise InvalidData(
                f"The data folder {folder} is damaged or incomplete: {error}. Collect it again."
            ) from error
        part._check(folder)
        return part

    def _check(self, folder: Path) -> None:
        n, stored = len(self.clips), self.frames.shape[1:2]
        if self.frames.dtype != np.uint8 or self.frames.ndim != 5 or len(self.frames) != n:
            raise InvalidData(
                f"{folder} should hold {n} clips of uint8 frames, but holds {self.frames.dtype} "
                f"{self.frames.shape}. The collection was cut short: repeat it."
            )
        expected = (n, stored[0] // 2, len(self.landmarks), 4)
        if self.dense.shape != expected:
            raise InvalidData(
                f"The labels in {folder} must have the shape {expected}, got {self.dense.shape}."
            )
        for clip in self.clips:
            if len(clip.frame_times_s) != stored[0]:
                raise InvalidData(
                    f"Each clip in {folder} needs {stored[0]} times; {clip} has others."
                )
        for example in self.examples:
            if not 0 <= example.clip < n:
                raise InvalidData(f"{folder} holds the clips 0..{n - 1}; {example} names another.")


def _check_seeds(parts: Sequence[_Folder]) -> None:
    """Refuse splits that share an episode: the same scene and seed begin alike, whoever acts.

    Raises:
        InvalidData: Two splits have episodes of the same scene and seed.
    """
    owner: dict[tuple[str, int], str] = {}
    for clip in (clip for part in parts for clip in part.clips):
        other = owner.setdefault((clip.scene, clip.seed), clip.split)
        if other != clip.split:
            raise InvalidData(
                f"The splits {other!r} and {clip.split!r} share the seed {clip.seed} of the scene "
                f"{clip.scene!r} (episode {clip.episode!r}). What is trained on would be measured: "
                "collect one of them with other seeds."
            )


def _rows(path: Path, kind: type[_Row]) -> Iterator[_Row]:
    names = [field.name for field in fields(kind)]  # ty: ignore[invalid-argument-type]
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row: dict[str, Any] = json.loads(line)
            if missing := [name for name in names if name not in row]:
                raise InvalidData(
                    f"{path}:{number} has no {', '.join(missing)}. Collect the folder again, or add it."
                )
            if "frame_times_s" in row:
                row["frame_times_s"] = tuple(row["frame_times_s"])
            try:
                made = kind(**{name: row[name] for name in names})
            except InvalidData as error:
                raise InvalidData(f"{path}:{number}: {error}") from error
            yield made


def _nearest(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Position of the stored index nearest to each wanted one; the earlier of two equally near."""
    return np.abs(wanted[:, None] - stored[None]).argmin(1)
