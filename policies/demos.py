"""Demonstrations on disk, and the (observation, action chunk) pairs cut from them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from policies.errors import InvalidDemos
from policies.vision import IMAGE_SIZE

ARRAYS = ("images", "states", "actions", "landmarks", "episode_ends")


@dataclass(frozen=True, eq=False)
class Demos:
    """Episodes laid end to end; row t holds the observation before action t.

    Attributes:
        images: `(N, 96, 128, 3)` uint8, made by `policies.vision.downsample`.
        states: `(N, S)` float32.
        actions: `(N, A)` float32, as executed.
        landmarks: `(N, K, 3)` float32 x, y in [0, 1) of width and height, present 0/1: labels only.
        episode_ends: `(E,)` int64, rising; episode e ends before row `episode_ends[e]`.
        names: Names of the K landmarks.
        task: The task that was demonstrated.
        fps: Control rate in [Hz].
    """

    images: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    landmarks: np.ndarray
    episode_ends: np.ndarray
    names: tuple[str, ...]
    task: str
    fps: float

    def __post_init__(self) -> None:
        rows = len(self.images)
        if self.images.shape != (rows, *IMAGE_SIZE, 3) or self.images.dtype != np.uint8:
            raise InvalidDemos(
                f"Images must be uint8 (N, {IMAGE_SIZE[0]}, {IMAGE_SIZE[1]}, 3), got {self.images.dtype} "
                f"{self.images.shape}. Make them with `policies.vision.downsample`."
            )
        if self.landmarks.shape != (rows, len(self.names), 3):
            raise InvalidDemos(
                f"Landmarks must have the shape ({rows}, {len(self.names)}, 3), got {self.landmarks.shape}."
            )
        for name in ("states", "actions"):
            values = getattr(self, name)
            if values.ndim != 2 or len(values) != rows or not np.isfinite(values).all():
                raise InvalidDemos(
                    f"The {name} must be {rows} rows of finite numbers, got shape {values.shape}."
                )
        ends = self.episode_ends
        if not (len(ends) and (np.diff(ends, prepend=0) > 0).all() and ends[-1] == rows):
            raise InvalidDemos(
                f"Episode ends must rise to {rows}, got {ends[:8]}... to {ends[-1:]}."
            )

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def load(cls, folder: Path) -> "Demos":
        """Open a folder written by the collector; images stay on disk until they are read.

        Raises:
            InvalidDemos: A missing file, or arrays that do not fit together.
        """
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
            meta = json.loads((folder / "meta.json").read_text())
            return cls(**arrays, names=tuple(meta["landmarks"]), task=meta["task"], fps=meta["fps"])
        except (OSError, KeyError, ValueError) as error:
            if isinstance(error, InvalidDemos):
                raise
            raise InvalidDemos(
                f"{folder} must hold {', '.join(ARRAYS)} (.npy) and meta.json ({error}). "
                "Collect the demonstrations again."
            ) from error

    def save(self, folder: Path, **notes: Any) -> None:
        """Write what `load` reads, and notes about the recording into `meta.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        meta = {"landmarks": list(self.names), "task": self.task, "fps": self.fps, **notes}
        (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")

    def split(self, held_out: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows to train on and rows of the last episodes, held out, as `(n,)` int64 each."""
        episodes = len(self.episode_ends)
        kept = episodes - max(1, round(held_out * episodes)) if episodes > 1 else 1
        cut = int(self.episode_ends[kept - 1])
        return np.arange(cut), np.arange(cut, len(self))

    def chunks(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Actions that follow each row, without crossing into the next episode.

        Args:
            rows: `(B,)` int64.
            length: Actions per chunk.

        Returns:
            `(B, length, A)` float32, the episode's last action repeated where it is over, and a
            mask `(B, length)` float32, 0 there. What lies behind the mask must not be learned:
            repeating a *delta* is no way to hold still.
        """
        end = self.episode_ends[np.searchsorted(self.episode_ends, rows, side="right")]
        wanted = rows[:, None] + np.arange(length)
        last = end[:, None] - 1
        actions = np.asarray(self.actions)[np.minimum(wanted, last)]
        return actions.astype(np.float32), (wanted <= last).astype(np.float32)
