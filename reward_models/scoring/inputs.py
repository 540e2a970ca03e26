"""What `roboreward score` is asked to score: everything about it is checked before anything is scored."""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reward_models.video.read import Footage, read_footage
from roboreward_gym.errors import InvalidClip, RoboRewardError
from roboreward_gym.types import check_task

NEEDED = ("video", "task")
OPTIONAL = ("fps", "id")


class InvalidRequest(RoboRewardError, ValueError):
    """A list of clips, or a combination of arguments, that does not say what to score."""


@dataclass(frozen=True)
class Request:
    """One film to judge.

    Attributes:
        id: Unlike that of any other request; a resumed run knows by it what is done.
        video: Where the film lies, for the reader of the scores.
        task: The command.
        read: Reads the film.
    """

    id: str
    video: str
    task: str
    read: Callable[[], Footage]


def from_videos(videos: Sequence[Path], task: str, fps: float | None) -> list[Request]:
    """Ask about the same command in each video or folder of frames.

    Raises:
        InvalidRequest: A video is named twice.
    """
    check_task(task)
    return _distinct(
        Request(video.as_posix(), video.as_posix(), task, partial(read_footage, video, fps=fps))
        for video in videos
    )


def from_table(path: Path) -> list[Request]:
    """Ask what a `.csv` or `.jsonl` file lists: columns `video` and `task`, optionally `fps` and `id`.

    Paths are relative to the file. Without `id` the path is the id.

    Raises:
        InvalidRequest: Missing columns, empty cells, doubled ids; names the lines.
    """
    if path.suffix not in {".csv", ".jsonl"}:
        raise InvalidRequest(f"Expected a .csv or .jsonl file of clips, got {path}.")
    try:
        rows = list(_csv_rows(path) if path.suffix == ".csv" else _jsonl_rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"Expected a readable list of clips, got {path}: {error}.") from error
    if not rows:
        raise InvalidRequest(f"Expected at least one clip in {path}, got none.")
    return _distinct(_row_request(path, line, row) for line, row in rows)


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Spreadsheets mark UTF-8 with three bytes that are no part of the first column's name.
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
                raise InvalidRequest(
                    f"Expected JSON in line {number} of {path}: {error}."
                ) from error
            if not isinstance(row, dict):
                raise InvalidRequest(f"Expected an object in line {number} of {path}, got {row!r}.")
            _check_columns(path, row)
            yield number, row


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    columns = list(columns)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InvalidRequest(
            f"Expected the columns {', '.join(NEEDED)} (and optionally {', '.join(OPTIONAL)}) in {path}, "
            f"got {', '.join(columns) or 'none'}: no {' and no '.join(missing)}."
        )


def _row_request(path: Path, line: int, row: Mapping[str, Any]) -> Request:
    for name in NEEDED:
        if not isinstance(row[name], str) or not row[name].strip():
            raise InvalidRequest(
                f"Expected a {name} in line {line} of {path}, got {row[name]!r}. Fill it in."
            )
    read = partial(
        read_footage, path.parent / row["video"], fps=_frame_rate(path, line, row.get("fps"))
    )
    return Request(_identifier(path, line, row), row["video"], row["task"], read)


def _identifier(path: Path, line: int, row: Mapping[str, Any]) -> str:
    given = row.get("id")
    if given is None or given == "":
        return row["video"]
    if not isinstance(given, str | int):
        raise InvalidRequest(
            f"Expected a text or a whole number as id in line {line} of {path}, got {given!r}."
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
            f"Expected frames per second above 0 in line {line} of {path}, got {cell!r}."
        )
    return fps


def _distinct(requests: Iterable[Request]) -> list[Request]:
    requests = list(requests)
    doubled = [name for name, count in Counter(r.id for r in requests).items() if count > 1]
    if doubled:
        raise InvalidRequest(
            f"Expected each id once, got {', '.join(map(repr, doubled[:3]))} several times "
            f"({len(doubled)} such ids). To ask two things about one video, list them in a file with "
            "an `id` column and pass it as --clips."
        )
    return requests


def check_fps(fps: float | None) -> None:
    """Refuse a frame rate that no clip can have.

    Raises:
        InvalidClip: Not above 0.
    """
    if fps is not None and not (math.isfinite(fps) and fps > 0):
        raise InvalidClip(f"Expected --fps above 0, got {fps}.")
