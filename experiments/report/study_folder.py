"""What a page of a study is made of: `study.json`, and the run folders that it names."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report.gain import Gain
from experiments.run_folder import RunFolderError, read_json, read_lines

STUDY = "study.json"


def is_checkpoint(row: Mapping[str, Any]) -> bool:
    """Whether a row of `study.json` is about a reward model that has no name of its own, of which there are many."""
    return str(row["reward"]).startswith("checkpoint-")  # as `experiments.run` names it


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run of a cell.

    Attributes:
        folder: Its run folder.
        row: Its entry in `study.json`.
        config: Its `config.json`.
        episodes: Lines of its metrics, without those of the validation.
    """

    folder: Path
    row: Mapping[str, Any]
    config: Mapping[str, Any]
    episodes: Sequence[Mapping[str, Any]]

    def column(self, name: str) -> np.ndarray:
        """`(episodes,)` of one metric; NaN where there is none."""
        values = [episode.get(name) for episode in self.episodes]
        return np.array([math.nan if value is None else float(value) for value in values])


@dataclass(frozen=True, eq=False)
class Cell:
    """Runs of one task, reward and learner; `row` is its entry in `study.json`, `runs` is empty without the folders."""

    row: Mapping[str, Any]
    runs: Sequence[Run]

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.row["task"])

    @property
    def label(self) -> str:
        """Reward, and the learner unless it is the usual one."""
        learner = self.row["learner"]
        return str(self.row["reward"]) + ("" if learner == "best_of_n" else f", {learner}")

    @property
    def gain(self) -> Gain:
        """Its gain over the base policy."""
        low, high = self.row["interval"]
        return Gain(self.row["gain"], (low, high), [r["kept_fine_tuned"] for r in self.row["runs"]])

    def column(self, name: str) -> np.ndarray:
        """`(seeds, episodes)` of one metric, of as many episodes as every run has."""
        columns = [run.column(name) for run in self.runs]
        count = min(map(len, columns))
        return np.stack([column[:count] for column in columns])


@dataclass(frozen=True, eq=False)
class Study:
    """All of a study."""

    table: Mapping[str, Any]
    cells: Sequence[Cell]

    @classmethod
    def load(cls, folder: Path, runs: Path | None = None) -> "Study":
        """Read a study.

        Args:
            folder: Folder with `study.json`.
            runs: Folder of the run folders, if that is another one.

        Raises:
            RunFolderError: There is no study, one of another version, or some of its run folders are missing.
        """
        if not (folder / STUDY).exists():
            raise RunFolderError(
                f"There is no {STUDY} in {folder}. Write it with `python -m experiments.study`."
            )
        table = read_json(folder / STUDY)
        where = runs or folder
        try:
            cells = [_cell(row, where) for row in table["cells"]]
            names = [run["folder"] for row in table["cells"] for run in row["runs"]]
        except (KeyError, TypeError) as error:
            raise RunFolderError(
                f"{folder / STUDY} was written by another version ({error}). Write it again with "
                "`python -m experiments.study CELL… --workers 0`."
            ) from error
        missing = [
            run["folder"]
            for cell in cells
            # A cell whose runs are all gone was kept from an earlier table; one that has lost a run would show too few.
            if cell.runs
            for run in cell.row["runs"]
            if not (where / run["folder"]).is_dir()
        ]
        if missing or (runs is not None and not any(cell.runs for cell in cells)):
            raise RunFolderError(
                f"{where} lacks the run folders {', '.join(missing or names)}. Say with --runs where they are."
            )
        return cls(table, cells)

    @property
    def tasks(self) -> list[str]:
        """Names of its tasks, in their order."""
        return list(dict.fromkeys(cell.task for cell in self.cells))

    def of_task(self, task: str) -> list[Cell]:
        """Its cells of one task that are named by their reward."""
        return [cell for cell in self.compared if cell.task == task]

    @property
    def compared(self) -> list[Cell]:
        """Its cells without reward models that are there only for their accuracy."""
        return [cell for cell in self.cells if not is_checkpoint(cell.row)]


def _cell(row: Mapping[str, Any], where: Path) -> Cell:
    folders = [where / run["folder"] for run in row["runs"]]
    runs = [_run(folder, r) for folder, r in zip(folders, row["runs"], strict=True) if folder.is_dir()]  # fmt: skip
    return Cell(row, runs)


def _run(folder: Path, row: Mapping[str, Any]) -> Run:
    lines = read_lines(folder / "training" / "metrics.jsonl")
    episodes = [line for line in lines if line["phase"] != "validation"]
    return Run(folder, row, read_json(folder / "config.json"), episodes)
