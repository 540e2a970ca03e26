"""A file of JSON lines that several processes append to, read again whenever it has changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reward_models.json_lines import (
    append_row,
    cut_unfinished_line,
    lock_beside,
    parse_row,
    read_lines,
)
from roboreward_gym.errors import RoboRewardError


class LabelFileError(RoboRewardError, OSError):
    """A file of a labelling folder that cannot be read or written."""


class JsonLines:
    """A file of JSON objects, one per line.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = lock_beside(path)
        self._seen: tuple[int, int] | None = None
        self._rows: list[dict[str, Any]] = []

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line and have it on disk before returning.

        Raises:
            LabelFileError: No room or no permission; the file is as it was before.
        """
        try:
            with self._lock:
                cut_unfinished_line(self.path)
                append_row(self.path, row, sync=True)
        except OSError as error:
            raise LabelFileError(
                f"{self.path} cannot be written: {error.strerror}. Make room or set its permissions, then go on; what was "
                "saved before is still there."
            ) from error

    def rows(self) -> list[dict[str, Any]]:
        """Return all lines, in order; an unfinished last line does not count.

        Raises:
            LabelFileError: A line is not a JSON object, for example after an edit by hand.
        """
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return []
        if self._seen != (seen := (state.st_mtime_ns, state.st_size)):
            lines, _ = read_lines(self.path)
            self._rows = [self._parse(line, number) for number, line in enumerate(lines, 1) if line]
            self._seen = seen
        return self._rows

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return parse_row(line)
        except ValueError as error:
            raise self.bad_line(number, str(error)) from error

    def bad_line(self, number: int, why: str) -> LabelFileError:
        """What to raise about a line that makes no sense."""
        return LabelFileError(
            f"Line {number} of {self.path} cannot be read: {why}. Correct or remove the line; nothing was changed."
        )
