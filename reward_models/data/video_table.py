"""One's own videos: a CSV file with a row per video, or a folder with a `videos.csv` in it.

Columns: `video` (path relative to the file) and `task`; optionally `reward` (1 to 5; empty if unknown), `episode` (videos of one
episode have the same one), `subset`, `licence`, `fps`.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from reward_models.data.example import Example, InvalidExample, InvalidSource, Item, Skipped
from reward_models.data.sources import ReadOptions
from reward_models.data.video_file import video_of
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import LEVELS

NEEDED = ("video", "task")
OPTIONAL = ("reward", "episode", "subset", "licence", "fps")
TABLE = "videos.csv"
DEFAULT_SUBSET = "own"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Yield every row.

    Raises:
        InvalidSource: No such file, or columns are missing.
    """
    table = path / TABLE if path.is_dir() else path
    try:
        # Spreadsheets mark UTF-8 with three bytes that are not part of the first column's name.
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSource(
            f"{table} cannot be read as text: {error}. Write a CSV file with the columns {', '.join(NEEDED)}."
        ) from error
    reader = csv.DictReader(text.splitlines())
    columns = reader.fieldnames or ()
    needed = [c for c in NEEDED if c not in columns and not (c == "task" and options.task)]
    if needed:
        raise InvalidSource(
            f"{table} has the columns {', '.join(columns) or 'none'}: no {' and no '.join(needed)}. Needed are "
            f"{', '.join(NEEDED)}; optional are {', '.join(OPTIONAL)}."
        )
    return _rows(table, reader, options)


def _rows(table: Path, reader: "csv.DictReader[str]", options: ReadOptions) -> Iterator[Item]:
    seen: set[tuple[str, str]] = set()
    try:
        for row in reader:
            where = f"{table}:{reader.line_num}"
            key = (row.get("video") or "", row.get("task") or options.task or "")
            if key in seen:
                yield Skipped(
                    where, "duplicate_row", f"{key[0]} with the task {key[1]!r} is listed twice"
                )
                continue
            seen.add(key)
            try:
                yield _example(table, row, options)
            except RoboRewardError as error:
                yield Skipped(where, "invalid_row", str(error))
    except csv.Error as error:
        yield Skipped(f"{table}:{reader.line_num}", "unreadable_row", str(error))


def _example(table: Path, row: Mapping[str, str | None], options: ReadOptions) -> Example:
    cells = {name: (row.get(name) or "").strip() for name in (*NEEDED, *OPTIONAL)}
    if not cells["video"]:
        raise InvalidExample("the row has no video")
    video = table.parent / cells["video"]
    if not video.exists():
        raise InvalidExample(f"there is no video {cells['video']}")
    task = cells["task"] or options.task or ""
    reward = _reward(cells["reward"])
    return Example(
        video=video_of(video, _fps(cells["fps"]) or (options.fps if video.is_dir() else None)),
        task=task,
        reward=reward,
        subset=options.subset or cells["subset"] or DEFAULT_SUBSET,
        source_episode=cells["episode"] or Path(cells["video"]).with_suffix("").as_posix(),
        kind="original" if reward == LEVELS[-1] else "organic",
        original_task=task,
        licence=options.licence or cells["licence"],
    )


def _reward(cell: str) -> int | None:
    if not cell:
        return None
    number = _number(cell)
    if number not in LEVELS:
        raise InvalidExample(f"the reward {cell!r} is not one of {LEVELS}")
    return int(number)


def _fps(cell: str) -> float | None:
    if not cell:
        return None
    number = _number(cell)
    if not 0 < number <= 1000:
        raise InvalidExample(f"the frame rate {cell!r} is not in (0, 1000] Hz")
    return number


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
