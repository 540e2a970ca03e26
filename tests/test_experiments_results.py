import json
import math
from pathlib import Path

from experiments.metrics import Rate
from experiments.report.results_table import load_results, markdown, mean_gains
from experiments.results import Training, provenance, summarize

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


def record(config: str, seed: int, final: int) -> dict:
    training = Training.from_metrics([line(5, 4), line(1, 1), line(5, 5)])
    return {
        "config": config,
        "seed": seed,
        "reward_model": "roboreward-nano",
        "minutes": 12.3,
        "improved": final > 60,
        **summarize(Rate(60, 200), Rate(final, 200), training),
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


def test_table_has_a_row_with_its_command_per_result(tmp_path: Path) -> None:
    for seed, final in ((1, 150), (0, 140)):
        path = tmp_path / f"toy-on-towel-nano-seed{seed}.json"
        path.write_text(json.dumps(record("toy-on-towel-nano", seed, final)))
    records = load_results(tmp_path)
    rows = markdown(records).splitlines()
    assert len(rows) == 4
    assert "`python -m experiments.run toy-on-towel-nano --seed 0`" in rows[2]
    assert "70.0 % [63, 76], n = 200" in rows[2]
    assert "+40.0" in rows[2]
    lost = {**records[0], **record("drawer-random", 0, 60)}
    assert "| base policy kept | +0.0 |" in markdown([lost])
    assert mean_gains(records) == "- toy-on-towel-nano: mean gain +42.5 points over 2 seed(s)"


def test_table_without_results_is_only_a_header(tmp_path: Path) -> None:
    assert len(markdown(load_results(tmp_path)).splitlines()) == 2
