"""The scores that `roboreward score` writes: a line each, appended, so that a killed run can go on."""

import json
import math
import sys
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from reward_models.scoring.inputs import Request
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import ProgressScore

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None

IDENTITY = ("model", "revision", "weights_sha256", "prompt_sha256")
"""Entries of a manifest that must not change within a file: else its lines cannot be compared."""


class OutputMismatch(RoboRewardError, ValueError):
    """An output file that other scores than the present ones belong to."""


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
    """Appends rows to a JSONL file, or to stdout, and knows which requests are done.

    Args:
        path: The file, made or gone on with; None for stdout.
        model: Name of the judge; a file with another one's scores is refused.

    Raises:
        OutputMismatch: The file holds scores of another judge, or is no file of scores.
        OutputUnwritable: It cannot be read and written.
    """

    def __init__(self, path: Path | None, model: str) -> None:
        self.path = path
        self.model = model
        self._tasks: dict[str, str] = {}
        self._identity: dict[str, Any] = {}
        try:
            self._file = sys.stdout if path is None else _open_to_append(path)
        except BlockingIOError as error:
            raise OutputUnwritable(
                f"Expected {path} for this run alone, got one that another run is writing to. Wait for "
                "it, or write to another file."
            ) from error
        except OSError as error:
            raise OutputUnwritable(
                f"Expected a file to write scores to, got {path}: {error.strerror}. Choose another --out."
            ) from error
        if path is not None:
            try:
                self._read(path)
            except RoboRewardError:
                self._file.close()
                raise

    def __enter__(self) -> "ScoreLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.path is not None:
            # After a failed write closing fails in the same way; the first failure is the one to tell.
            with nullcontext() if error is None else suppress(OSError):
                self._file.close()

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
                f"Expected the task {request.task!r} for {request.id!r} in {self.path}, got "
                f"{self._tasks[request.id]!r}. Write to another file, or give it another id."
            )
        return True

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; after a crash it is there whole, or is repaired away.

        Raises:
            OutputMismatch: The judge is not the one of the earlier rows, although named the same.
            OutputUnwritable: The disk is full, or gone.
        """
        self._check_identity(row["manifest"])
        line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self._file.write(line)
            self._file.flush()
        except BrokenPipeError:  # the reader of stdout has seen enough
            raise
        except OSError as error:
            raise OutputUnwritable(
                f"Expected room for one more score in {self.path or 'stdout'}, got: {error.strerror}. "
                "Finished rows stay: make room, then run the same command again."
            ) from error
        self._tasks[row["id"]] = row["task"]

    def _read(self, path: Path) -> None:
        drop_torn_line(path)
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                    model, name, task, manifest = (
                        row[key] for key in ("model", "id", "task", "manifest")
                    )
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise OutputMismatch(
                        f"Expected a score in line {number} of {path}, got {line[:80]!r}. "
                        "Write to another file."
                    ) from error
                if model != self.model:
                    raise OutputMismatch(
                        f"Expected scores of {self.model!r} in {path}, got those of {model!r} in line "
                        f"{number}. Write to another file, or pass --model {model}."
                    )
                self._check_identity(manifest)
                self._tasks[name] = task

    def _check_identity(self, manifest: Mapping[str, Any]) -> None:
        for key in IDENTITY:
            if key not in manifest:
                continue
            known = self._identity.setdefault(key, manifest[key])
            if known != manifest[key]:
                raise OutputMismatch(
                    f"Expected {key} {known!r} as in the earlier lines of {self.path}, got "
                    f"{manifest[key]!r}: the judge has changed. Write to another file."
                )


def drop_torn_line(path: Path) -> bool:
    """Cut off an unfinished last line, which a killed run leaves; says whether there was one."""
    whole = torn = 0
    with path.open("r+b") as file:
        for line in file:
            torn = 0 if line.endswith(b"\n") else len(line)
            whole += len(line) - torn
        if torn:
            file.truncate(whole)
    return bool(torn)


def _open_to_append(path: Path) -> TextIO:
    """Open for this process alone, as long as it is open; raises `BlockingIOError` if another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8")
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
    return file


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
