"""Simulated reward data as examples: a folder in the published layout, or one of `reward_models.data.reward_data`.

In the published layout a split of SimReward has `simulator.jsonl` beside its `metadata.jsonl`: what only the simulator
knows about each row, to split metrics by.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reward_models.data import published
from reward_models.data.example import Example, Frames, InvalidSource, Item, Video
from reward_models.data.reward_data import RewardData
from reward_models.data.side_file import read_side_file
from reward_models.data.sources import ReadOptions

LICENCE = "Apache-2.0"
NOTES = "simulator.jsonl"


@dataclass(frozen=True)
class Note:
    """How a row of simulated data came about.

    Attributes:
        file_name: As in `metadata.jsonl`.
        seed: Seed of the episode.
        behaviour: What was played, such as `there_and_back`.
        shifts: In which ways it looks unlike training, such as `camera` or `jpeg`; empty: it does not.
        wording: Whose words the task has: `canonical`, `seen` in training, or `held_out`.
        meaning: The task in canonical words.
        done_at_start: Whether the goal was true at the start, and given up since.
        frames: Frames of the video.
    """

    file_name: str
    seed: int
    behaviour: str
    shifts: tuple[str, ...]
    wording: str
    meaning: str
    done_at_start: bool
    frames: int


def read_notes(split: Path) -> dict[str, Note]:
    """Read the side file of a split, by file name.

    Raises:
        InvalidSource: There is none, it is damaged, or it has two lines about one video.
    """
    return read_side_file(
        split / NOTES,
        _note,
        key="file_name",
        advice="Make the set again with python -m experiments.simulation.simreward.",
    )


def _note(row: dict[str, Any]) -> Note:
    row["shifts"] = tuple(row["shifts"])
    return Note(**row)


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Yield every labelled clip.

    Raises:
        InvalidSource: No such folder.
    """
    if not (path / "clips.jsonl").is_file():
        return published.read(path, options)
    return _read_arrays(path, options)


def _read_arrays(path: Path, options: ReadOptions) -> Iterator[Item]:
    splits = RewardData.open_splits([path])
    chosen = [d for name, d in splits.items() if options.split in (None, name)]
    if not chosen:
        raise InvalidSource(f"{path} has no clips of {options.split}, only of {', '.join(splits)}.")
    for data in chosen:
        for asked in data.examples:
            info = data.clips[asked.clip]
            yield Example(
                video=Video(f"{path}#{asked.clip}", partial(_frames, data, asked.clip)),
                task=asked.task,
                reward=asked.level,
                subset=options.subset or f"sim_{info.scene}",
                source_episode=info.episode,
                kind=asked.kind,
                original_task=None if asked.kind == "counterfactual" else asked.task,
                kept=info.kept,
                checked_by="simulator",
                licence=options.licence or LICENCE,
            )


def _frames(data: RewardData, clip: int) -> Frames:
    whole = data.clip(clip, "watch")
    return Frames(whole.frames, whole.fps)
