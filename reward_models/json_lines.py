"""Files of JSON objects, one per line, that programs append to: a line is there whole, or not at all.

A kill in the middle of a write leaves a part of a line at the end. Readers leave it out; whoever writes next removes it.
"""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

BLOCK = 65536
"""Bytes that are read at a time, from the end."""


def lock_beside(path: Path) -> FileLock:
    """The lock that the writers of a file share: `.NAME.lock` beside it."""
    return FileLock(path.with_name(f".{path.name}.lock"))


def append_row(path: Path, row: Mapping[str, Any], *, sync: bool = False) -> None:
    """Add a line; the caller holds the lock.

    Args:
        path: The file, made if it is missing.
        row: A JSON object.
        sync: Have it on the disk before returning.

    Raises:
        OSError: No room or no permission; the file is as it was before.
        ValueError: A number that is not finite; JSON has none.
    """
    line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
    # Unbuffered: what a full disk refused must not be written later, when the file is closed.
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while line:  # one call may write a part of it
                line = line[file.write(line) :]
            if sync:
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise


def read_lines(path: Path) -> tuple[list[bytes], bytes]:
    """The whole lines of a file, and what a kill left of one more; both empty without a file."""
    if not path.exists():
        return [], b""
    *lines, rest = path.read_bytes().split(b"\n")
    return lines, rest


def parse_row(line: bytes) -> dict[str, Any]:
    """The object in a line.

    Raises:
        ValueError: It is not a JSON object.
    """
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    return row


def without_nan(value: Any) -> Any:
    """Put null where there is nothing to average, because JSON has no NaN.

    >>> without_nan({"tau": float("nan"), "bounds": (0.5, float("nan"))})
    {'tau': None, 'bounds': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def cut_unfinished_line(path: Path) -> None:
    """Remove what a kill left of a line; the caller holds the lock. Raises OSError."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = whole = file.seek(0, os.SEEK_END)
        while whole:
            begin = max(0, whole - BLOCK)
            file.seek(begin)
            newline = file.read(whole - begin).rfind(b"\n")
            if newline >= 0:
                whole = begin + newline + 1
                break
            whole = begin
        if whole < size:
            file.truncate(whole)
