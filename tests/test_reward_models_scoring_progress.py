"""`roboreward score --progress`: progress over time in the rows and in the overlay."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.commands import main as cli
from reward_models.scoring.overlay import BAR, FAINT, PANEL_HEIGHT, PLOT_HEIGHT, draw_plot
from reward_models.scoring.progress import prefixes
from reward_models.video.read import open_recording
from roboreward_gym import Clip, ProgressScore, RewardModelFailure
from roboreward_gym import registry as registry_module
from tests.video_files import flat_frames, write_video

MODEL = "length-model"


class LengthModel:
    """Level 5 for a clip of ten frames or more, else 1; fails on clips of `broken` frames."""

    def __init__(self, broken: int) -> None:
        self.broken = broken
        self.calls: list[list[int]] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.calls.append([len(clip.frames) for clip in clips])
        if self.broken in self.calls[-1]:
            raise RewardModelFailure("There was no answer.")
        return [ProgressScore(5 if len(clip.frames) >= 10 else 1) for clip in clips]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[LengthModel]:
    model = LengthModel(broken=-1)
    monkeypatch.setitem(registry_module._factories, MODEL, lambda: model)
    registry_module._loaded.pop(MODEL, None)
    yield model
    registry_module._loaded.pop(MODEL, None)


def run(tmp_path: Path, *arguments: object) -> list[dict[str, Any]]:
    """Score a video of 13 frames at 5 Hz."""
    video = write_video(tmp_path / "a.mp4", flat_frames(13), fps=5)
    out = tmp_path / "out.jsonl"
    given = [video, "--task", "open it", "--out", out, "--model", MODEL, *arguments]
    assert cli.main(["score", *map(str, given)]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_prefixes_and_the_clip_are_evenly_spread() -> None:
    clip = Clip(np.zeros((41, 8, 8, 3), np.uint8), "open it", 5.0)
    assert [len(p.frames) for p in prefixes(clip, 4)] == [11, 21, 31]
    assert [len(p.frames) for p in prefixes(Clip(clip.frames[:3], "open it", 5.0), 10)] == [2]
    assert prefixes(clip, 0) == []


def test_prefixes_of_a_thinned_recording_keep_its_times() -> None:
    indices = np.array([0, 10, 15, 20, 40])
    clip = Clip(np.zeros((5, 8, 8, 3), np.uint8), "open it", 5.0, indices, 41)
    found = prefixes(clip, 4)
    assert [p.num_frames for p in found] == [11, 16, 21]
    assert [[*map(int, p.indices if p.indices is not None else ())] for p in found] == [
        [0, 10],
        [0, 10, 15],
        [0, 10, 15, 20],
    ]


def test_a_row_has_progress_over_time_scored_in_one_call(
    tmp_path: Path, model: LengthModel
) -> None:
    (row,) = run(tmp_path, "--progress", 4)
    assert model.calls == [[4, 7, 10, 13]]
    assert row["progress"] == [[0.6, 0.0], [1.2, 0.0], [1.8, 1.0], [2.4, 1.0]]
    assert row["level"] == 5


def test_a_moment_without_a_score_is_null_and_costs_the_recording_nothing(
    tmp_path: Path, model: LengthModel
) -> None:
    model.broken = 7
    (row,) = run(tmp_path, "--progress", 4)
    assert [value for _, value in row["progress"]] == [0.0, None, 1.0, 1.0]
    assert row["level"] == 5


@pytest.mark.usefixtures("model")
def test_without_the_option_there_is_no_progress(tmp_path: Path) -> None:
    (row,) = run(tmp_path)
    assert "progress" not in row


@pytest.mark.usefixtures("model")
def test_the_overlay_has_a_plot_below_the_score(tmp_path: Path) -> None:
    run(tmp_path, "--progress", 4, "--overlay", tmp_path / "drawn")
    (path,) = (tmp_path / "drawn").iterdir()
    drawn = open_recording(path).read().frames
    height = open_recording(tmp_path / "a.mp4").read().frames.shape[1]
    width = open_recording(tmp_path / "a.mp4").read().frames.shape[2]
    scale = -(-320 // width)
    assert drawn.shape[:2] == (13, height * scale + PANEL_HEIGHT + PLOT_HEIGHT)
    assert not np.array_equal(drawn[0, -PLOT_HEIGHT:], drawn[-1, -PLOT_HEIGHT:])


def pixels(plot: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((plot == colour).all(-1).sum())


def test_a_plot_shows_what_is_known_so_far() -> None:
    points = [(1.0, 0.25), (2.0, None), (3.0, 0.75), (4.0, 1.0)]
    early, late = (draw_plot(320, points, now) for now in (1.5, 4.0))
    assert early.shape == late.shape == (PLOT_HEIGHT, 320, 3)
    assert 0 < pixels(early, BAR) < pixels(late, BAR)
    assert pixels(late, FAINT) < pixels(early, FAINT)


def test_one_moment_makes_no_curve(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "a.mp4", "--task", "x", "--progress", "1", "--model", MODEL]) == 1
    assert "--progress needs two moments or more" in capsys.readouterr().err
