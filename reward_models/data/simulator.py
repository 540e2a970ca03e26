"""Simulated reward data as examples: a folder in the published layout, or one of `reward_models.data.reward_data`."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from reward_models.data import published
from reward_models.data.example import Example, Frames, InvalidSource, Item, Video
from reward_models.data.reward_data import RewardData
from reward_models.data.sources import ReadOptions

LICENCE = "Apache-2.0"


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
