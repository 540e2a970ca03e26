"""Put the table of a study into the README: `python -m experiments.report.results_table`.

One row per cell of `study.json`, which `experiments.study` writes, between two marks of the README.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.run_folder import RunFolderError, read_json
from roboreward_gym._cli import run_program

STUDY = Path("experiments/results/study.json")
README = Path("README.md")
BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"
HEADER = ("task", "reward", "learner", "seeds", "base", "fine-tuned", "gain in points", "false positives")  # fmt: skip
UNKNOWN = "-"


def markdown(study: Mapping[str, Any]) -> str:
    """The table of `study.json`, by task and gain."""
    cells = sorted(study["cells"], key=lambda cell: (cell["task"], -cell["gain"]))
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    lines += ["| " + " | ".join(_row(cell)) + " |" for cell in cells]
    return "\n".join(lines) + "\n"


def _row(cell: Mapping[str, Any]) -> list[str]:
    low, high = (100 * end for end in cell["interval"])
    rate = cell["false_positive_rate"]
    kept = sum(run["kept_fine_tuned"] for run in cell["runs"])
    final = f"{100 * np.mean(cell['final']):.1f} %"
    return [
        cell["task"],
        cell["reward"],
        cell["learner"],
        str(len(cell["seeds"])),
        f"{100 * np.mean(cell['base']):.1f} %",
        final
        if kept == len(cell["runs"])
        else f"{final} (base kept in {len(cell['runs']) - kept})",
        f"{100 * cell['gain']:+.1f} [{low:+.1f}, {high:+.1f}]",
        UNKNOWN if rate is None else f"{100 * rate:.1f} %",
    ]


def main(study: Path = STUDY, readme: Path = README) -> None:
    """Put the table between its marks.

    Args:
        study: A `study.json`.
        readme: The file with the marks.
    """
    parts = readme.read_text(encoding="utf-8").split(BEGIN)
    if len(parts) != 2 or END not in parts[1]:
        raise RunFolderError(f"{readme} needs one pair of the marks {BEGIN!r} and {END!r}.")
    made = markdown(read_json(study))
    after = parts[1].partition(END)[2]
    readme.write_text(f"{parts[0]}{BEGIN}{made}{END}{after}", encoding="utf-8")
    print(made)


if __name__ == "__main__":
    run_program(lambda: tyro.cli(main))
