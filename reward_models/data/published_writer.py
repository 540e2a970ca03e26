"""Writing of the published RoboReward layout (see `reward_models.data.published`): rows, file names, whole splits."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reward_models.data.example import Example, Item
from reward_models.data.published import METADATA
from reward_models.data.video_file import OutputError, VideoFormat, whole_file, write_video
from reward_models.video.decode import open_video

Row = dict[str, Any]
"""A line of `metadata.jsonl`; the columns are `published.COLUMNS`."""


def row_of(example: Example, file_name: str) -> Row:
    """Return the columns of an example, the published ones first.

    Args:
        example: The example; it must have a reward.
        file_name: Its video, relative to the split folder.
    """
    return {
        "file_name": file_name,
        "task": example.task,
        "reward": example.reward,
        "gpt5_mini_check": example.check,
        "kind": example.kind,
        "source_episode": example.source_episode,
        "original_task": example.original_task or "",
        "kept": example.kept,
        "checked_by": example.checked_by,
        "licence": example.licence,
    }


def stem_of(subset: str, source_episode: str) -> str:
    """Return the name of an episode's video without its suffix; different for different episodes.

    >>> stem_of("bridge", "bridge_originalsplit_train_index_7"), stem_of("soar", "kitchen/7")
    ('bridge_originalsplit_train_index_7', 'soar_kitchen_7-ddeedff2')
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", source_episode).strip("._")[-80:]
    if plain != source_episode:
        plain += f"-{hashlib.sha256(source_episode.encode()).hexdigest()[:8]}"
    return plain if plain.startswith(subset) or subset == "robo_arena" else f"{subset}_{plain}"


class FileNames:
    """Gives out file names in the published pattern, each once.

    Args:
        reserved: Names that are taken.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken = set(reserved)

    def whole(self, stem: str) -> str:
        """Return `STEM.mp4`, or the first free `STEM_<k>.mp4`: another row about a whole video."""
        return self._first(stem, "_{}")

    def truncated(self, stem: str, reward: int) -> str:
        """Return `STEM_attempt_<n>_score_<reward>.mp4` with the first free n."""
        return self._first(stem, f"_attempt_{{}}_score_{reward}", plain=False)

    def _first(self, stem: str, pattern: str, *, plain: bool = True) -> str:
        number = 0 if plain else 1
        while True:
            name = f"{stem}{pattern.format(number) if number else ''}.mp4"
            if name not in self._taken:
                self._taken.add(name)
                return name
            number += 1


def write_original(path: Path, example: Example, form: VideoFormat) -> None:
    """Write the video of an example: its own bytes if they have the format already, else encoded anew.

    Raises:
        InvalidVideo: It cannot be read.
        OutputError: It cannot be written.
    """
    if example.video.file is not None and has_format(example.video.file, form):
        copy(example.video.file, path)
    else:
        write_video(path, example.video.read(), form)


def has_format(path: Path, form: VideoFormat) -> bool:
    """Whether a file is H.264 of the size and rate already.

    Raises:
        InvalidVideo: It cannot be read.
    """
    with open_video(path) as video:
        streams, stream = video.container.streams, video.stream
        alone = len(streams.video) == 1 and not streams.audio
        size = stream.width, stream.height
        same_rate = form.fps == 0 or abs(float(stream.average_rate or 0) - form.fps) < 1e-3
        coded = stream.codec_context.name == "h264" and stream.pix_fmt == "yuv420p"
        return alone and coded and size == (form.width, form.height) and same_rate


def copy(source: Path, path: Path) -> None:
    """Copy a file; the copy appears whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with whole_file(path) as beside:
        shutil.copyfile(source, beside)


def write_metadata(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the `metadata.jsonl` of a split.

    Raises:
        OutputError: It cannot be written.
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with whole_file(folder / METADATA) as beside:
        beside.write_text(text, encoding="utf-8")


def write_examples(root: Path, split: str, items: Iterable[Item], form: VideoFormat) -> list[Row]:
    """Write examples as one split, one by one; what is not an example is left out.

    Raises:
        OutputError: The folder holds a split of that name, or cannot be written.
    """
    folder = root / split
    if (folder / METADATA).exists():
        raise OutputError(f"{folder} holds a split already. Choose another folder.")
    names, rows = FileNames(), []
    for example in items:
        if not isinstance(example, Example):
            continue
        stem = f"{example.subset}/{stem_of(example.subset, example.source_episode)}"
        if example.kind == "truncated" and example.reward is not None:
            name = names.truncated(stem, example.reward)
        else:
            name = names.whole(stem)
        write_original(folder / name, example, form)
        rows.append(row_of(example, name))
    write_metadata(folder, rows)
    return rows


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
