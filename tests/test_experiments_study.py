"""A study: its runs, its jobs, and the tables of run folders with known episodes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.study.__main__ import jobs_of, split_options
from experiments.study.jobs import Job, JobRunner
from experiments.study.learner_tables import ablation, extended, strength
from experiments.study.runs import StudyRun, planned
from roboreward_gym.errors import InvalidSetting, UnknownName


def made(folder: Path, seed: int, learned: int, *, decided: bool) -> StudyRun:
    """40 episodes of warm-up with 10 successes, then `learned` successes, then a validation of 4 with 3."""
    (run,) = planned(["drawer-oracle"], [seed], folder)
    training = run.folder / "training"
    training.mkdir(parents=True)
    lines = [("warm_up", i % 4 == 0) for i in range(40)] + [("learning", True)] * learned
    if decided:
        lines += [("validation", i != 0) for i in range(4)]
        (training / "decision.json").write_text(json.dumps({"improved": False}))
    text = "".join(json.dumps({"phase": p, "truth/success": float(s)}) + "\n" for p, s in lines)
    (training / "metrics.jsonl").write_text(text)
    (run.folder / "final.jsonl").write_text('{"success": false}\n')
    return run


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


def test_an_ablation_gets_rows_and_keeps_those_of_other_runs() -> None:
    def row(task: str, changed: str, seeds: list[int]) -> dict[str, object]:
        return {"task": task, "changed": changed, "seeds": seeds}

    old = [row("drawer", "sac", [0]), row("toy", "default", [0, 1])]
    new = [row("toy", "sac", [0]), row("drawer", "sac", [0, 1, 2])]
    rows = [row("toy", "default", [0, 1]), row("drawer", "sac", [0, 1, 2]), row("toy", "sac", [0])]
    assert extended(old, new, ("changed", "task")) == rows


def test_runs_have_folders_of_their_own_seed_by_seed(tmp_path: Path) -> None:
    cells = ["drawer-nano", "drawer-nano+sac", "drawer-checkpoint:runs/a/model"]
    runs = planned(cells, [0, 1], tmp_path, ["--final-episodes", "7"])
    assert [run.name for run in runs[:3]] == [
        "drawer-nano-seed0", "drawer-nano+sac-seed0", "drawer-checkpoint-runs-a-model-seed0",
    ]  # fmt: skip
    assert len({run.folder for run in runs}) == 6
    assert [run.config.dsrl.algorithm for run in runs[:2]] == ["best_of_n", "sac"]
    assert runs[2].config.reward_model == "checkpoint:runs/a/model"
    assert {run.config.final_episodes for run in runs} == {7}


@pytest.mark.parametrize(
    ("cell", "said"),
    [("drawer-nan", "drawer-nano"), ("drawer-nano+sacc", "Did you mean 'sac'"), ("nano", "drawer")],
)
def test_unknown_cells_suggest_the_nearest(tmp_path: Path, cell: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        planned([cell], [0], tmp_path)


def test_a_cell_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="twice"):
        planned(["drawer-nano", "drawer-nano"], [0], tmp_path)


def test_a_base_policy_is_evaluated_once_for_all_cells_of_a_task_and_seed(tmp_path: Path) -> None:
    cells = ["drawer-nano", "drawer-oracle+sac", "toy-on-towel-nano"]
    jobs = jobs_of(planned(cells, [0, 1], tmp_path), tmp_path)
    bases = [job for job in jobs if job.needs is None]
    assert len(jobs) == 6 + 4
    assert len(bases) == 4
    by_name = {job.name: job for job in jobs}
    assert by_name["drawer-nano-seed0"].needs is by_name["drawer-oracle+sac-seed0"].needs
    assert by_name["drawer-nano-seed0"].needs is not by_name["drawer-nano-seed1"].needs


def test_options_behind_two_dashes_are_for_the_runs() -> None:
    assert split_options(["a", "--seeds", "1", "--", "--final-episodes", "3"]) == (
        ["a", "--seeds", "1"],
        ["--final-episodes", "3"],
    )


def job(tmp_path: Path, name: str, code: str = "", needs: Job | None = None) -> Job:
    """A program that makes a file of its name, if its code lets it."""
    done = tmp_path / f"{name}.done"
    (tmp_path / f"job_{name}.py").write_text(f"{code}\nopen({str(done)!r}, 'w').close()\n")
    return Job(name, lambda: [f"job_{name}"], done.exists, needs)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobRunner:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return JobRunner(tmp_path / "logs", workers=2)


def test_a_job_that_fails_stops_no_other_and_is_reported(tmp_path: Path, runner: JobRunner) -> None:
    bad = job(tmp_path, "bad", "raise SystemExit('no weights')")
    jobs = [bad, job(tmp_path, "needy", needs=bad), job(tmp_path, "good")]
    failures = runner.run(jobs)
    assert [failure.job.name for failure in failures] == ["bad", "needy"]
    assert "no weights" in failures[0].reason
    assert "it needs bad, which failed" in failures[1].reason
    assert [j.finished() for j in jobs] == [False, False, True]


def test_a_job_waits_for_what_it_needs_while_others_run(tmp_path: Path, runner: JobRunner) -> None:
    first = job(tmp_path, "first")
    needy = job(tmp_path, "needy", f"assert open({str(tmp_path / 'first.done')!r})", first)
    assert runner.run([needy, first, job(tmp_path, "other")]) == []
    assert needy.finished()


def test_finished_jobs_are_not_run_again(tmp_path: Path, runner: JobRunner) -> None:
    (tmp_path / "old.done").touch()
    assert runner.run([job(tmp_path, "old", "raise SystemExit('again')")]) == []


WORKER = """
import sys, time
from pathlib import Path
from experiments.run_folder import RunFolder

out = Path(sys.argv[1])
folder = RunFolder(out / "run", {}, resume=(out / "run" / "config.json").exists())
with folder.alone(), (out / "said").open("a", buffering=1) as said:
    said.write("begin\\n")
    give_up = time.monotonic() + 120.0
    while not (out / "go").exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    said.write("end\\n")
    (out / "result").touch()
"""
PARENT = """
import sys
from pathlib import Path
from experiments.study.jobs import Job, JobRunner

out = Path(sys.argv[1])
job = Job("work", lambda: ["work_in_turn", str(out)], (out / "result").exists)
JobRunner(out / "logs", 1).run([job])
"""


def wait_for(path: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + 120.0
    while not path.exists() or text not in path.read_text():
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_study_that_is_killed_goes_on_and_no_run_is_played_by_two_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work_in_turn.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command) as killed:
        wait_for(tmp_path / "said", "begin", killed)
        killed.kill()  # its program goes on alone
    with subprocess.Popen(command) as again:
        wait_for(tmp_path / "logs" / "work.log", "Another process works on", again)
        assert (tmp_path / "said").read_text() == "begin\n"
        (tmp_path / "go").touch()
        assert again.wait(60) == 0
    assert (tmp_path / "said").read_text() == "begin\nend\n" * 2
