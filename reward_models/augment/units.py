"""Units of work: each example of the source with the name of its files, the same in every run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reward_models.augment.pipeline import Label
from reward_models.data.example import Example, Frames, Item, Skipped
from reward_models.data.published_writer import (
    FileNames,
    Row,
    copy,
    has_format,
    row_of,
    sha256,
    stem_of,
)
from reward_models.data.video_file import VideoFormat, can_cut, cut, write_video


@dataclass(frozen=True, eq=False)
class Unit:
    """An example of the source.

    Attributes:
        name: `SUBSET/STEM`, unlike that of any other unit.
        example: The example.
    """

    name: str
    example: Example


def units(items: Iterable[Item]) -> Iterator[Unit | Skipped]:
    """Name every example: by its file in the published layout, else by its episode."""
    taken: set[str] = set()
    for item in items:
        if isinstance(item, Skipped):
            yield item
            continue
        file = item.video.file
        published = file is not None and file.parent.name == item.subset
        stem = file.stem if published and file else stem_of(item.subset, item.source_episode)
        name = f"{item.subset}/{stem}"
        number = 1
        while name in taken:
            number += 1
            name = f"{item.subset}/{stem}-{number}"
        taken.add(name)
        yield Unit(name, item)


def write_labels(
    unit: Unit,
    task: str,
    labels: Iterable[Label],
    video: Frames,
    folder: Path,
    form: VideoFormat,
    reserved: Iterable[str],
) -> Iterator[Row]:
    """Write a video per label, and yield its row with the hash of the file as `video_sha256`.

    Whole videos are copies of one file, byte for byte; truncated ones are cut from it.

    Raises:
        OutputError: No room.
    """
    base = f"{unit.name}.mp4"
    names = FileNames(set(reserved) | {base})
    whole = folder / base
    source = unit.example.video.file
    if source is not None and has_format(source, form):
        copy(source, whole)
    else:
        write_video(whole, video, form)
    whole_sha256 = sha256(whole)
    kept_whole = False
    for label in labels:
        if label.kind == "truncated" and label.count < len(video.frames):
            name = names.truncated(unit.name, label.reward)
            if can_cut(whole, len(video.frames)):
                cut(whole, folder / name, label.count)
            else:
                write_video(folder / name, video.first(label.count), form)
            digest = sha256(folder / name)
        elif not kept_whole:
            name, digest, kept_whole = base, whole_sha256, True
        else:
            name, digest = names.whole(unit.name), whole_sha256
            copy(whole, folder / name)
        example = Example(
            video=unit.example.video,
            task=label.task,
            reward=label.reward,
            subset=unit.example.subset,
            source_episode=unit.example.source_episode,
            kind=label.kind,
            original_task=task if label.kind != "organic" else unit.example.original_task,
            kept=label.kept,
            check=label.check,
            checked_by=label.checked_by,
            licence=unit.example.licence,
        )
        yield {**row_of(example, name), "video_sha256": digest}
    if not kept_whole:
        whole.unlink()
