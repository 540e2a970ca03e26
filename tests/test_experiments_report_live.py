"""The page of a run that goes on."""

import json
from pathlib import Path

import pytest

from experiments.report import live
from experiments.report.live import follow, write_live
from experiments.run_folder import RunFolderError
from tests.fakes_study import STARTS, made


def unfinished(out: Path) -> Path:
    """A run that is at its training."""
    run = made(out, "drawer-nano", 0, 5).folder
    for name in ("result.json", "final.jsonl"):
        (run / name).unlink()
    return run


def test_page_of_a_run_that_goes_on_says_how_far_it_is_and_loads_itself_again(
    tmp_path: Path,
) -> None:
    run = unfinished(tmp_path)
    page = write_live(run).read_text()
    assert '<meta http-equiv="refresh" content="10">' in page
    assert f"{STARTS} of 200 evaluation episodes. Training: 20 of" in page
    assert "0 of 200 evaluation episodes" in page
    assert "<h2>Losses</h2>" in page


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path) -> None:
    run = unfinished(tmp_path)
    (run / "base.jsonl").unlink()
    (run / "training" / "metrics.jsonl").unlink()
    page = write_live(run).read_text()
    assert "Training: 0 of" in page
    assert "<h2>Losses</h2>" not in page


def test_following_ends_with_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = unfinished(tmp_path)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            (run / "result.json").write_text(json.dumps({}))

    page = follow(run, sleep).read_text()
    assert waited == [live.EVERY_S] * 2
    assert "http-equiv" not in page
    assert capsys.readouterr().out.count(str(run / "live.html")) == 2


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="There is no run"):
        write_live(tmp_path)
