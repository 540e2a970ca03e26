import json
from pathlib import Path

import pytest

from experiments.run_folder import (
    RunFolder,
    RunFolderError,
    new_folder,
    read_json,
    read_lines,
    write_lines,
)

CONFIG = {"name": "toy", "seed": 0, "betas": (0.9, 0.99)}


def test_config_lies_in_the_folder(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", CONFIG, resume=False)
    assert read_json(tmp_path / "run" / "config.json")["seed"] == 0


def test_same_config_resumes(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", CONFIG, resume=False)
    RunFolder(tmp_path / "run", CONFIG, resume=True)


def test_a_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", CONFIG, resume=False)
    with pytest.raises(RunFolderError, match="--resume"):
        RunFolder(tmp_path / "run", CONFIG, resume=False)


@pytest.mark.parametrize("resume", [True, False])
def test_another_config_is_refused_with_the_difference(tmp_path: Path, resume: bool) -> None:  # noqa: FBT001
    RunFolder(tmp_path / "run", CONFIG, resume=False)
    with pytest.raises(RunFolderError, match="seed: 0, now 1"):
        RunFolder(tmp_path / "run", {**CONFIG, "seed": 1}, resume=resume)


def test_a_difference_deep_in_the_config_is_reported_alone(tmp_path: Path) -> None:
    config = {"name": "toy", "dsrl": {"gamma": 0.9, "seed": 0}}
    RunFolder(tmp_path / "run", config, resume=False)
    other = {"name": "toy", "dsrl": {"gamma": 0.8, "seed": 0}}
    with pytest.raises(RunFolderError, match=r"\(dsrl\.gamma: 0\.9, now 0\.8\)"):
        RunFolder(tmp_path / "run", other, resume=True)


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(RunFolderError, match="other files"):
        RunFolder(tmp_path, CONFIG, resume=False)


def test_resume_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no run in .* to resume"):
        RunFolder(tmp_path / "run", CONFIG, resume=True)
    assert not (tmp_path / "run").exists()


def test_corrupt_config_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"name": ')
    with pytest.raises(RunFolderError, match=r"config\.json is not JSON"):
        RunFolder(tmp_path, CONFIG, resume=True)


def test_run_time_adds_up_over_interrupted_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 60.0, 1000.0, 1030.0])
    monkeypatch.setattr("experiments.run_folder.time.monotonic", lambda: next(now))
    folder = RunFolder(tmp_path / "run", CONFIG, resume=False)
    with pytest.raises(KeyboardInterrupt), folder.timed():
        raise KeyboardInterrupt
    again = RunFolder(tmp_path / "run", CONFIG, resume=True)
    with again.timed():
        pass
    assert again.minutes == 1.5


def test_line_cut_short_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps({"a": 1}) + "\n" + '{"a": ')
    assert read_lines(path) == [{"a": 1}]


def test_line_that_is_no_json_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\nnothing\n{"a": 2}\n')
    with pytest.raises(RunFolderError, match=r"line of .*lines\.jsonl is not JSON"):
        read_lines(path)


def test_lines_that_cannot_be_written_leave_the_former_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines.jsonl"
    write_lines(path, [{"a": 1}])
    write = Path.write_text

    def killed(file: Path, text: str) -> None:
        write(file, text[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            write_lines(path, [{"a": 1}, {"a": 2}])
    assert read_lines(path) == [{"a": 1}]


def test_a_folder_whose_making_was_killed_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "config.partial").write_text('{"na')
    assert RunFolder(tmp_path, CONFIG, resume=False).minutes == 0.0


def test_a_folder_that_is_there_is_not_made_anew(tmp_path: Path) -> None:
    new_folder(tmp_path / "some" / "where")
    with pytest.raises(RunFolderError, match="is there already"):
        new_folder(tmp_path / "some" / "where")


def test_missing_lines_are_none(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "lines.jsonl") == []
