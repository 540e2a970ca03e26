"""`study.json`, from run folders with known episodes."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.metrics import paired_gain
from experiments.run_folder import RunFolderError
from experiments.study.__main__ import write_tables
from experiments.study.mae import read_mae
from experiments.study.statistics import correlation, mcnemar_p, mean_interval
from experiments.study.summary import study
from tests.fakes_study import made


def test_a_cell_says_what_its_runs_gained(tmp_path: Path) -> None:
    runs = [made(tmp_path, "drawer-nano", seed, won=20, lost=2) for seed in (0, 1, 2)]
    (cell,) = study(runs)["cells"]
    assert (cell["task"], cell["reward"], cell["learner"]) == ("drawer", "nano", "best_of_n")
    assert cell["seeds"] == [0, 1, 2]
    assert (cell["base"], cell["final"]) == ([0.25] * 3, [0.7] * 3)
    assert cell["gain"] == pytest.approx(0.45)
    low, high = cell["interval"]
    assert 0.2 < low < 0.45 < high < 0.7
    assert cell["false_positive_rate"] == 1.0
    assert cell["reward_model_mae"] == pytest.approx(1.5)
    assert cell["runs"][0]["mcnemar_p"] == pytest.approx(2 * 254 / 2**22)  # 2 lost of 22: exact
    assert cell["runs"][0]["interval"][0] > 0


def test_runs_that_are_not_finished_are_counted_and_left_out(tmp_path: Path) -> None:
    run = made(tmp_path, "drawer-nano", 0, won=1)
    (tmp_path / "drawer-nano-seed0" / "result.json").unlink()
    made_of = study([run])
    assert (made_of["cells"], made_of["finished_runs"], made_of["planned_runs"]) == ([], 0, 1)


def test_learners_and_variants_are_cells_of_their_own(tmp_path: Path) -> None:
    cells = ["drawer-oracle", "drawer-oracle+sac", "drawer-oracle+1-critic"]
    runs = [made(tmp_path, cell, 0, won=5) for cell in cells]
    assert [c["learner"] for c in study(runs)["cells"]] == [
        "best_of_n",
        "sac",
        "best_of_n+1-critic",
    ]


def test_share_of_the_gain_of_the_oracle_uses_the_seeds_of_both(tmp_path: Path) -> None:
    runs = [made(tmp_path, "drawer-oracle", seed, won=20) for seed in (0, 1)]
    runs += [made(tmp_path, "drawer-nano", seed, won=15) for seed in (1, 2)]
    made_of = study(runs)
    assert made_of["share_of_oracle_gain"] == {"drawer": pytest.approx(0.75)}
    details = made_of["share_of_oracle_gain_details"]["drawer"]
    assert details["seeds"] == [1]
    assert details["interval"][0] < 0.75 < details["interval"][1] <= 1.0


def test_runs_of_one_cell_with_other_weights_are_refused(tmp_path: Path) -> None:
    runs = [made(tmp_path, "drawer-nano", seed, won=1, weights=f"w{seed}") for seed in (0, 1)]
    with pytest.raises(RunFolderError, match="reward_model_sha256: 'w0' and 'w1'"):
        study(runs)


def test_accurate_reward_models_that_teach_better_correlate_positively(tmp_path: Path) -> None:
    errors = {}
    runs = []
    for n, won in enumerate((2, 9, 14, 22, 28)):
        cell = f"drawer-checkpoint:nano/{n}"
        runs.append(made(tmp_path, cell, 0, won=won))
        file = tmp_path / f"{n}.json"
        file.write_text(json.dumps({"model": f"checkpoint:nano/{n}", "mae": 1.0 - 0.2 * n}))
        errors |= read_mae([file])
    found = study(runs, errors)["mae_vs_success"]
    assert len(found["checkpoints"]) == 5
    assert found["r"] > 0.95
    assert found["interval"][0] > 0.5
    assert found["by_task"]["drawer"]["r"] == found["r"]


def test_errors_are_about_kept_cells_too_and_about_one_learner(tmp_path: Path) -> None:
    old = [made(tmp_path / "old", f"drawer-checkpoint:{n}", 0, won=4 * n) for n in (1, 2, 3)]
    write_tables(old, tmp_path / "tables", {"checkpoint:1": 0.9, "checkpoint:2": 0.5})
    new = [made(tmp_path / "new", cell, 0, won=20) for cell in ("drawer-nano", "drawer-nano+sac")]
    errors = {"checkpoint:3": 0.4, "roboreward-nano": 0.2}
    write_tables(new, tmp_path / "tables", errors, keep=True)
    found = json.loads((tmp_path / "tables" / "study.json").read_text())["mae_vs_success"]
    points = {(point["reward_model"], point["mae"]) for point in found["checkpoints"]}
    assert points == {
        ("checkpoint:1", 0.9), ("checkpoint:2", 0.5), ("checkpoint:3", 0.4), ("roboreward-nano", 0.2),
    }  # fmt: skip
    assert len(found["checkpoints"]) == 4
    assert found["r"] > 0.9


def test_a_missing_file_of_errors_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="roboreward bench"):
        read_mae([tmp_path / "none.json"])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(RunFolderError, match="not a result of"):
        read_mae([tmp_path / "other.json"])


def test_tables_are_json_that_any_reader_takes(tmp_path: Path) -> None:
    runs = [made(tmp_path, "drawer-nano", 0, won=3)]
    write_tables(runs, tmp_path / "tables", {})
    for name in ("study", "learner_strength", "dsrl_ablation"):
        text = (tmp_path / "tables" / f"{name}.json").read_text()
        json.loads(text, parse_constant=pytest.fail)


def test_tables_keep_the_cells_of_runs_that_are_gone(tmp_path: Path) -> None:
    both = ("drawer-oracle", "drawer-nano")
    old = [made(tmp_path / "old", cell, seed, won=8) for cell in both for seed in (0, 1)]
    write_tables(old, tmp_path / "tables", {})
    new = [made(tmp_path / "new", cell, 0, won=4) for cell in ("drawer-nano", "drawer-clock")]
    write_tables(new, tmp_path / "tables", {}, keep=True)
    table = json.loads((tmp_path / "tables" / "study.json").read_text())
    seeds = {cell["reward"]: cell["seeds"] for cell in table["cells"]}
    assert seeds == {"clock": [0], "nano": [0], "oracle": [0, 1]}
    assert (table["finished_runs"], table["planned_runs"]) == (4, 4)
    assert table["share_of_oracle_gain"] == {}
    assert table["over_tasks"] == []
    ablated = json.loads((tmp_path / "tables" / "dsrl_ablation.json").read_text())
    assert [(row["task"], row["seeds"]) for row in ablated["rows"]] == [("drawer", [0, 1])]


def test_an_interval_over_few_seeds_is_wider_than_one_over_starts_alone() -> None:
    rng = np.random.default_rng(0)
    alike = (rng.random((200, 3)) < 0.5).astype(float)
    apart = np.stack([rng.random(200) < p for p in (0.2, 0.5, 0.8)], 1).astype(float)
    width = [high - low for low, high in map(mean_interval, (alike, apart))]
    assert width[1] > 3 * width[0]


def test_an_interval_depends_on_its_numbers_alone() -> None:
    values = np.random.default_rng(0).integers(-1, 2, (50, 3)).astype(float)
    first = mean_interval(values)
    drawn = np.random.random()
    assert mean_interval(values) == first
    np.random.seed(0)  # noqa: TID251 - as conftest.py does
    assert np.random.random() == drawn


def test_a_policy_that_changes_nothing_gains_nothing() -> None:
    same = [True, False] * 10
    assert paired_gain(same, same) == (0.0, (0.0, 0.0))
    assert mcnemar_p(same, same) == 1.0
    assert np.isnan(correlation([1, 1, 1], [1, 2, 3])[0])
