"""The scores that `roboreward score --out` writes: a line each, appended, so that a killed run can continue."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from reward_models.json_lines import append_row, lock_beside, parse_row, read_lines
from reward_models.scoring.inputs import Request
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import ProgressScore

IDENTITY = ("model", "revision", "weights_sha256", "prompt_sha256")
"""Entries of a manifest that must not change within a file: else its lines cannot be compared."""

COLUMNS = frozenset({"id", "video", "task", "model", "level", "text", "manifest"})
"""What every row that we wrote has; a file whose first row has not is somebody else's."""


RowWriter = Callable[[Mapping[str, Any]], None]
"""Writes one row of `score_row`."""


class OutputMismatch(RoboRewardError, ValueError):
    """An output file that this command did not write, or that holds scores of another model."""


class OutputUnwritable(RoboRewardError, OSError):
    """An output that cannot be written, or has no room for more."""


def score_row(request: Request, model: str, score: ProgressScore, **about: Any) -> dict[str, Any]:
    """Everything that is known about a score, ready for JSON: what is not a number is null."""
    p = score.probabilities
    return {
        "id": request.id,
        "video": request.video,
        "task": request.task,
        "model": model,
        "level": None if score.level is None else int(score.level),
        "probabilities": None if p is None else [float(value) for value in p],
        "expected": _finite(score.expected),
        "success_probability": _finite(score.success_probability),
        "entropy": _finite(score.entropy),
        "off_format": float(score.off_format),
        "text": score.text,
        **about,
        "manifest": dict(score.manifest),
    }


class ScoreLog:
    """Appends rows to a JSONL file, and knows which requests are done.

    A file that we did not write is never changed. While the log is open, `.NAME.lock` beside it keeps
    other runs away.

    Args:
        path: The file, made or continued.
        model: Name of the reward model; a file with another one's scores is refused.

    Raises:
        OutputMismatch: The file holds scores of another model, or is not a file of scores.
        OutputUnwritable: It cannot be read and written, or another run writes to it.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path = path
        self.model = model
        self._tasks: dict[str, str] = {}
        self._identity: dict[str, Any] = {}
        if path.exists() and not path.is_file():  # a folder, or a device, which may never end
            raise OutputUnwritable(
                f"Scores cannot be written to {path}, which is not a regular file. Choose another --out, or "
                "leave it out to write to stdout."
            )
        self._lock = lock_beside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise OutputUnwritable(
                f"Another run is writing to {path}. Wait for it, or choose another --out."
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._read()
            path.open("ab").close()  # can it be written?
        except OSError as error:
            self._lock.release()
            raise self._unwritable(error) from error
        except RoboRewardError:
            self._lock.release()
            raise

    def __enter__(self) -> "ScoreLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __len__(self) -> int:
        return len(self._tasks)

    def has(self, request: Request) -> bool:
        """Whether the request was answered in an earlier run.

        Raises:
            OutputMismatch: Its id was, with another task.
        """
        if request.id not in self._tasks:
            return False
        if self._tasks[request.id] != request.task:
            raise OutputMismatch(
                f"{self.path} has a score of {request.id!r} for the task {self._tasks[request.id]!r}, "
                f"not for {request.task!r}. Choose another --out, or give it another id."
            )
        return True

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; after a crash it is there whole, or is repaired away.

        Raises:
            OutputMismatch: The model is not the one of the earlier rows, although named the same.
            OutputUnwritable: The disk is full, or gone.
        """
        self._check_identity(row["manifest"])
        try:
            append_row(self.path, row)
        except OSError as error:
            raise OutputUnwritable(
                f"There is no room for one more score in {self.path}: {error.strerror}. "
                "Finished rows stay: make room, then run the same command again."
            ) from error
        self._tasks[row["id"]] = row["task"]

    def _unwritable(self, error: OSError) -> OutputUnwritable:
        return OutputUnwritable(
            f"Scores cannot be written to {self.path}: {error.strerror}. Choose another --out."
        )

    def _read(self) -> None:
        """Read what earlier runs wrote, and repair its last line; raises before anything is changed."""
        lines, last = read_lines(self.path)
        for number, line in enumerate(lines, start=1):
            row = _parse(line)
            if row is None:
                raise self._not_ours(number, line)
            self._remember(row, number)
        row = _parse(last)
        if row is not None:  # whole but for the end of the line, as editors leave it
            self._remember(row, len(lines) + 1)
            with self.path.open("ab") as file:
                file.write(b"\n")
        elif last:
            # Only a line that begins as ours do, in a file whose first row is ours, was cut by a kill.
            start = b'{"id": "'
            if not lines or not (last.startswith(start) or start.startswith(last)):
                raise self._not_ours(len(lines) + 1, last)
            with self.path.open("r+b") as file:
                file.truncate(sum(len(line) + 1 for line in lines))

    def _not_ours(self, number: int, line: bytes) -> OutputMismatch:
        text = line[:80].decode("utf-8", errors="replace")
        return OutputMismatch(
            f"{self.path} is not a file of scores: line {number} is {text!r}. It was left as it is. "
            "Choose another --out."
        )

    def _remember(self, row: Mapping[str, Any], number: int) -> None:
        if row["model"] != self.model:
            raise OutputMismatch(
                f"{self.path} holds scores of {row['model']!r} (line {number}), not of {self.model!r}. "
                f"Choose another --out, or pass --model {row['model']}."
            )
        self._check_identity(row["manifest"])
        self._tasks[row["id"]] = row["task"]

    def _check_identity(self, manifest: Mapping[str, Any]) -> None:
        for key in IDENTITY:
            if key not in manifest:
                continue
            known = self._identity.setdefault(key, manifest[key])
            if known != manifest[key]:
                raise OutputMismatch(
                    f"The model has changed: {key} is {manifest[key]!r}, and {known!r} in the earlier "
                    f"lines of {self.path}. Choose another --out."
                )


def _parse(line: bytes) -> dict[str, Any] | None:
    """One of our rows, or None."""
    try:
        row = parse_row(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    if not row.keys() >= COLUMNS:
        return None
    texts = all(isinstance(row[key], str) for key in ("id", "task", "model"))
    return row if texts and isinstance(row["manifest"], dict) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
