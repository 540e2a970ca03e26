"""`roboreward score`: each film exactly once, whatever happens, and never a made-up score."""

import errno
import io
import json
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest

from reward_models.commands import main as cli
from reward_models.scoring import log as score_log
from reward_models.scoring.log import drop_torn_line
from roboreward_gym import Clip, ProgressScore
from roboreward_gym import registry as registry_module
from roboreward_gym.errors import InvalidClip, RewardModelFailure
from tests.video_files import flat_frames, write_video

ROOT = Path(__file__).resolve().parents[1]
JUDGE = "length-judge"
FAILURES = 5


class LengthJudge:
    """The level is the number of frames, capped at 5: so a score tells which film it belongs to."""

    def __init__(self, weights: str = "w1") -> None:
        self.weights = weights
        self.batches: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.batches.append(len(clips))
        return [self.judge(clip) for clip in clips]

    def judge(self, clip: Clip) -> ProgressScore:
        if "unspeakable" in clip.task:
            raise InvalidClip("Expected a plain command, got an unspeakable one.")
        level = None if "mumble" in clip.task else min(len(clip.frames), 5)
        manifest = {"model": JUDGE, "weights_sha256": self.weights}
        return ProgressScore(level, text=f"{len(clip.frames)} frames", manifest=manifest)


class BrokenJudge:
    """Fails on every film."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.asked += 1
        raise RewardModelFailure("Expected an answer, got none.")


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> LengthJudge:
    return offer(monkeypatch, LengthJudge())


def offer(monkeypatch: pytest.MonkeyPatch, model: Any) -> Any:
    monkeypatch.setitem(registry_module._factories, JUDGE, lambda: model)
    monkeypatch.delitem(registry_module._loaded, JUDGE, raising=False)
    return model


@pytest.fixture(autouse=True)
def forget_the_judge() -> Iterator[None]:
    yield
    registry_module._loaded.pop(JUDGE, None)


def score(*arguments: object) -> int:
    return cli.main(["score", *map(str, arguments), "--model", JUDGE])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def films(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [
        write_video(folder / f"{i:03}.avi", flat_frames(2 + i % 4), codec="mpeg4")
        for i in range(count)
    ]


@pytest.mark.usefixtures("judge")
def test_a_line_per_video_holds_all_that_is_known(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", flat_frames(4), fps=5)
    out = tmp_path / "scores" / "a.jsonl"
    assert score(video, "--task", "open the drawer", "--out", out) == 0
    assert rows(out) == [
        {
            "id": str(video),
            "video": str(video),
            "task": "open the drawer",
            "model": JUDGE,
            "level": 4,
            "probabilities": None,
            "expected": 4.0,
            "success_probability": 0.0,
            "entropy": None,
            "off_format": 0.0,
            "text": "4 frames",
            "fps": 5.0,
            "frames": 4,
            "frames_total": 4,
            "manifest": {"model": JUDGE, "weights_sha256": "w1"},
        }
    ]


@pytest.mark.usefixtures("judge")
def test_without_a_file_the_scores_go_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*films(tmp_path, 2), "--task", "x") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["level"] for line in lines] == [2, 3]


@pytest.mark.usefixtures("judge")
def test_an_unreadable_answer_is_null_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.jsonl"
    assert score(*films(tmp_path, 1), "--task", "mumble", "--out", out) == 0
    assert {rows(out)[0][key] for key in ("level", "expected", "entropy")} == {None}
    assert "1 of them unreadable (level null)" in capsys.readouterr().err


def test_films_are_asked_about_in_batches(tmp_path: Path, judge: LengthJudge) -> None:
    assert score(*films(tmp_path, 7), "--task", "x", "--batch-size", 3) == 0
    assert judge.batches == [3, 3, 1]


@pytest.mark.usefixtures("judge")
def test_broken_files_are_reported_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = films(tmp_path, 3)
    (tmp_path / "empty.mp4").touch()
    out = tmp_path / "o.jsonl"
    status = score(
        good[0],
        tmp_path / "empty.mp4",
        good[1],
        tmp_path / "nope.mp4",
        good[2],
        *("--task", "x", "--out", out),
    )
    assert status == 1
    assert [row["id"] for row in rows(out)] == [str(path) for path in good]
    err = capsys.readouterr().err
    assert "empty.mp4: Expected a readable video" in err
    assert "nope.mp4: Expected a video or a folder" in err
    assert "3 scored, 2 failed, see above." in err


@pytest.mark.usefixtures("judge")
def test_a_clip_that_the_judge_refuses_costs_only_itself(tmp_path: Path) -> None:
    films(tmp_path, 3)
    table = tmp_path / "clips.csv"
    table.write_text("video,task\n000.avi,x\n001.avi,unspeakable\n002.avi,y\n")
    out = tmp_path / "o.jsonl"
    assert score("--clips", table, "--out", out) == 1
    assert [row["id"] for row in rows(out)] == ["000.avi", "002.avi"]


def test_what_a_judge_prints_is_not_among_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Chatty(LengthJudge):
        def __init__(self) -> None:
            super().__init__()
            sys.stdout.write("loading\n")

        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            sys.stdout.write("looking\n")
            return super().score(clips)

    monkeypatch.setitem(registry_module._factories, JUDGE, Chatty)
    assert score(*films(tmp_path, 2), "--task", "x") == 0
    said = capsys.readouterr()
    assert [json.loads(line)["level"] for line in said.out.splitlines()] == [2, 3]
    assert "loading" in said.err
    assert "looking" in said.err


def test_a_judge_out_of_order_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = offer(monkeypatch, BrokenJudge())
    out = tmp_path / "o.jsonl"
    assert score(*films(tmp_path, 20), "--task", "x", "--out", out, "--batch-size", 1) == 1
    assert broken.asked == FAILURES
    assert out.read_text() == ""
    assert "roboreward score: Expected an answer, got none." in capsys.readouterr().err


RUN_AND_HANG = """
import sys, time
from tests.test_reward_models_score_videos import JUDGE, LengthJudge
from reward_models.commands import main as cli
from roboreward_gym.registry import register_reward_model

class Hanging(LengthJudge):
    def score(self, clips):
        if sum(self.batches) >= 96:
            time.sleep(600)
        return super().score(clips)

register_reward_model(JUDGE, Hanging)
cli.main(sys.argv[1:])
"""


@pytest.mark.usefixtures("judge")
def test_200_videos_killed_half_way_and_resumed_give_each_exactly_once(tmp_path: Path) -> None:
    videos = films(tmp_path / "films", 200)
    out = tmp_path / "o.jsonl"
    arguments = ["score", *map(str, videos), "--task", "x", "--model", JUDGE, "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-c", RUN_AND_HANG, *arguments], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as process:
        while not (out.exists() and out.read_bytes().count(b"\n") >= 96):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    before = out.read_bytes()
    assert before.count(b"\n") == 96
    out.write_bytes(before + b'{"id": "films/torn", "lev')  # what a kill amid a write leaves

    assert cli.main(arguments) == 0
    assert out.read_bytes().startswith(before)
    assert [row["id"] for row in rows(out)] == [str(path) for path in videos]
    assert [row["level"] for row in rows(out)] == [2 + i % 4 for i in range(200)]


def test_a_finished_run_asks_and_writes_nothing(tmp_path: Path, judge: LengthJudge) -> None:
    videos = films(tmp_path, 3)
    out = tmp_path / "o.jsonl"
    score(*videos, "--task", "x", "--out", out)
    written, asked = out.read_bytes(), len(judge.batches)
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert out.read_bytes() == written
    assert len(judge.batches) == asked


@pytest.mark.usefixtures("judge")
def test_a_full_disk_stops_the_run_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class FullAfterOne(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    def open_small(path: Path) -> TextIO:
        return io.TextIOWrapper(io.BufferedWriter(FullAfterOne(path, "a")), encoding="utf-8")

    monkeypatch.setattr(score_log, "_open_to_append", open_small)
    out = tmp_path / "o.jsonl"
    assert score(*films(tmp_path, 3), "--task", "x", "--out", out) == 1
    assert "room for one more score in" in capsys.readouterr().err
    assert len(rows(out)) == 1
    monkeypatch.undo()


@pytest.mark.usefixtures("judge")
def test_two_runs_never_write_to_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = films(tmp_path, 2), tmp_path / "o.jsonl"
    with score_log.ScoreLog(out, JUDGE):
        out.write_text('{"half a li')  # what the other run is writing just now
        assert score(*videos, "--task", "x", "--out", out) == 1
        assert "another run is writing to" in capsys.readouterr().err
        assert out.read_text() == '{"half a li'
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert len(rows(out)) == 2


@pytest.mark.usefixtures("judge")
def test_an_output_that_is_no_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*films(tmp_path, 1), "--task", "x", "--out", tmp_path) == 1
    assert f"got {tmp_path}: Is a directory. Choose another --out" in capsys.readouterr().err
    picture = tmp_path / "o.png"
    picture.write_bytes(b"\x89PNG\xff\n")
    assert score(*films(tmp_path, 1), "--task", "x", "--out", picture) == 1
    assert "Expected a score in line 1" in capsys.readouterr().err
    assert picture.read_bytes() == b"\x89PNG\xff\n"


@pytest.mark.usefixtures("judge")
def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    out, late = tmp_path / "o.jsonl", tmp_path / "late.avi"
    videos = [*films(tmp_path, 1), late]
    assert score(*videos, "--task", "x", "--out", out) == 1
    write_video(late, flat_frames(5), codec="mpeg4")
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert [row["level"] for row in rows(out)] == [2, 5]


@pytest.mark.usefixtures("judge")
def test_the_file_of_another_judge_is_refused_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = films(tmp_path, 2), tmp_path / "o.jsonl"
    score(videos[0], "--task", "x", "--out", out)
    out.write_text(out.read_text().replace(f'"model": "{JUDGE}"', '"model": "other"'))
    before = out.read_bytes()
    assert score(*videos, "--task", "x", "--out", out) == 1
    assert out.read_bytes() == before
    err = capsys.readouterr().err
    assert f"Expected scores of '{JUDGE}'" in err
    assert "got those of 'other' in line 1" in err


def test_other_weights_under_the_same_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = films(tmp_path, 2), tmp_path / "o.jsonl"
    offer(monkeypatch, LengthJudge("w1"))
    score(videos[0], "--task", "x", "--out", out)
    offer(monkeypatch, LengthJudge("w2"))
    assert score(*videos, "--task", "x", "--out", out) == 1
    assert len(rows(out)) == 1
    assert "Expected weights_sha256 'w1'" in capsys.readouterr().err


@pytest.mark.usefixtures("judge")
def test_another_task_for_the_same_id_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, out = films(tmp_path, 1)[0], tmp_path / "o.jsonl"
    score(video, "--task", "x", "--out", out)
    assert score(video, "--task", "y", "--out", out) == 1
    assert "Expected the task 'y'" in capsys.readouterr().err


@pytest.mark.usefixtures("judge")
def test_a_file_that_holds_no_scores_is_refused_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("my notes\n")
    assert score(*films(tmp_path, 1), "--task", "x", "--out", out) == 1
    assert out.read_text() == "my notes\n"
    assert "Expected a score in line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "kept"),
    [(b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"torn", b"")],
)
def test_only_a_torn_last_line_is_cut_off(tmp_path: Path, content: bytes, kept: bytes) -> None:
    path = tmp_path / "o.jsonl"
    path.write_bytes(content)
    assert drop_torn_line(path) is (content != kept)
    assert path.read_bytes() == kept


@pytest.mark.usefixtures("judge")
def test_a_csv_names_videos_tasks_rates_and_ids(tmp_path: Path) -> None:
    films(tmp_path, 3)
    table = tmp_path / "clips.csv"
    table.write_text(
        '\ufeffvideo,task,fps,id,note\n000.avi,"open, please",2.5,first,\n000.avi,shut it,,second,\n'
    )
    out = tmp_path / "o.jsonl"
    assert score("--clips", table, "--out", out) == 0
    found = [(row["id"], row["task"], row["fps"], row["level"]) for row in rows(out)]
    assert found == [("first", "open, please", 2.5, 2), ("second", "shut it", 10.0, 2)]


@pytest.mark.usefixtures("judge")
def test_a_jsonl_lists_clips_as_well(tmp_path: Path) -> None:
    films(tmp_path, 2)
    table = tmp_path / "clips.jsonl"
    lines = [
        {"video": "001.avi", "task": "x"},
        {"video": "000.avi", "task": "y", "fps": 5, "id": 7},
    ]
    table.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    out = tmp_path / "o.jsonl"
    assert score("--clips", table, "--out", out) == 0
    assert [(row["id"], row["fps"]) for row in rows(out)] == [("001.avi", 10.0), ("7", 5.0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "video,fps\n000.avi,5\n", "got video, fps: no task"),
        ("a.csv", "", "got none: no video and no task"),
        ("a.csv", "video,task\n", "at least one clip"),
        ("a.csv", "video,task\n000.avi,\n", "Expected a task in line 2"),
        ("a.csv", "video,task\n000.avi\n", "Expected a task in line 2"),
        ("a.csv", "video,task,fps\n000.avi,x,fast\n", "above 0 in line 2 of .* got 'fast'"),
        ("a.csv", "video,task\n000.avi,x\n000.avi,y\n", "each id once, got '000.avi'.*`id` column"),
        ("a.csv", "video,task,id\n000.avi,x,1\n001.avi,y,1\n", "each id once, got '1'"),
        ("a.jsonl", '{"video": "000.avi"}\n', "got video: no task"),
        ("a.jsonl", '{"video": 3, "task": "x"}\n', "Expected a video in line 1"),
        ("a.jsonl", "[1]\n", "Expected an object in line 1"),
        ("a.jsonl", "{nope\n", "Expected JSON in line 1"),
        ("a.jsonl", "[" * 100_000, "Expected JSON in line 1"),
        ("a.jsonl", '{"video": "a", "task": "x", "id": [1]}\n', "whole number as id in line 1"),
        ("a.txt", "000.avi\n", "Expected a .csv or .jsonl file"),
    ],
)
def test_a_list_with_a_mistake_is_refused_before_anything_is_scored(
    tmp_path: Path,
    judge: LengthJudge,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    message: str,
) -> None:
    films(tmp_path, 2)
    (tmp_path / name).write_text(content)
    assert score("--clips", tmp_path / name, "--out", tmp_path / "o.jsonl") == 1
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert judge.batches == []
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of VIDEO, --clips, --dataset, got none"),
        (["a.mp4", "--clips", "b.csv", "--task", "x"], "got VIDEO and --clips"),
        (["a.mp4"], "Expected --task, got none"),
        (["--clips", "b.csv", "--task", "x"], "the task of each clip in the list"),
        (["--clips", "b.csv", "--fps", "5"], "--fps with videos only, got it with --clips"),
        (["a.mp4", "--task", "x", "--camera", "b"], "--camera with --dataset only"),
        (["a.mp4", "a.mp4", "--task", "x"], "each id once, got 'a.mp4'"),
        (["a.mp4", "--task", " "], "Expected a command, got an empty task"),
        (["a.mp4", "--task", "x", "--fps", "0"], "Expected --fps above 0"),
        (["a.mp4", "--task", "x", "--batch-size", "0"], "--batch-size of at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert score(*arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("judge")
def test_overlays_show_the_film_with_its_score_below(tmp_path: Path) -> None:
    from reward_models.scoring.overlay import PANEL_HEIGHT
    from reward_models.video.read import read_footage

    frames = np.random.default_rng(0).integers(0, 255, (4, 31, 47, 3), dtype=np.uint8)
    from PIL import Image

    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i}.png")
    drawn = tmp_path / "drawn"
    status = score(folder, "--fps", 5, "--task", "open it " * 40, "--overlay", drawn)
    assert status == 0
    (path,) = drawn.iterdir()
    footage = read_footage(path)
    assert footage.frames.shape == (4, 31 * 7 // 2 * 2 + PANEL_HEIGHT, 47 * 7 // 2 * 2, 3)
    assert footage.fps == pytest.approx(5.0)
    panel = footage.frames[0, -PANEL_HEIGHT:]
    assert panel.min() < 60 < 200 < panel.max()


@pytest.mark.usefixtures("judge")
def test_an_overlay_that_cannot_be_written_stops_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    out = tmp_path / "o.jsonl"
    videos = films(tmp_path / "films", 2)
    arguments = ["--task", "x", "--out", out, "--overlay", tmp_path / "taken"]
    assert score(*videos, *arguments) == 1
    assert "Choose another --overlay" in capsys.readouterr().err
    assert out.read_text() == ""  # a score without its overlay would never get one


def test_overlays_of_different_ids_never_share_a_file() -> None:
    from reward_models.scoring.overlay import overlay_name

    names = {overlay_name(name) for name in ("a/b", "a_b", "a:b", "../a", "", "é", "x" * 300)}
    assert len(names) == 7
    assert all("/" not in name and len(name) < 120 for name in names)


def test_the_panel_draws_probabilities_and_the_unreadable() -> None:
    from reward_models.scoring.overlay import draw_panel

    sure = draw_panel(320, "open it", ProgressScore(5, np.eye(5)[4]))
    unsure = draw_panel(320, "open it", ProgressScore(5, np.full(5, 0.2)))
    unknown = draw_panel(320, "open it", ProgressScore(None))
    assert not np.array_equal(sure, unsure)
    assert not np.array_equal(unsure, unknown)
    assert not math.isclose(float(sure.mean()), float(unknown.mean()))
