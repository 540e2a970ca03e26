"""Print the README's results table from `experiments/results/*.json`, with the command of each row.

python -m experiments.report.results_table
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from experiments.metrics import UNKNOWN
from experiments.results import RESULTS
from experiments.run_folder import RunFolderError, read_json
from roboreward_gym._cli import run_program

HEADER = (
    "config", "seed", "reward", "base", "fine-tuned", "gain", "false positives", "minutes", "command",
)  # fmt: skip


def load_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All result files, by config and seed."""
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is no folder of result files. Pass another.")
    records = [read_json(path) for path in folder.glob("*-seed*.json")]
    return sorted(records, key=lambda record: (record["config"], record["seed"]))


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """The table, one row per run and one per config that has several seeds."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + " --- |" * len(HEADER)]
    lines += ["| " + " | ".join(_row(record)) + " |" for record in records]
    return "\n".join(lines)


def mean_gains(records: Sequence[Mapping[str, Any]]) -> str:
    """One line per config with the mean gain over its seeds."""
    gains: dict[str, list[float]] = {}
    for record in records:
        if record["gain_points"] is not None:
            gains.setdefault(record["config"], []).append(record["gain_points"])
    return "\n".join(
        f"- {config}: mean gain {sum(points) / len(points):+.1f} points over {len(points)} seed(s)"
        for config, points in gains.items()
    )


def _row(record: Mapping[str, Any]) -> list[str]:
    rate = record["false_positive_rate"]
    return [
        record["config"],
        str(record["seed"]),
        record["reward_model"],
        _success(record, "base"),
        _success(record, "final") if record["improved"] else "base policy kept",
        UNKNOWN if record["gain_points"] is None else f"{record['gain_points']:+.1f}",
        "-" if rate is None else f"{100 * rate:.1f} %",
        f"{record['minutes']:.0f}",
        f"`python -m experiments.run {record['config']} --seed {record['seed']}`",
    ]


def _success(record: Mapping[str, Any], phase: str) -> str:
    if record[f"{phase}_success"] is None:
        return UNKNOWN
    low, high = record[f"{phase}_interval"]
    value = 100 * record[f"{phase}_success"]
    return f"{value:.1f} % [{100 * low:.0f}, {100 * high:.0f}], n = {record[f'{phase}_episodes']}"


def main(results: Path = RESULTS) -> None:
    """Print the table and the mean gains.

    Args:
        results: Folder of the result files.
    """
    records = load_results(results)
    print(markdown(records))
    print()
    print(mean_gains(records))


if __name__ == "__main__":
    run_program(lambda: tyro.cli(main))
