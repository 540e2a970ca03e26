"""A file of JSON lines that several processes append to, and that a kill in the middle of a line does not spoil."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from roboreward_gym.errors import RoboRewardError


class LabelFileError(RoboRewardError, OSError):
    """A file of a labelling folder that cannot be read or written."""


class JsonLines:
    """A file of JSON objects, one per line, read again whenever it has changed.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._seen: tuple[int, int] | None = None
        self._rows: list[dict[str, Any]] = []

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line and have it on disk before returning.

        Raises:
            LabelFileError: No room or no permission; the file is as it was before.
        """
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        try:
            with self._lock, self.path.open("ab+") as file:
                start = _cut_unfinished_line(file)
                try:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(start)
                    raise
        except OSError as error:
            raise LabelFileError(
                f"{self.path} cannot be written: {error.strerror}. Make room or set its permissions, then go on; what was "
                "saved before is still there."
            ) from error

    def rows(self) -> list[dict[str, Any]]:
        """Return all lines, in order; an unfinished last line is none.

        Raises:
            LabelFileError: A line is no JSON object, for example after an edit by hand.
        """
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return []
        if self._seen != (seen := (state.st_mtime_ns, state.st_size)):
            *lines, _ = self.path.read_bytes().split(b"\n")
            self._rows = [self._parse(line, number) for number, line in enumerate(lines, 1) if line]
            self._seen = seen
        return self._rows

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise self.bad_line(number, str(error)) from error
        if not isinstance(row, dict):
            raise self.bad_line(number, "it is no JSON object")
        return row

    def bad_line(self, number: int, why: str) -> LabelFileError:
        """What to raise about a line that makes no sense."""
        return LabelFileError(
            f"Line {number} of {self.path} cannot be read: {why}. Correct or remove the line; nothing was changed."
        )


def _cut_unfinished_line(file: Any) -> int:
    """Remove what a killed process left of a line, and return the size of the file."""
    size = file.seek(0, os.SEEK_END)
    while size:
        begin = max(0, size - 65536)
        file.seek(begin)
        newline = file.read(size - begin).rfind(b"\n")
        if newline >= 0:
            size = begin + newline + 1
            break
        size = begin
    file.truncate(size)
    file.seek(0, os.SEEK_END)
    return size
