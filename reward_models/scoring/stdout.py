"""Scores on stdout: a table for people, JSON lines for programs."""

import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

from tqdm import tqdm

from reward_models.scoring.log import OutputUnwritable, RowWriter

Format = Literal["table", "jsonl"]
HEADER = ("level", "mean", "P(5)")
NARROWEST = 16
"""Fewest characters for a video's name."""


def printer(format: Format, videos: Sequence[str], to: TextIO) -> RowWriter:
    """Return a function that prints a row of `score_row`.

    Args:
        format: How it looks.
        videos: The ids of all rows to come, which decide about the width of their column.
        to: Where it is printed; a progress bar on the same terminal stays below.
    """
    if format == "jsonl":
        return lambda row: _print(json.dumps(row, ensure_ascii=False, allow_nan=False), to)
    width = shutil.get_terminal_size().columns
    most = max(NARROWEST, (width - 24) // 2)
    names = min(max(map(len, ["video", *videos])), most)
    _print(_line(*HEADER, "video", "task", names, width), to)
    return lambda row: _print(table_line(row, names, width), to)


def table_line(row: Mapping[str, Any], names: int, width: int) -> str:
    """Format one row of `score_row`: `?` for what is unknown, `…` where text was cut off.

    Args:
        row: The score.
        names: Characters for the id.
        width: Characters for everything.
    """
    level = "?" if row["level"] is None else str(row["level"])
    mean = "?" if row["expected"] is None else f"{row['expected']:.2f}"
    success = "?" if row["success_probability"] is None else f"{row['success_probability']:.2f}"
    return _line(level, mean, success, row["id"], row["task"], names, width)


def _line(
    level: str, mean: str, success: str, video: str, task: str, names: int, width: int
) -> str:
    if len(video) > names:
        video = f"…{video[len(video) - names + 1 :]}"  # of a path the end tells most
    start = f"{level:>5}  {mean:>5}  {success:>5}  {video:<{names}}  "
    return start + _cut(" ".join(task.split()), max(width - len(start), 1))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _print(text: str, to: TextIO) -> None:
    try:
        tqdm.write(text, file=to)
        to.flush()
    except BrokenPipeError:  # whoever reads it has seen enough
        raise
    except OSError as error:
        raise OutputUnwritable(f"Scores cannot be written to stdout: {error.strerror}.") from error
