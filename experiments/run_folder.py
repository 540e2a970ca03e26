"""The folder of one run: its config, what its phases have finished, and how long they took."""

import json
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from roboreward_gym.errors import RoboRewardError
from robots.disk import naming


class RunFolderError(RoboRewardError, OSError):
    """A run folder that belongs to another run, or is not in the state that was asked for."""


PARTIAL = ".partial"
"""Suffix of a file that is being written; a kill may leave it behind."""


class RunFolder:
    """Opens a run folder; the same config may continue it, another one may not.

    Args:
        path: The folder; made if missing.
        config: JSON-serialisable description of the run, kept in `config.json`.
        resume: Continue what is there. Without it, a folder that holds a run is refused, so that
            no run is overwritten or mixed with another by accident.

    Raises:
        RunFolderError: The folder holds a run already, or one of another config, or there is none to resume.
    """

    def __init__(self, path: Path, config: dict[str, Any], *, resume: bool) -> None:
        self.path = path
        saved = path / "config.json"
        if saved.exists():
            self._check_same(read_json(saved), config)
            if not resume:
                raise RunFolderError(
                    f"{path} holds this run already. Add --resume to continue it, or choose another folder with --out."
                )
        elif resume:
            raise RunFolderError(
                f"There is no run in {path} to resume. Start one without --resume."
            )
        elif path.exists() and any(other.suffix != PARTIAL for other in path.iterdir()):
            raise RunFolderError(f"{path} holds other files. Choose another folder with --out.")
        path.mkdir(parents=True, exist_ok=True)
        write_json(saved, config)

    def _check_same(self, saved: Any, config: dict[str, Any]) -> None:
        config = json.loads(json.dumps(config))  # as it would be read back: tuples become lists
        if saved == config:
            return
        old, new = _flat(saved if isinstance(saved, dict) else {}), _flat(config)
        names = [k for k in sorted(old | new) if old.get(k) != new.get(k)]
        differences = "; ".join(f"{k}: {old.get(k)!r}, now {new.get(k)!r}" for k in names)
        raise RunFolderError(
            f"The run folder {self.path} was made with another config ({differences}). "
            "Use the config it was made with, or choose another folder with --out."
        )

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def alone(self) -> Generator[None]:
        """Be the only process that works on the run; another one that does so is waited for."""
        lock = FileLock(self / f"in_use{PARTIAL}")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"Another process works on {self.path}. Waiting until it ends.", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @property
    def minutes(self) -> float:
        """Wall time spent in all sessions of this run, in [min]."""
        run_time = self / "run_time.json"
        return float(read_json(run_time)["seconds"]) / 60 if run_time.exists() else 0.0

    @contextmanager
    def timed(self) -> Generator[None]:
        """Add the time spent inside to the run's time, also when it is interrupted."""
        begin = time.monotonic()
        try:
            yield
        finally:
            seconds = 60 * self.minutes + time.monotonic() - begin
            write_json(self / "run_time.json", {"seconds": round(seconds, 3)})


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their path, such as `dsrl.gamma`."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunFolderError: The file is cut short or no JSON.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise RunFolderError(
            f"{path} is not JSON ({error}). Delete the file, or start in a new folder."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that appears whole or not at all."""
    _write(path, json.dumps(value, indent=2) + "\n")


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write a JSON-lines file; a kill in this moment leaves the former one."""
    _write(path, "".join(json.dumps(row) + "\n" for row in rows))


def new_folder(path: Path) -> None:
    """Make a folder for a program that writes it as a whole.

    Raises:
        RunFolderError: There is one.
    """
    try:
        path.mkdir(parents=True)
    except FileExistsError as error:
        raise RunFolderError(
            f"{path} is there already. Delete it, or choose another --out."
        ) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; none if missing. A line cut short by a kill at the end is dropped.

    Raises:
        RunFolderError: A line before the end is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    try:
        # Only what a newline closes was written whole.
        return [json.loads(line) for line in lines[:-1] if line]
    except ValueError as error:
        raise RunFolderError(
            f"A line of {path} is not JSON ({error}). Delete the file, or start in a new folder."
        ) from error


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(PARTIAL)
    with naming(path):
        partial.write_text(text)
        partial.replace(path)
