"""Put the tables of studies into the pages: `python -m experiments.report.results_table`.

Between the marks of the README: one row per cell of `study.json`. Between those of docs/policies.md: one per row of
`dsrl_ablation.json`. `experiments.study` writes both files.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.report.comparisons import correlation_words
from experiments.report.study_folder import is_checkpoint
from experiments.run_folder import RunFolderError, read_json
from roboreward_gym._cli import run_program

STUDY = Path("experiments/results/study.json")
README = Path("README.md")
ABLATION = Path("experiments/results/dsrl_ablation.json")
POLICIES = Path("docs/policies.md")
BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"
HEADER = ("task", "reward", "learner", "seeds", "base", "fine-tuned", "gain in points", "false positives")  # fmt: skip
UNKNOWN = "-"


def markdown(study: Mapping[str, Any]) -> str:
    """The table of `study.json`, by task and gain, and what it says of reward models of different accuracy."""
    named = [cell for cell in study["cells"] if not is_checkpoint(cell)]
    cells = sorted(named, key=lambda cell: (cell["task"], -cell["gain"]))
    return _table(HEADER, [_row(cell) for cell in cells]) + _accuracy(study["mae_vs_success"])


def _accuracy(found: Mapping[str, Any]) -> str:
    """A paragraph, or nothing where nothing was measured."""
    models = {point["reward_model"]: point["mae"] for point in found["checkpoints"]}
    if not models:
        return ""
    low, high = min(models.values()), max(models.values())
    return (
        f"\n{len(models)} reward models with an error of {low:.2f} to {high:.2f} levels on held-out clips, checkpoints of nano among "
        f"them, taught policies as well. {correlation_words(found)}\n"
    )


def ablation_markdown(table: Mapping[str, Any]) -> str:
    """The table of `dsrl_ablation.json`, by task, the default first."""
    rows = sorted(table["rows"], key=lambda row: (row["task"], row["changed"] != "default"))
    counts = (50, 100, 200)
    header = ("task", "changed", "seeds", *(f"after {count} episodes" for count in counts))
    return _table(
        header,
        [
            [
                row["task"],
                row["changed"],
                str(len(row["seeds"])),
                *(_share(row, f"after_{count}") for count in counts),
            ]
            for row in rows
        ],
    )


def _share(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None:
        return UNKNOWN
    low, high = (100 * end for end in row[f"{name}_interval"])
    return f"{100 * row[name]:.0f} % [{low:.0f}, {high:.0f}]"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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


def put(page: Path, table: str) -> None:
    """Put a table between the marks of a page.

    Raises:
        RunFolderError: It has not one pair of marks.
    """
    parts = page.read_text(encoding="utf-8").split(BEGIN)
    if len(parts) != 2 or END not in parts[1]:
        raise RunFolderError(f"{page} needs one pair of the marks {BEGIN!r} and {END!r}.")
    after = parts[1].partition(END)[2]
    page.write_text(f"{parts[0]}{BEGIN}{table}{END}{after}", encoding="utf-8")
    print(table)


def main() -> None:
    """Put both tables where they belong."""
    put(README, markdown(read_json(STUDY)))
    put(POLICIES, ablation_markdown(read_json(ABLATION)))


if __name__ == "__main__":
    run_program(lambda: tyro.cli(main, description=__doc__))
