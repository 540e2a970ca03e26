"""The inputs of `roboreward score`, all checked before anything is scored."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_models.video.images import IMAGE_SUFFIXES
from reward_models.video.read import VIDEO_SUFFIXES, natural_order, open_recording
from reward_models.video.recording import RecordingSource
from roboreward_gym.errors import (
    InvalidClip,
    RewardModelUnavailable,
    RoboRewardError,
    install_advice,
)
from roboreward_gym.types import check_task

NEEDED = ("video", "task")
OPTIONAL = ("fps", "id")


class InvalidRequest(RoboRewardError, ValueError):
    """A list of clips, or a combination of arguments, from which it is not clear what to score."""


@dataclass(frozen=True)
class Request:
    """One recording to score.

    Attributes:
        id: Unlike that of any other request; a resumed run knows by it what is done.
        video: Where the recording lies, for the reader of the scores.
        task: The instruction that the robot was given.
        source: Reads the recording.
    """

    id: str
    video: str
    task: str
    source: RecordingSource


def from_paths(paths: Sequence[Path], task: str, fps: float | None) -> list[Request]:
    """Score the same task in each recording.

    Args:
        paths: Video files, folders with one image per frame, and folders of videos: of these every
            video at any depth, in the order of their paths.
        task: The task of all.
        fps: Frames per second in [Hz], instead of the time stamps.

    Raises:
        InvalidRequest: A recording is named twice, or a folder holds none, or images and one video.
    """
    check_task(task)
    videos = [video for path in paths for video in (_inside(path) if path.is_dir() else [path])]
    return _distinct(
        Request(video.as_posix(), video.as_posix(), task, open_recording(video, fps))
        for video in videos
    )


def _inside(folder: Path) -> list[Path]:
    """Return the videos in a folder, beside which images are thumbnails, or the folder itself if it holds frames."""
    videos = sorted(
        (p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()),
        key=natural_order,
    )
    images = any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
    if images and len(videos) == 1:
        raise InvalidRequest(
            f"{folder} holds images and one video, {videos[0].name}: it is not clear which of them is the "
            "recording. Name the video, or move it."
        )
    if not images and not videos:
        raise InvalidRequest(
            f"There are no videos ({', '.join(VIDEO_SUFFIXES)}) and no images "
            f"({', '.join(IMAGE_SUFFIXES)}) in the folder {folder}."
        )
    return videos or [folder]


def from_table(path: Path) -> list[Request]:
    """Score what a `.csv` or `.jsonl` file lists: columns `video` and `task`, optionally `fps` and `id`.

    Paths are relative to the file. Without `id` the path is the id.

    Raises:
        InvalidRequest: Missing columns, empty cells, duplicate ids; names the lines.
    """
    if path.suffix not in {".csv", ".jsonl"}:
        raise InvalidRequest(f"A list of clips is a .csv or a .jsonl file, not {path}.")
    try:
        rows = list(_csv_rows(path) if path.suffix == ".csv" else _jsonl_rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"The list of clips {path} cannot be read: {error}.") from error
    if not rows:
        raise InvalidRequest(f"The list {path} has no clips.")
    return _distinct(_row_request(path, line, row) for line, row in rows)


def from_dataset(path: Path, camera: str | None, task: str | None = None) -> list[Request]:
    """Score every episode of a LeRobot data set for its own task, or for the one that is given.

    Args:
        path: The folder.
        camera: Feature with the images; None if there is only one.
        task: The task of all episodes.

    Raises:
        InvalidDataSet: See `LeRobotEpisodes.open` and `LeRobotEpisodes.task`.
        RewardModelUnavailable: pyarrow is not installed.
    """
    try:
        from reward_models.data.lerobot_reader import LeRobotEpisodes
    except ModuleNotFoundError as error:
        raise RewardModelUnavailable(
            f"{error.name}, which reads LeRobot data sets, is not installed. "
            f"{install_advice('models,lerobot')}"
        ) from error
    episodes = LeRobotEpisodes.open(path, camera)
    return [
        Request(
            f"episode-{index:06}",
            path.as_posix(),
            episodes.task(index) if task is None else task,
            episodes.source(index),
        )
        for index in episodes.indices
    ]


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Spreadsheets mark UTF-8 with three bytes that are not part of the first column's name.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        _check_columns(path, reader.fieldnames or ())
        for row in reader:
            yield reader.line_num, row


def _jsonl_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise InvalidRequest(f"Line {number} of {path} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise InvalidRequest(f"Line {number} of {path} must be an object, not {row!r}.")
            _check_columns(path, row)
            yield number, row


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    columns = list(columns)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InvalidRequest(
            f"{path} has no column {' and no column '.join(missing)} among "
            f"{', '.join(columns) or 'none at all'}. Needed: {', '.join(NEEDED)}; optional: "
            f"{', '.join(OPTIONAL)}."
        )


def _row_request(path: Path, line: int, row: Mapping[str, Any]) -> Request:
    for name in NEEDED:
        if not isinstance(row[name], str) or not row[name].strip():
            raise InvalidRequest(f"Line {line} of {path} has no {name}: {row[name]!r}. Fill it in.")
    source = open_recording(path.parent / row["video"], _frame_rate(path, line, row.get("fps")))
    return Request(_identifier(path, line, row), row["video"], row["task"], source)


def _identifier(path: Path, line: int, row: Mapping[str, Any]) -> str:
    given = row.get("id")
    if given is None or given == "":
        return row["video"]
    if not isinstance(given, str | int):
        raise InvalidRequest(
            f"The id in line {line} of {path} must be a text or a whole number, not {given!r}."
        )
    return str(given)


def _frame_rate(path: Path, line: int, cell: object) -> float | None:
    if cell is None or cell == "":
        return None
    try:
        fps = float(cell) if isinstance(cell, str | int | float) else math.nan
    except ValueError:
        fps = math.nan
    if not (math.isfinite(fps) and fps > 0):
        raise InvalidRequest(
            f"The frames per second in line {line} of {path} must be above 0, not {cell!r}."
        )
    return fps


def _distinct(requests: Iterable[Request]) -> list[Request]:
    requests = list(requests)
    duplicates = [name for name, count in Counter(r.id for r in requests).items() if count > 1]
    if duplicates:
        raise InvalidRequest(
            f"Each id may appear once; {', '.join(map(repr, duplicates[:3]))} appears several times "
            f"({len(duplicates)} such ids). To score one video for two tasks, list both in a file with "
            "an `id` column and pass it as --clips."
        )
    return requests


def check_fps(fps: float | None) -> None:
    """Refuse a frame rate that no clip can have.

    Raises:
        InvalidClip: Not above 0.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise InvalidClip(f"--fps must be above 0, not {fps}.")
