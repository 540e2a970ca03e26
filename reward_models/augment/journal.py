"""`audit.jsonl`: a line for every unit of work that is finished, with all that was decided; a killed run goes on after it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reward_models.data.video_file import OutputError
from reward_models.json_lines import append_row, cut_unfinished_line, parse_row, read_lines

AUDIT = "audit.jsonl"


class Journal:
    """The finished units of a run; one process at a time may write to it.

    Args:
        folder: Output folder of the run.

    Raises:
        OutputError: Another run is using the folder, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(folder / ".lock")
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputError(
                f"Another run is writing to {folder}. Wait for it, or choose another folder."
            ) from error
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror}.") from error
        self._path = folder / AUDIT
        self._lines: dict[str, dict[str, Any]] = {}
        self._load()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def lines(self) -> Mapping[str, Mapping[str, Any]]:
        """All finished units by name."""
        return self._lines

    def append(self, unit: str, line: Mapping[str, Any]) -> None:
        """Record a finished unit.

        Raises:
            OutputError: No room.
        """
        record = {"unit": unit, **line}
        try:
            append_row(self._path, record)
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be written: {error.strerror}. Make room; the same command goes on."
            ) from error
        self._lines[unit] = record

    def _load(self) -> None:
        cut_unfinished_line(self._path)  # its unit is done again
        for number, line in enumerate(read_lines(self._path)[0], start=1):
            try:
                record = parse_row(line)
                self._lines[record["unit"]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise OutputError(
                    f"Line {number} of {self._path} is damaged: {error}. Restore the file, or choose another "
                    "folder."
                ) from error
