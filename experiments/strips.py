"""Frame strips: an episode as one picture, with its predicted and its true level."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from experiments.media import frame_strip, jpeg, split_strip
from experiments.played_episode import PlayedEpisode
from experiments.run_folder import RunFolder, read_json, write_json
from roboreward_gym.info import VETOED
from roboreward_gym.types import ProgressScore


@dataclass(frozen=True)
class Strip:
    """One frame strip.

    Attributes:
        image: JPEG of some frames side by side.
        task: The task that was scored.
        predicted: Predicted level, 1..5; None if unreadable.
        probability: Predicted probability of level 5, if there is one.
        level: True level, 1..5; None if unknown.
        note: Which episode this is.
    """

    image: bytes
    task: str
    predicted: int | None
    probability: float | None
    level: int | None
    note: str = ""

    @classmethod
    def of(
        cls, frames: np.ndarray, task: str, score: ProgressScore, level: float, note: str = ""
    ) -> Self:
        """Make the strip of an episode's `(T, H, W, 3)` uint8 frames."""
        probability = score.success_probability
        return cls(
            image=jpeg(frame_strip(frames)),
            task=task,
            predicted=score.level,
            probability=probability if math.isfinite(probability) else None,
            level=round(level) if math.isfinite(level) else None,
            note=note,
        )

    def save(self, stem: Path) -> None:
        """Write `<stem>.jpg` and `<stem>.json`."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".jpg").write_bytes(self.image)
        words: dict[str, Any] = {k: v for k, v in vars(self).items() if k != "image"}
        write_json(stem.with_suffix(".json"), words)

    @classmethod
    def load(cls, stem: Path) -> Self:
        """Read what `save` wrote."""
        words = read_json(stem.with_suffix(".json"))
        return cls(image=stem.with_suffix(".jpg").read_bytes(), **words)

    def frames(self) -> list[bytes]:
        """Its frames in their order, as a JPEG each."""
        return split_strip(self.image)

    @property
    def kind(self) -> str:
        """How predicted success compares with the truth."""
        predicted, true = self.predicted == 5, self.level == 5
        if predicted:
            return "true positive" if true else "false positive"
        return "false negative" if true else "true negative"


def load_strips(folder: Path) -> list[Strip]:
    """All strips of a folder, in order of their names."""
    return [Strip.load(path.with_suffix("")) for path in sorted(folder.glob("*.json"))]


def representative(strips: Sequence[Strip], each: int = 3) -> list[Strip]:
    """Choose up to `each` strips of each kind, mistakes first, spread evenly over the run."""
    chosen: list[Strip] = []
    for kind in ("false positive", "false negative", "true positive", "true negative"):
        of_kind = [strip for strip in strips if strip.kind == kind]
        picks = np.linspace(0, len(of_kind) - 1, min(each, len(of_kind))).round().astype(int)
        chosen += [of_kind[i] for i in np.unique(picks)]
    return chosen


def save_strip(folder: RunFolder, played: PlayedEpisode, number: int) -> None:
    """Save the frame strip of a training episode that has its score, for the report."""
    clip, score, logged = played.clip, played.score, played.record.logged
    if score is not None:
        note = f"training episode {number + 1}"
        if logged.get(VETOED):
            note += ", success vetoed"
        strip = Strip.of(clip.frames, clip.task, score, logged["truth/level"], note)
        strip.save(folder / "strips" / f"{number:06d}")
