"""Episodes of a study whose success was predicted wrongly, with their frames and, where the run kept them, their video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.config import TRUTH
from experiments.media import video
from experiments.played_episode import PlayedEpisode, training_path
from experiments.report.study_folder import Cell, Run
from experiments.results import METRIC_KEYS
from experiments.strips import Strip

KINDS = ("false positive", "false negative")


@dataclass(frozen=True, eq=False)
class Mistake:
    """One episode; `video` is an MP4 or None."""

    kind: str
    strip: Strip
    video: bytes | None


def mistakes(cell: Cell, each: int = 2) -> list[Mistake]:
    """Up to `each` episodes of each kind, spread evenly over the runs of a cell and their training."""
    if cell.row["reward_model"] == TRUTH:
        return []
    shown = []
    for kind in KINDS:
        of_kind = [(run, number) for run in cell.runs for number in _numbers(run, kind) if _kept(run, number)]  # fmt: skip
        picks = np.linspace(0, len(of_kind) - 1, min(each, len(of_kind))).round().astype(int)
        shown += [_mistake(kind, *of_kind[i]) for i in np.unique(picks)]
    return shown


def counts(cells: Sequence[Cell], kind: str) -> int:
    """Episodes of a kind in all runs."""
    return sum(len(_numbers(run, kind)) for cell in cells for run in cell.runs)


def _numbers(run: Run, kind: str) -> list[int]:
    level, predicted = (run.column(METRIC_KEYS[name]) for name in ("level", "predicted"))
    known = np.isfinite(level) & np.isfinite(predicted)
    positive = kind == KINDS[0]
    wrong = known & ((level == 5) != positive) & ((predicted == 5) == positive)
    return [int(run.episodes[i]["episode"]) for i in np.flatnonzero(wrong)]


def _strip_path(run: Run, number: int) -> Path:
    return run.folder / "strips" / f"{number:06d}"


def _kept(run: Run, number: int) -> bool:
    played, strip = training_path(run.folder, number), _strip_path(run, number)
    return played.exists() or strip.with_suffix(".json").exists()


def _mistake(kind: str, run: Run, number: int) -> Mistake:
    path = training_path(run.folder, number)
    words = f"{run.row['folder']}, episode {number + 1}"
    if not path.exists():
        return Mistake(kind, _renamed(Strip.load(_strip_path(run, number)), words), None)
    episode = PlayedEpisode.load(path)
    clip, score = episode.clip, episode.score
    if score is None:  # the metrics say that it has one
        raise ValueError(f"{path} has no score, but the metrics of its run have.")
    level = episode.record.logged[METRIC_KEYS["level"]]
    strip = Strip.of(clip.frames, clip.task, score, level, words)
    return Mistake(kind, strip, video(clip.frames, clip.fps))


def _renamed(strip: Strip, note: str) -> Strip:
    return Strip(strip.image, strip.task, strip.predicted, strip.probability, strip.level, note)
