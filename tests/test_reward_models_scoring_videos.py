"""`roboreward score`: each recording exactly once, whatever happens, and never a made-up score."""

import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.commands import main as cli
from reward_models.scoring.log import COLUMNS, ScoreLog
from reward_models.scoring.stdout import table_line
from roboreward_gym import Clip, ProgressScore
from roboreward_gym import registry as registry_module
from roboreward_gym.errors import (
    BudgetExhausted,
    InvalidClip,
    PartialScores,
    RewardModelFailure,
)
from tests.video_files import flat_frames, numbers, write_video

ROOT = Path(__file__).resolve().parents[1]
MODEL = "length-model"
FAILURES = 5


class LengthModel:
    """The level is the number of frames, capped at 5: so a score tells which recording it belongs to."""

    def __init__(self, weights: str = "w1") -> None:
        self.weights = weights
        self.batches: list[int] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.batches.append(len(clips))
        return [self.answer(clip) for clip in clips]

    def answer(self, clip: Clip) -> ProgressScore:
        if "unspeakable" in clip.task:
            raise InvalidClip("The task is unspeakable. Word it differently.")
        level = None if "mumble" in clip.task else min(len(clip.frames), 5)
        manifest = {"model": MODEL, "weights_sha256": self.weights}
        return ProgressScore(level, text=f"{len(clip.frames)} frames", manifest=manifest)


class BrokenModel:
    """Fails on every recording."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.asked += 1
        raise RewardModelFailure("There was no answer.")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> LengthModel:
    return offer(monkeypatch, LengthModel())


def offer(monkeypatch: pytest.MonkeyPatch, model: Any) -> Any:
    monkeypatch.setitem(registry_module._factories, MODEL, lambda: model)
    monkeypatch.delitem(registry_module._loaded, MODEL, raising=False)
    return model


@pytest.fixture(autouse=True)
def forget_the_model() -> Iterator[None]:
    yield
    registry_module._loaded.pop(MODEL, None)


def score(*arguments: object) -> int:
    return cli.main(["score", *map(str, arguments), "--model", MODEL])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def videos_in(folder: Path, count: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [
        write_video(folder / f"{i:03}.avi", flat_frames(2 + i % 4), codec="mpeg4")
        for i in range(count)
    ]


@pytest.mark.usefixtures("model")
def test_a_line_per_video_holds_all_that_is_known(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", flat_frames(4), fps=5)
    out = tmp_path / "scores" / "a.jsonl"
    assert score(video, "--task", "open the drawer", "--out", out) == 0
    assert rows(out) == [
        {
            "id": str(video),
            "video": str(video),
            "task": "open the drawer",
            "model": MODEL,
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
            "manifest": {"model": MODEL, "weights_sha256": "w1"},
        }
    ]


@pytest.mark.usefixtures("model")
def test_without_a_file_the_scores_go_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*videos_in(tmp_path, 2), "--task", "x") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["level"] for line in lines] == [2, 3]


@pytest.mark.usefixtures("model")
def test_an_unreadable_answer_is_null_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.jsonl"
    assert score(*videos_in(tmp_path, 1), "--task", "mumble", "--out", out) == 0
    assert {rows(out)[0][key] for key in ("level", "expected", "entropy")} == {None}
    assert "1 of them unreadable (level null)" in capsys.readouterr().err


def test_without_a_model_nothing_is_scored_and_the_known_ones_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (video,) = videos_in(tmp_path, 1)
    out = tmp_path / "scores.jsonl"
    assert cli.main(["score", str(video), "--task", "x", "--out", str(out)]) == cli.FAILED
    shown = capsys.readouterr()
    assert "No reward model is named" in shown.err
    assert "roboreward-8b" in shown.err
    assert not shown.out
    assert not out.exists()


def test_videos_are_asked_about_in_batches(tmp_path: Path, model: LengthModel) -> None:
    assert score(*videos_in(tmp_path, 7), "--task", "x", "--batch-size", 3) == 0
    assert model.batches == [3, 3, 1]


@pytest.mark.usefixtures("model")
def test_broken_files_are_reported_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = videos_in(tmp_path, 3)
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
    assert "empty.mp4 is damaged or no video" in err
    assert "no video or folder of frames at" in err
    assert "3 scored, 2 failed, see above." in err


@pytest.mark.usefixtures("model")
def test_a_clip_that_the_model_refuses_costs_only_itself(tmp_path: Path) -> None:
    videos_in(tmp_path, 3)
    table = tmp_path / "clips.csv"
    table.write_text("video,task\n000.avi,x\n001.avi,unspeakable\n002.avi,y\n")
    out = tmp_path / "o.jsonl"
    assert score("--clips", table, "--out", out) == 1
    assert [row["id"] for row in rows(out)] == ["000.avi", "002.avi"]


def test_what_a_model_prints_is_not_among_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Chatty(LengthModel):
        def __init__(self) -> None:
            super().__init__()
            sys.stdout.write("loading\n")

        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            sys.stdout.write("looking\n")
            return super().score(clips)

    monkeypatch.setitem(registry_module._factories, MODEL, Chatty)
    assert score(*videos_in(tmp_path, 2), "--task", "x") == 0
    said = capsys.readouterr()
    assert [json.loads(line)["level"] for line in said.out.splitlines()] == [2, 3]
    assert "loading" in said.err
    assert "looking" in said.err


def test_a_model_out_of_order_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = offer(monkeypatch, BrokenModel())
    out = tmp_path / "o.jsonl"
    assert score(*videos_in(tmp_path, 20), "--task", "x", "--out", out, "--batch-size", 1) == 1
    assert broken.asked == FAILURES
    assert out.read_text() == ""
    assert "roboreward score: There was no answer." in capsys.readouterr().err


RUN_AND_HANG = """
import sys, time
from tests.test_reward_models_scoring_videos import MODEL, LengthModel
from reward_models.commands import main as cli
from roboreward_gym.registry import register_reward_model

class Hanging(LengthModel):
    def score(self, clips):
        if sum(self.batches) >= 96:
            time.sleep(600)
        return super().score(clips)

register_reward_model(MODEL, Hanging)
cli.main(sys.argv[1:])
"""


@pytest.mark.usefixtures("model")
def test_200_videos_killed_half_way_and_resumed_give_each_exactly_once(tmp_path: Path) -> None:
    videos = videos_in(tmp_path / "videos", 200)
    out = tmp_path / "o.jsonl"
    arguments = ["score", *map(str, videos), "--task", "x", "--model", MODEL, "--out", str(out)]
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
    out.write_bytes(before + b'{"id": "videos/torn", "lev')  # what a kill amid a write leaves

    assert cli.main(arguments) == 0
    assert out.read_bytes().startswith(before)
    assert [row["id"] for row in rows(out)] == [str(path) for path in videos]
    assert [row["level"] for row in rows(out)] == [2 + i % 4 for i in range(200)]


def test_a_finished_run_asks_and_writes_nothing(tmp_path: Path, model: LengthModel) -> None:
    videos = videos_in(tmp_path, 3)
    out = tmp_path / "o.jsonl"
    score(*videos, "--task", "x", "--out", out)
    written, asked = out.read_bytes(), len(model.batches)
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert out.read_bytes() == written
    assert len(model.batches) == asked


RUN_WITH_LITTLE_ROOM = """
import resource, sys
from tests.test_reward_models_scoring_videos import MODEL, LengthModel
from reward_models.commands import main as cli
from roboreward_gym.registry import register_reward_model

register_reward_model(MODEL, LengthModel)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(("room", "whole"), [(500, {1, 2}), (100, {0})])
def test_a_full_disk_stops_the_run_and_keeps_what_is_done(
    tmp_path: Path, room: int, whole: set[int]
) -> None:
    videos = videos_in(tmp_path, 3)
    out = tmp_path / "o.jsonl"
    arguments = ["score", *map(str, videos), "--task", "x", "--model", MODEL, "--out", str(out)]
    command = [sys.executable, "-c", RUN_WITH_LITTLE_ROOM, str(room), *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "no room for one more score in" in ended.stderr
    assert out.read_bytes().count(b"\n") in whole
    assert out.read_bytes()[-1:] in (b"\n", b"")  # no part of a row
    assert cli.main(arguments) == 0
    assert [row["level"] for row in rows(out)] == [2, 3, 4]


@pytest.mark.usefixtures("model")
def test_two_runs_never_write_to_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = videos_in(tmp_path, 2), tmp_path / "o.jsonl"
    score(videos[0], "--task", "x", "--out", out)
    with ScoreLog(out, MODEL):
        half = out.read_text() + '{"id": "half a li'  # what the other run is writing just now
        out.write_text(half)
        assert score(*videos, "--task", "x", "--out", out) == 1
        assert "Another run is writing to" in capsys.readouterr().err
        assert out.read_text() == half
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert len(rows(out)) == 2


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("name", ["", "pipe"])
def test_an_output_that_is_no_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    videos = videos_in(tmp_path / "videos", 1)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.parent.iterdir()), sorted(tmp_path.iterdir())
    assert score(*videos, "--task", "x", "--out", tmp_path / name) == 1
    assert "which is not a regular file. Choose another --out" in capsys.readouterr().err
    assert (sorted(tmp_path.parent.iterdir()), sorted(tmp_path.iterdir())) == before


@pytest.mark.usefixtures("model")
def test_an_output_below_a_file_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    out = tmp_path / "taken" / "o.jsonl"
    assert score(*videos_in(tmp_path, 1), "--task", "x", "--out", out) == 1
    assert f"cannot be written to {out}: " in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    out, late = tmp_path / "o.jsonl", tmp_path / "late.avi"
    videos = [*videos_in(tmp_path, 1), late]
    assert score(*videos, "--task", "x", "--out", out) == 1
    write_video(late, flat_frames(5), codec="mpeg4")
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert [row["level"] for row in rows(out)] == [2, 5]


@pytest.mark.usefixtures("model")
def test_the_file_of_another_model_is_refused_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = videos_in(tmp_path, 2), tmp_path / "o.jsonl"
    score(videos[0], "--task", "x", "--out", out)
    out.write_text(out.read_text().replace(f'"model": "{MODEL}"', '"model": "other"'))
    before = out.read_bytes()
    assert score(*videos, "--task", "x", "--out", out) == 1
    assert out.read_bytes() == before
    err = capsys.readouterr().err
    assert f"holds scores of 'other' (line 1), not of '{MODEL}'" in err


def test_other_weights_under_the_same_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = videos_in(tmp_path, 2), tmp_path / "o.jsonl"
    offer(monkeypatch, LengthModel("w1"))
    score(videos[0], "--task", "x", "--out", out)
    offer(monkeypatch, LengthModel("w2"))
    assert score(*videos, "--task", "x", "--out", out) == 1
    assert len(rows(out)) == 1
    assert "weights_sha256 is 'w2', and 'w1' in the earlier lines" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_another_task_for_the_same_id_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, out = videos_in(tmp_path, 1)[0], tmp_path / "o.jsonl"
    score(video, "--task", "x", "--out", out)
    assert score(video, "--task", "y", "--out", out) == 1
    assert "for the task 'x', not for 'y'" in capsys.readouterr().err


SOMEBODYS = {
    "text": b"my notes\n",
    "text without an end": b"my notes",
    "json without an end": b'{"id": "a", "notes": [1, 2, 3, 4, 5, 6]}',
    "two json lines": b'{"id": "a"}\n{"id": "b"}',
    "json that begins as ours": b'{"id": "',
    "a json array": b"[1, 2]\n",
    "a picture": b"\x89PNG\xff\n\x00",
    "an empty line": b"\n",
    "columns of ours, not texts": json.dumps(dict.fromkeys(COLUMNS, 1)).encode() + b"\n",
    "ours, then something else": b"OURS\nmy notes",
    "ours, then a cut line of something else": b'OURS\n{"video": "a',
}


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("content", SOMEBODYS.values(), ids=list(SOMEBODYS))
def test_a_file_of_somebody_else_is_never_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    videos, ours = videos_in(tmp_path, 2), tmp_path / "ours.jsonl"
    score(videos[0], "--task", "x", "--out", ours)
    out = tmp_path / "theirs.json"
    out.write_bytes(content.replace(b"OURS", ours.read_bytes().rstrip(b"\n")))
    before = out.read_bytes()
    assert score(*videos, "--task", "x", "--out", out) == 1
    assert out.read_bytes() == before
    assert "is not a file of scores: line" in capsys.readouterr().err


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("kept", [0, 1, 8, 30, -2, -1])
def test_a_last_line_of_ours_that_was_cut_is_repaired(tmp_path: Path, kept: int) -> None:
    videos, out = videos_in(tmp_path, 3), tmp_path / "o.jsonl"
    score(*videos[:2], "--task", "x", "--out", out)
    whole = out.read_bytes()
    first, second = whole.splitlines(keepends=True)
    out.write_bytes(first + second[:kept])
    assert score(*videos, "--task", "x", "--out", out) == 0
    assert out.read_bytes().startswith(whole)
    assert [row["level"] for row in rows(out)] == [2, 3, 4]


@pytest.mark.usefixtures("model")
def test_a_csv_names_videos_tasks_rates_and_ids(tmp_path: Path) -> None:
    videos_in(tmp_path, 3)
    table = tmp_path / "clips.csv"
    table.write_text(
        '\ufeffvideo,task,fps,id,note\n000.avi,"open, please",2.5,first,\n000.avi,shut it,,second,\n'
    )
    out = tmp_path / "o.jsonl"
    assert score("--clips", table, "--out", out) == 0
    found = [(row["id"], row["task"], row["fps"], row["level"]) for row in rows(out)]
    assert found == [("first", "open, please", 2.5, 2), ("second", "shut it", 10.0, 2)]


@pytest.mark.usefixtures("model")
def test_a_jsonl_lists_clips_as_well(tmp_path: Path) -> None:
    videos_in(tmp_path, 2)
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
        ("a.csv", "video,fps\n000.avi,5\n", "no column task among video, fps"),
        ("a.csv", "", "no column video and no column task among none"),
        ("a.csv", "video,task\n", "has no clips"),
        ("a.csv", "video,task\n000.avi,\n", "Line 2 of .* has no task"),
        ("a.csv", "video,task\n000.avi\n", "Line 2 of .* has no task"),
        (
            "a.csv",
            "video,task,fps\n000.avi,x,fast\n",
            "in line 2 of .* must be above 0, not 'fast'",
        ),
        (
            "a.csv",
            "video,task\n000.avi,x\n000.avi,y\n",
            "'000.avi' appears several times .*`id` column",
        ),
        ("a.csv", "video,task,id\n000.avi,x,1\n001.avi,y,1\n", "'1' appears several times"),
        ("a.jsonl", '{"video": "000.avi"}\n', "no column task among video"),
        ("a.jsonl", '{"video": 3, "task": "x"}\n', "Line 1 of .* has no video"),
        ("a.jsonl", "[1]\n", "Line 1 of .* must be an object"),
        ("a.jsonl", "{nope\n", "Line 1 of .* is not JSON"),
        ("a.jsonl", "[" * 100_000, "Line 1 of .* is not JSON"),
        (
            "a.jsonl",
            '{"video": "a", "task": "x", "id": [1]}\n',
            "The id in line 1 of .* whole number",
        ),
        ("a.txt", "000.avi\n", "is a .csv or a .jsonl file, not"),
    ],
)
def test_a_list_with_a_mistake_is_refused_before_anything_is_scored(
    tmp_path: Path,
    model: LengthModel,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    message: str,
) -> None:
    videos_in(tmp_path, 2)
    (tmp_path / name).write_text(content)
    assert score("--clips", tmp_path / name, "--out", tmp_path / "o.jsonl") == 1
    err = capsys.readouterr().err
    assert re.search(message, err), err
    assert model.batches == []
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name one of VIDEO, --clips, --dataset; none is given"),
        (["a.mp4", "--clips", "b.csv", "--task", "x"], "VIDEO and --clips is given"),
        (["a.mp4"], "--task is missing"),
        (["--clips", "b.csv", "--task", "x"], "The list has the task of each clip"),
        (["--clips", "b.csv", "--fps", "5"], "--fps is for videos only: --clips has the rates"),
        (["a.mp4", "--task", "x", "--camera", "b"], "--camera is for --dataset only"),
        (["a.mp4", "a.mp4", "--task", "x"], "'a.mp4' appears several times"),
        (["a.mp4", "--task", " "], "task is empty"),
        (["a.mp4", "--task", "x", "--fps", "0"], "--fps must be above 0"),
        (["a.mp4", "--task", "x", "--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert score(*arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("model")
def test_overlays_show_the_recording_with_its_score_below(tmp_path: Path) -> None:
    from reward_models.scoring.overlay import PANEL_HEIGHT
    from reward_models.video.read import open_recording

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
    recording = open_recording(path).read()
    assert recording.frames.shape == (4, 31 * 7 + 1 + PANEL_HEIGHT, 47 * 7 + 1, 3)
    assert recording.fps == pytest.approx(5.0)
    panel = recording.frames[0, -PANEL_HEIGHT - 1 : -1]
    assert panel.min() < 60 < 200 < panel.max()


@pytest.mark.usefixtures("model")
def test_an_overlay_that_cannot_be_written_stops_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    out = tmp_path / "o.jsonl"
    videos = videos_in(tmp_path / "videos", 2)
    arguments = ["--task", "x", "--out", out, "--overlay", tmp_path / "taken"]
    assert score(*videos, *arguments) == 1
    assert "Choose another --overlay" in capsys.readouterr().err
    assert len(rows(out)) == 2


@pytest.mark.usefixtures("model")
def test_an_overlay_of_frames_of_two_sizes_costs_no_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from reward_models.video.read import ImageFolder

    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(40):  # the odd one is not among the frames that the model sees
        Image.new("RGB", (48 if i == 1 else 64, 32)).save(folder / f"{i:02}.png")
    read = ImageFolder.read
    monkeypatch.setattr(ImageFolder, "read", lambda source: read(source, max_bytes=1))
    out = tmp_path / "o.jsonl"
    arguments = ["--fps", 5, "--task", "x", "--out", out, "--overlay", tmp_path / "drawn"]
    assert score(folder, *arguments) == 1
    assert len(rows(out)) == 1
    err = capsys.readouterr().err
    assert "different sizes: 32x64 and 32x48" in err
    assert "1 scored, 1 without an overlay, see above." in err
    assert list((tmp_path / "drawn").iterdir()) == []


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


def test_overlays_show_all_frames_of_a_recording_that_was_thinned(tmp_path: Path) -> None:
    from reward_models.scoring.overlay import PANEL_HEIGHT, write_overlay
    from reward_models.video.read import open_recording

    source = open_recording(write_video(tmp_path / "a.mp4", flat_frames(40, 64, 320)))
    clip = source.read(max_bytes=1).clip("x")
    assert (len(clip.frames), clip.num_frames) == (8, 40)
    write_overlay(tmp_path / "drawn.mp4", source, clip, ProgressScore(4))
    drawn = open_recording(tmp_path / "drawn.mp4").read()
    assert (len(drawn.frames), drawn.fps) == (40, 10.0)
    shown = np.array(numbers(drawn.frames[:, :-PANEL_HEIGHT]))
    assert np.abs(shown - np.arange(40)).max() <= 1


@pytest.mark.usefixtures("model")
def test_a_folder_of_videos_is_scored_video_by_video(tmp_path: Path) -> None:
    for name in ("b/2.mp4", "b/10.mp4", "a.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "videos" / name, flat_frames(3))
    for beside in ("notes.txt", "a.jpg"):
        (tmp_path / "videos" / beside).touch()
    out = tmp_path / "o.jsonl"
    assert score(tmp_path / "videos", "--task", "x", "--out", out) == 0
    ids = [str(Path(row["id"]).relative_to(tmp_path / "videos")) for row in rows(out)]
    assert ids == ["a.mp4", "b/2.mp4", "b/10.mp4"]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("names", "message"),
    [([], "There are no videos"), (["a.png", "b.mp4"], "holds images and one video, b.mp4")],
)
def test_a_folder_that_does_not_say_what_to_score_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert score(tmp_path, "--task", "x") == 1
    assert message in capsys.readouterr().err


RUN = """
import sys
from tests.test_reward_models_scoring_videos import MODEL, LengthModel
from reward_models.commands import main as cli
from roboreward_gym.registry import register_reward_model

register_reward_model(MODEL, LengthModel)
sys.exit(cli.main(sys.argv[1:]))
"""


def on_a_terminal(arguments: list[str]) -> str:
    """What the command prints where stdout is a terminal."""
    screen, end = pty.openpty()
    command = [sys.executable, "-c", RUN, "score", *arguments, "--model", MODEL]
    with subprocess.Popen(command, cwd=ROOT, stdout=end, stderr=subprocess.PIPE) as process:
        process.wait()
    os.write(end, b"END")
    os.close(end)
    shown = b""
    while not shown.endswith(b"END"):
        shown += os.read(screen, 65536)
    os.close(screen)
    return shown.decode().removesuffix("END").replace("\r\n", "\n")


def test_a_terminal_gets_a_table_and_everything_else_json_lines(tmp_path: Path) -> None:
    videos = list(map(str, videos_in(tmp_path, 2)))
    table = on_a_terminal([*videos, "--task", "open the drawer"]).splitlines()
    assert table[0].split() == ["level", "mean", "P(5)", "video", "task"]
    assert [line.split()[:3] for line in table[1:]] == [
        ["2", "2.00", "0.00"],
        ["3", "3.00", "0.00"],
    ]
    lines = on_a_terminal([*videos, "--task", "x", "--format", "jsonl"]).splitlines()
    assert [json.loads(line)["level"] for line in lines] == [2, 3]


@pytest.mark.usefixtures("model")
def test_stdout_is_silent_beside_a_file_unless_a_format_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = videos_in(tmp_path, 2)
    assert score(*videos, "--task", "x", "--out", tmp_path / "a.jsonl") == 0
    assert capsys.readouterr().out == ""
    assert score(*videos, "--task", "x", "--out", tmp_path / "b.jsonl", "--format", "table") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert len(rows(tmp_path / "b.jsonl")) == 2


@pytest.mark.usefixtures("model")
def test_quiet_prints_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.jsonl"
    assert score(*videos_in(tmp_path, 1), "--task", "x", "--out", out, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert score(tmp_path / "none.mp4", "--task", "x", "--out", out, "--quiet") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/none.mp4: There is no video or folder of frames at {tmp_path}/none.mp4."
    ]


def test_a_table_cuts_what_does_not_fit_and_marks_what_is_unknown() -> None:
    row = {"level": None, "expected": None, "success_probability": None}
    line = table_line({**row, "id": "long/path/to/a.mp4", "task": "open\nit " * 20}, 12, 60)
    assert line.startswith("    ?      ?      ?  …th/to/a.mp4  open it open it")
    assert len(line) == 60
    assert line.endswith("…")


class Metered(LengthModel):
    """Answers as long as there is a budget; keeps what was paid for."""

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.left = budget

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        found: list[object] = []
        for clip in clips:
            if self.left == 0:
                found.append(BudgetExhausted("All requests are used up."))
                continue
            self.left -= 1
            try:
                found.append(self.answer(clip))
            except InvalidClip as error:
                found.append(error)
        if any(isinstance(outcome, Exception) for outcome in found):
            raise PartialScores(found)
        return [outcome for outcome in found if isinstance(outcome, ProgressScore)]


def listed(folder: Path, tasks: Sequence[str]) -> Path:
    videos_in(folder, len(tasks))
    lines = [f"{i:03}.avi,{task}" for i, task in enumerate(tasks)]
    (folder / "clips.csv").write_text("\n".join(["video,task", *lines]) + "\n")
    return folder / "clips.csv"


def test_one_refused_clip_among_eight_is_paid_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metered = offer(monkeypatch, Metered(100))
    out = tmp_path / "o.jsonl"
    table = listed(tmp_path, ["x", "x", "x", "unspeakable", "x", "x", "x", "x"])
    assert score("--clips", table, "--out", out) == 1
    assert [row["id"] for row in rows(out)] == [f"{i:03}.avi" for i in (0, 1, 2, 4, 5, 6, 7)]
    assert metered.left == 92


def test_scores_are_written_as_far_as_the_budget_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, Metered(7))
    out = tmp_path / "o.jsonl"
    assert score("--clips", listed(tmp_path, ["x"] * 8), "--out", out) == 1
    assert len(rows(out)) == 7
    assert "roboreward score: All requests are used up." in capsys.readouterr().err


def test_help_names_the_command() -> None:
    command = [sys.executable, "-m", "reward_models.scoring.videos", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert text.startswith("usage: roboreward score ")
