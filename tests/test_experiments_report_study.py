"""The page of a study, from a miniature study whose numbers are known."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config import task_and_reward
from experiments.phases import base_played, final_played
from experiments.played_episode import PlayedEpisode, training_path
from experiments.report.__main__ import main
from experiments.report.calibration import calibration_rows
from experiments.report.curves import (
    false_positive_rows,
    seed_interval,
    success_rows,
    together,
)
from experiments.report.losses import study_charts
from experiments.report.study_folder import Study
from experiments.report.study_table import table_rows
from experiments.run_folder import RunFolderError
from experiments.study.__main__ import write_tables
from experiments.study.runs import planned
from policies.player import EpisodeRecord
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import Clip, ProgressScore
from tests.fakes_study import made

GAINS = {"nano": 20, "clock": 2, "constant": 0}


def play(path: Path, level: float = 3.0) -> None:
    """Keep an episode that was predicted 5."""
    frames = np.full((6, 48, 64, 3), 90, np.uint8)
    record = EpisodeRecord(
        features=torch.zeros(2, 3), noise=torch.zeros(1, 4, 7), actions=torch.zeros(1, 4, 7), executed=np.array([4]),
        rewards=np.zeros(4, np.float32), terminated=False, truncated=True, seed=0,
        logged={"truth/level": level, "roboreward/level": 5.0},
    )  # fmt: skip
    score = ProgressScore(5, np.array([0, 0, 0, 0.1, 0.9]))
    PlayedEpisode(Clip(frames, "open it", 5.0), score, record, "learning").save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three rewards on one task, two seeds each: a gain, an unclear one, a base policy that was kept."""
    out = tmp_path_factory.mktemp("study")
    runs = [
        made(out, f"drawer-{reward}", seed, won, lost=2 * (reward == "clock"), kept=won > 0)
        for reward, won in GAINS.items()
        for seed in (0, 1)
    ]
    write_tables(runs, out, {})
    nano = out / "drawer-nano-seed0"
    for number in range(5, 20):
        play(training_path(nano, number))
    play(base_played(nano) / "110.npz", 2.0)  # the first start that turned to success
    play(final_played(nano) / "110.npz", 5.0)
    main(out)
    return out


@pytest.fixture(scope="module")
def text(folder: Path) -> str:
    return (folder / "report.html").read_text()


def rows_of(text: str) -> dict[str, str]:
    """Rows of the first table by their reward."""
    table = text[text.index("<tbody>") : text.index("</tbody>")]
    found = re.findall(r'<tr.*?data-name="reward">(.*?)</td>(.*?)</tr>', table, re.DOTALL)
    return dict(found[: len(GAINS) + 3])


def test_page_of_a_study_needs_no_other_file_and_no_network(text: str) -> None:
    sources = re.findall(r'(?:src|srcset|href)="([^"]{0,40})', text)
    assert len(sources) > 10
    assert all(source.startswith("data:") for source in sources)
    assert "http" not in re.sub(r'"data:[^"]*"', "", text)
    assert "<script" not in text


def test_a_gain_is_grey_where_its_interval_includes_0(text: str, folder: Path) -> None:
    rows = rows_of(text)
    assert 'class="gain">+50 [' in rows["nano"]
    cells = json.loads((folder / "study.json").read_text())["cells"]
    clock = next(cell for cell in cells if cell["reward"] == "clock")
    assert clock["interval"][0] <= 0 <= clock["interval"][1]
    assert 'class="unclear">+0 [' in rows["clock"]


def test_a_cell_whose_runs_kept_the_base_policy_says_so(text: str) -> None:
    rows = rows_of(text)
    assert "base kept" in rows["constant"]
    assert 'class="unclear"' in rows["constant"]
    assert "base kept" not in rows["nano"]


def test_published_numbers_are_marked_and_ours_are_not_among_them(text: str) -> None:
    rows = rows_of(text)
    for reward, percent in {"human": 90, "roboreward-8b": 80, "gemini-robotics-er-1.5": 45}.items():
        assert re.search(rf'class="published">{percent} %', rows[reward])
        assert "not run" in rows[reward]
    assert not re.search(r'class="published">\d', rows["nano"])


def test_csv_has_the_numbers_of_the_study(folder: Path) -> None:
    with (folder / "report_figures" / "gains.csv").open() as file:
        rows = {row["reward"]: row for row in csv.DictReader(file)}
    cells = json.loads((folder / "study.json").read_text())["cells"]
    assert len(rows) == len(cells) == 3
    for cell in cells:
        row = rows[cell["reward"]]
        numbers = [float(row[name]) for name in ("gain", "low", "high", "false_positive_rate")]
        assert numbers == [cell["gain"], *cell["interval"], cell["false_positive_rate"]]


def test_every_figure_is_also_pdf_svg_and_csv(folder: Path, text: str) -> None:
    files = list((folder / "report_figures").iterdir())
    names = {path.stem for path in files}
    of_task = {"success", "false-positives", "calibration", "losses-critic_loss"}
    assert names == {"gains", *(f"{name}-drawer" for name in of_task)}
    assert {path.name for path in files} == {
        f"{n}.{k}" for n in names for k in ("pdf", "svg", "csv")
    }
    assert text.count("<picture>") == len(names)


def test_wrongly_scored_episodes_are_shown_with_the_video_that_was_kept(text: str) -> None:
    assert "90 false positives, 0 false negatives" in text  # 15 in each of 6 runs
    assert text[text.index("Episodes that were scored") :].count("<video") == 2
    assert "drawer-nano-seed0, episode 6" in text
    assert "drawer-nano-seed0, episode 20" in text


def test_the_first_start_that_turned_to_success_is_shown_before_and_after(text: str) -> None:
    shown = text[text.index("<h2>Before and after</h2>") : text.index("Episodes that were scored")]
    assert shown.count('<figure class="card pair">') == 1
    assert "drawer-nano-seed0, start 11 of 40; 20 turned to success, 0 to failure" in shown
    assert re.findall(r"True level (\d)", shown) == ["2", "5"]
    assert shown.count("data:video/mp4") == shown.count('class="still"') == 2


def test_no_two_cells_of_a_figure_share_a_colour_and_cells_without_runs_take_no_place(
    folder: Path,
) -> None:
    cell = Study.load(folder).cells[0]
    without = dataclasses.replace(cell, runs=[])
    many = [without, *[dataclasses.replace(cell) for _ in range(5)]]
    assert [len(part) for part in together(many)] == [4, 1]
    assert [chart.name for chart in study_charts(many)][-1].endswith("-2")
    assert not study_charts([without])


def test_losses_are_means_over_seeds(folder: Path, text: str) -> None:
    assert "<h2>Losses</h2>" in text
    with (folder / "report_figures" / "losses-critic_loss-drawer.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["series"] for row in rows} == set(GAINS)
    assert {float(row["value"]) for row in rows} == {0.375}
    assert [int(row["episode"]) for row in rows if row["series"] == "nano"] == list(range(1, 21))


def test_curves_are_counts_of_the_training_episodes(folder: Path) -> None:
    nano = next(c for c in Study.load(folder).cells if c.row["reward"] == "nano")
    success = success_rows(nano)
    assert [row["value"] for row in success] == [0.5, 0.0]
    assert all(row["low"] <= row["value"] <= row["high"] for row in success)
    false = false_positive_rows(nano)
    assert [(row["false_positives"], row["failures"]) for row in false] == [(10, 10), (20, 20)]
    (bin_,) = calibration_rows(nano)
    assert (bin_["mean_probability"], bin_["success"]) == (pytest.approx(0.9), 0.25)
    assert bin_["episodes"] == 40


def test_an_interval_over_seeds_that_differ_is_wider() -> None:
    alike = [np.array([1.0, 0.0] * 5)] * 3
    apart = [np.zeros(10), np.array([1.0, 0.0] * 5), np.ones(10)]
    same, different = (high - low for low, high in map(seed_interval, (alike, apart)))
    assert 0.2 < same < 0.5
    assert different == 1.0


def test_a_study_without_its_run_folders_is_a_table(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "study.json", tmp_path)
    main(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "3 of 3 cells have no run folders here" in text
    assert {path.stem for path in (tmp_path / "report_figures").iterdir()} == {"gains"}
    main(tmp_path, runs=folder)
    assert (tmp_path / "report_figures" / "success-drawer.pdf").exists()


def test_a_cell_that_was_kept_without_its_folders_stands_beside_cells_with_curves(
    folder: Path, tmp_path: Path
) -> None:
    for run in folder.glob("drawer-nano-seed*"):
        shutil.copytree(run, tmp_path / run.name)
    shutil.copy(folder / "study.json", tmp_path)
    main(tmp_path)
    assert "2 of 3 cells have no run folders here" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report_figures" / "success-drawer.pdf").exists()


def test_checkpoints_are_in_the_figure_of_errors_and_not_among_the_named_rewards(
    folder: Path, tmp_path: Path
) -> None:
    table = json.loads((folder / "study.json").read_text())
    named = table["cells"][0]
    (run,) = planned(("drawer-checkpoint:runs/nano/model",), (0,), tmp_path, [])
    _, reward = task_and_reward(run.config.name)
    table["cells"].append({**named, "reward": reward})
    (tmp_path / "study.json").write_text(json.dumps(table))
    study = Study.load(tmp_path)
    assert len(study.cells) == len(study.compared) + 1
    assert reward not in {row["label"] for row in table_rows(study)}
    main(tmp_path)
    assert f"{named['task']}, {reward}" in (tmp_path / "report.html").read_text()


def test_missing_run_folders_and_options_in_vain_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "drawer-nano-seed0", tmp_path / "drawer-nano-seed0")
    shutil.copy(folder / "study.json", tmp_path)
    with pytest.raises(RunFolderError, match="lacks the run folders drawer-nano-seed1"):
        main(tmp_path)
    with pytest.raises(InvalidSetting, match=r"no study\.json"):
        main(tmp_path / "drawer-nano-seed0", runs=folder)
    table: dict[str, Any] = json.loads((tmp_path / "study.json").read_text())
    del table["cells"]
    (tmp_path / "study.json").write_text(json.dumps(table))
    with pytest.raises(RunFolderError, match="another version"):
        main(tmp_path)
