import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.metrics import Rate
from experiments.report.results_table import (
    ABLATION,
    BEGIN,
    END,
    POLICIES,
    README,
    STUDY,
    ablation_markdown,
    markdown,
    put,
)
from experiments.results import Training, provenance, summarize
from experiments.run_folder import RunFolderError

ROOT = Path(__file__).parents[1]

PROMISED = {
    "base_success", "base_episodes", "final_success", "final_episodes", "training_episodes",
    "false_positive_rate",
}  # fmt: skip


def line(predicted: float, level: float) -> dict[str, float]:
    return {
        "episode": 0,
        "reward": (predicted - 1) / 4,
        "roboreward/level": predicted,
        "truth/level": level,
        "truth/success": float(level == 5),
    }


def test_summary_holds_what_is_promised_and_is_json() -> None:
    training = Training.from_metrics([line(5, 4), line(1, 1), line(5, 5)])
    summary = summarize(Rate(60, 200), Rate(160, 200), training)
    assert summary.keys() >= PROMISED
    assert summary["false_positive_rate"] == 0.5
    assert summary["gain_points"] == 50.0
    json.dumps(summary, allow_nan=False)


def test_hidden_truth_is_none_and_not_zero() -> None:
    hidden = Training.from_metrics([{"reward": 1.0, "roboreward/level": 5.0, "truth/level": None}])
    summary = summarize(Rate(1, 2), Rate(1, 2), hidden)
    assert summary["false_positive_rate"] is None
    assert math.isnan(hidden.success[0])
    json.dumps(summary, allow_nan=False)


def test_provenance_names_the_commit() -> None:
    where = provenance()
    assert len(where["git_commit"]) == 40 or where["git_commit"] == "unknown"
    assert where["versions"].keys() >= {"torch", "mujoco"}


CELL = {
    "task": "drawer", "reward": "nano", "learner": "best_of_n", "seeds": [0, 1], "base": [0.3, 0.2], "final": [0.9, 0.8],
    "gain": 0.6, "interval": [0.5, 0.7], "false_positive_rate": 0.015,
    "runs": [{"kept_fine_tuned": True}, {"kept_fine_tuned": True}],
}  # fmt: skip


def test_table_has_a_row_per_cell_by_task_and_gain() -> None:
    lost = {**CELL, "reward": "random", "gain": 0.0, "false_positive_rate": None, "runs": [{"kept_fine_tuned": False}, *CELL["runs"][:1]]}  # fmt: skip
    nameless = {**CELL, "reward": "checkpoint-runs-nano-model"}
    table = {
        "cells": [lost, CELL, nameless, {**CELL, "task": "a"}],
        "mae_vs_success": {"checkpoints": []},
    }
    rows = markdown(table).splitlines()[2:]
    assert len(rows) == 3
    assert rows[0].startswith("| a |")
    assert (
        rows[1]
        == "| drawer | nano | best_of_n | 2 | 25.0 % | 85.0 % | +60.0 [+50.0, +70.0] | 1.5 % |"
    )
    assert "85.0 % (base kept in 1) | +0.0" in rows[2]
    assert rows[2].endswith("| - |")


def test_a_paragraph_says_how_accuracy_and_success_go_together() -> None:
    r = {"r": 0.912, "interval": [0.5, 0.98]}
    points = [{"reward_model": name, "mae": mae} for name, mae in (("a", 0.2), ("b", 1.5), ("a", 0.2))]  # fmt: skip
    found = {"checkpoints": points, **r, "by_task": {"drawer": r}, "paper_r": 0.83}
    table = markdown({"cells": [CELL], "mae_vs_success": found})
    assert "2 reward models with an error of 0.20 to 1.50 levels" in table
    assert "drawer r = 0.91 [0.50, 0.98]. Published: r = 0.83." in table


def test_table_goes_between_the_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}old\n{END}after\n")
    put(readme, "new\n")
    assert readme.read_text() == f"before\n{BEGIN}new\n{END}after\n"
    readme.write_text("no marks")
    with pytest.raises(RunFolderError, match="one pair of the marks"):
        put(readme, "new\n")


def test_ablation_has_the_default_first_and_no_number_for_what_was_not_played() -> None:
    row = {"changed": "default", "task": "toy", "seeds": [0, 1], "after_50": None, "after_50_interval": None, "after_100": 0.84, "after_100_interval": [0.756, 0.899], "after_200": None, "after_200_interval": None}  # fmt: skip
    rows = ablation_markdown({"rows": [{**row, "changed": "1-critic"}, row]}).splitlines()[2:]
    assert rows[0] == "| toy | default | 2 | - | 84 % [76, 90] | - |"
    assert rows[1].startswith("| toy | 1-critic |")


@pytest.mark.parametrize(
    ("page", "table", "made"), [(README, STUDY, markdown), (POLICIES, ABLATION, ablation_markdown)]
)
def test_tables_of_the_pages_are_those_of_the_committed_studies(
    page: Path, table: Path, made: Callable[[dict], str]
) -> None:
    shown = made(json.loads((ROOT / table).read_text()))
    assert f"{BEGIN}{shown}{END}" in (ROOT / page).read_text()
