"""Film strips: an episode as one picture, with what the judge and the simulator say about it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from experiments.report.media import film_strip, jpeg
from experiments.run_folder import read_json, write_json
from roboreward_gym.types import ProgressScore


@dataclass(frozen=True)
class Strip:
    """One film strip.

    Attributes:
        image: JPEG of some frames side by side.
        task: The command that was judged.
        judged: Judged level, 1..5; None if unreadable.
        probability: The judge's probability of level 5, if it gives one.
        level: True level, 1..5; None if unknown.
        note: Which episode this is.
    """

    image: bytes
    task: str
    judged: int | None
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
            image=jpeg(film_strip(frames)),
            task=task,
            judged=score.level,
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

    @property
    def kind(self) -> str:
        """How the judge's claim of success compares with the truth."""
        claimed, true = self.judged == 5, self.level == 5
        if claimed:
            return "true success" if true else "false success"
        return "missed success" if true else "true failure"


def load_strips(folder: Path) -> list[Strip]:
    """All strips of a folder, in order of their names."""
    return [Strip.load(path.with_suffix("")) for path in sorted(folder.glob("*.json"))]


def telling(strips: Sequence[Strip], each: int = 3) -> list[Strip]:
    """Choose some strips of each kind, mistakes first, evenly over the run and without favour."""
    chosen: list[Strip] = []
    for kind in ("false success", "missed success", "true success", "true failure"):
        of_kind = [strip for strip in strips if strip.kind == kind]
        picks = np.linspace(0, len(of_kind) - 1, min(each, len(of_kind))).round().astype(int)
        chosen += [of_kind[i] for i in np.unique(picks)]
    return chosen
