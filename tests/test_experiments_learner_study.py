"""The tables of a study, from run folders with known episodes."""

import json
from pathlib import Path

from experiments.learner_study import Run, StudyArgs, ablation, planned, strength


def made(folder: Path, seed: int, learned: int, *, decided: bool) -> Run:
    """40 episodes of warm-up with 10 successes, then `learned` successes, then a validation of 4 with 3."""
    training = folder / f"seed{seed}" / "training"
    training.mkdir(parents=True)
    lines = [("warm_up", i % 4 == 0) for i in range(40)] + [("learning", True)] * learned
    if decided:
        lines += [("validation", i != 0) for i in range(4)]
        (training / "decision.json").write_text(json.dumps({"improved": False}))
    text = "".join(json.dumps({"phase": p, "truth/success": float(s)}) + "\n" for p, s in lines)
    (training / "metrics.jsonl").write_text(text)
    (folder / f"seed{seed}" / "final.jsonl").write_text('{"success": false}\n')
    return Run("default", "drawer-oracle", seed, folder / f"seed{seed}")


def test_strength_counts_runs_that_are_decided_and_no_evaluation_of_another_policy(
    tmp_path: Path,
) -> None:
    runs = [made(tmp_path, 0, 60, decided=True), made(tmp_path, 1, 20, decided=False)]
    (row,) = strength(runs)["rows"]
    assert (row["task"], row["reward"], row["seeds"]) == ("drawer", "oracle", [0])
    assert (row["base"], row["after_100_episodes"]) == ([0.25], [0.75])


def test_ablation_counts_the_last_episodes_before_each_number(tmp_path: Path) -> None:
    runs = [made(tmp_path, 0, 60, decided=True), made(tmp_path, 1, 10, decided=False)]
    (row,) = ablation(runs)["rows"]
    assert row["after_50"] == (2 * 2 + 2 * 10) / 40 - (2 * 2 - 2 * 2) / 40
    assert row["after_100"] == 1.0
    assert row["after_200"] is None


def test_runs_of_a_study_have_folders_of_their_own() -> None:
    runs = planned(StudyArgs("ablation")) + planned(StudyArgs("strength"))
    of = {run.folder: (run.variant, run.experiment, run.seed) for run in runs}
    assert all(of[run.folder] == (run.variant, run.experiment, run.seed) for run in runs)
