"""The published layout: read with all its quirks, written so that others can load it."""

import json
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.data.example import (
    Example,
    Frames,
    InvalidExample,
    InvalidSource,
    Skipped,
    Video,
)
from reward_models.data.published import COLUMNS, PUBLISHED_COLUMNS, read
from reward_models.data.published_writer import (
    FileNames,
    has_format,
    stem_of,
    write_examples,
    write_metadata,
)
from reward_models.data.sources import ReadOptions, read_source
from reward_models.data.video_file import (
    OutputError,
    VideoFormat,
    can_cut,
    cut,
    video_of,
    write_video,
)
from roboreward_gym.errors import UnknownName
from tests.augment_data import FORM, moving_square
from tests.test_reward_models_data_rlds import shared

OXE = "bridge/bridge_originalsplit_train_index_7"


def row(name: str, task: str = "Open the drawer.", reward: Any = 5, **more: Any) -> dict[str, Any]:
    return {
        "file_name": name,
        "task": task,
        "reward": reward,
        "gpt5_mini_check": "ANSWER: TRUE",
        **more,
    }


def split_of(root: Path, rows: list[dict[str, Any]], name: str = "train") -> Path:
    folder = root / name
    for i, it in enumerate(rows):
        if isinstance(it.get("file_name"), str) and not it.get("missing"):
            path = folder / it["file_name"]
            if path.resolve().is_relative_to(root):
                write_video(path, Frames(moving_square(i, 4), 10.0), FORM)
    write_metadata(folder, [{k: v for k, v in it.items() if k != "missing"} for it in rows])
    return root


def example(**changes: Any) -> Example:
    frames = partial(Frames, moving_square(1, 6), 5.0)
    fields = {
        "video": Video("here", frames),
        "task": "put the jalapeño in the “pot”",
        "reward": 5,
        "subset": "own",
        "source_episode": "a",
        "kind": "original",
    }
    return Example(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"reward": 6},
        {"reward": 0},
        {"reward": True},
        {"reward": 2.5},
        {"reward": 5.0},
        {"kind": "synthetic"},
        {"subset": "../up"},
        {"subset": ""},
        {"source_episode": ""},
        {"kept": 0.0},
        {"kept": float("nan")},
        {"kept": 10**400},
        {"kept": "0.3"},
        {"source_episode": 7},
        {"original_task": ["open it"]},
        {"licence": {}},
        {"check": "half of a character: \ud800"},
        {"reward": 3},
        {"kind": "truncated"},
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidExample):
        example(**changes)


def test_what_is_written_is_read_back_with_every_column(tmp_path: Path) -> None:
    truncated = example(
        kind="truncated", reward=2, kept=0.3, check="far. ANSWER: TRUE", checked_by="me"
    )
    other = example(kind="counterfactual", reward=1, original_task="put it", licence="MIT")
    write_examples(tmp_path, "train", [example(), other, truncated], FORM)
    lines = [json.loads(x) for x in (tmp_path / "train/metadata.jsonl").read_text().splitlines()]
    assert all(tuple(line) == COLUMNS and COLUMNS[:4] == PUBLISHED_COLUMNS for line in lines)
    found = [item for item in read(tmp_path, ReadOptions()) if isinstance(item, Example)]
    for before, after in zip([example(), other, truncated], found, strict=True):
        for name in (
            "task",
            "reward",
            "subset",
            "source_episode",
            "kind",
            "kept",
            "check",
            "checked_by",
        ):
            assert getattr(after, name) == getattr(before, name)
    assert found[1].licence == "MIT"


def test_other_tasks_for_a_video_are_copies_of_its_bytes_with_a_number(tmp_path: Path) -> None:
    other = example(kind="counterfactual", reward=1)
    write_examples(tmp_path, "train", [example(), other], FORM)
    files = sorted((tmp_path / "train/own").iterdir())
    assert [f.name for f in files] == ["own_a.mp4", "own_a_1.mp4"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_hugging_face_datasets_load_what_is_written(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        items = [example(source_episode=f"{split}{i}") for i in range(2)]
        write_examples(tmp_path / "set", split, items, FORM)
    # Decoding needs FFmpeg's shared libraries, which are not everywhere; paths and columns do not.
    code = (
        "import sys, json, datasets; datasets.config.TORCHCODEC_AVAILABLE = False\n"
        "d = datasets.load_dataset('videofolder', data_dir=sys.argv[1], cache_dir=sys.argv[2])\n"
        "d = d.cast_column('video', datasets.Video(decode=False))\n"
        "print(json.dumps({s: [dict(r, video=r['video']['path']) for r in d[s]] for s in d}))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "set"), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert {split: len(rows) for split, rows in loaded.items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    first = loaded["train"][0]
    assert (first["task"], first["reward"], first["kind"]) == (example().task, 5, "original")
    assert Path(first["video"]).is_file()


def test_published_names_tell_kind_episode_and_kept_part(tmp_path: Path) -> None:
    rows = [
        row(f"{OXE}.mp4"),
        row(f"{OXE}_2.mp4", "Close the drawer.", 1),
        row(f"{OXE}_attempt_1_score_2.mp4", reward=2),
        row("robo_arena/s_F_right.mp4", "Wipe.", 3),
    ]
    items = list(read(split_of(tmp_path, rows), ReadOptions()))
    assert [(i.kind, i.kept, i.source_episode, i.original_task) for i in items] == [  # type: ignore[union-attr]
        ("original", 1.0, "bridge_originalsplit_train_index_7", "Open the drawer."),
        ("counterfactual", 1.0, "bridge_originalsplit_train_index_7", "Open the drawer."),
        ("truncated", 0.3, "bridge_originalsplit_train_index_7", "Open the drawer."),
        ("organic", 1.0, "s_F", "Wipe."),
    ]


def test_real_frames_in_the_published_layout_are_all_read() -> None:
    items = list(read_source(f"published:{shared('roboreward_layout')}"))
    kinds = Counter(item.kind for item in items if isinstance(item, Example))
    assert kinds == {"truncated": 30, "original": 15, "counterfactual": 15, "organic": 6}
    for item in items:
        assert isinstance(item, Example)
        assert item.video.read().frames.shape[1:] == (192, 320, 3)


def test_a_video_of_one_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    write_video(path, Frames(moving_square(0, 1), 10.0), FORM)
    video = video_of(path).read()
    assert (len(video.frames), video.fps) == (1, 10.0)


def test_a_header_that_promises_a_frame_too_many_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    write_video(path, Frames(moving_square(0, 9), 10.0), FORM)
    data = path.read_bytes()
    # The box `stsz` counts the samples; `stts` gives their durations.
    at = data.index(b"stsz") + 12
    assert int.from_bytes(data[at : at + 4], "big") == 9
    moved = data[: at + 3] + bytes([10]) + data[at + 4 :]
    path.write_bytes(moved)
    assert len(video_of(path).read().frames) in (8, 9)


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        (row(f"{OXE}_3.mp4", reward=6), "invalid_row"),
        (row(f"{OXE}_3.mp4", reward="5"), "invalid_row"),
        (row(f"{OXE}_3.mp4", task=" "), "invalid_row"),
        (row(f"{OXE}_3.mp4", missing=True), "invalid_row"),
        (row(f"{OXE}_attempt_1_score_3.mp4", reward=2), "invalid_row"),
        (row("../outside/x.mp4"), "invalid_row"),
        (row("a/b/c.mp4"), "invalid_row"),
        ({"file_name": f"{OXE}_3.mp4", "task": "x"}, "invalid_row"),
        (row(f"{OXE}.mp4"), "duplicate_row"),
        (row([]), "invalid_row"),  # ty: ignore[invalid-argument-type]
        (row(f"{OXE}_3.mp4", reward=[5]), "invalid_row"),
        (row(f"{OXE}_3.mp4", reward=[5], kind="truncated"), "invalid_row"),
        (row(f"{OXE}_3.mp4", kept="most of it"), "invalid_row"),
        (row(f"{OXE}_3.mp4", kept=[0.3]), "invalid_row"),
        (row(f"{OXE}_3.mp4", source_episode=7), "invalid_row"),
        (row(f"{OXE}_3.mp4", licence=["MIT"]), "invalid_row"),
    ],
)
def test_a_bad_row_is_reported_and_the_others_are_read(
    tmp_path: Path, bad: dict[str, Any], rule: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x.mp4").touch()
    items = list(
        read(split_of(tmp_path, [row(f"{OXE}.mp4"), bad, row(f"{OXE}_9.mp4")]), ReadOptions())
    )
    assert [i.rule if isinstance(i, Skipped) else "read" for i in items] == ["read", rule, "read"]


def test_a_reward_that_a_program_wrote_as_a_float_is_a_whole_number(tmp_path: Path) -> None:
    split_of(tmp_path, [row(f"{OXE}.mp4", reward=5.0)])
    [item] = read(tmp_path, ReadOptions())
    assert isinstance(item, Example)
    assert repr(item.reward) == "5"  # what is written, and asked for in training


def test_half_of_a_character_costs_its_row_only(tmp_path: Path) -> None:
    split_of(tmp_path, [row(f"{OXE}.mp4"), row(f"{OXE}_3.mp4")])
    path = tmp_path / "train/metadata.jsonl"
    first, second = path.read_text().splitlines()
    wrong = json.dumps({**json.loads(second), "source_episode": "e\ud800"})
    path.write_text(f"{first}\n{wrong}\n")
    items = list(read(tmp_path, ReadOptions()))
    assert [i.rule if isinstance(i, Skipped) else "read" for i in items] == ["read", "invalid_row"]
    items[1].why.encode()  # type: ignore[union-attr] # it is written to the audit


def test_a_line_that_is_no_json_is_reported(tmp_path: Path) -> None:
    split_of(tmp_path, [row(f"{OXE}.mp4")])
    with (tmp_path / "train/metadata.jsonl").open("a") as file:
        file.write('{"file_name": "bridge/x\n[1]\n')
    items = list(read(tmp_path, ReadOptions()))
    assert [i.rule for i in items if isinstance(i, Skipped)] == ["unreadable_row"] * 2


def test_an_empty_split_is_reported(tmp_path: Path) -> None:
    split_of(tmp_path, [row(f"{OXE}.mp4")])
    write_metadata(tmp_path / "test", [])
    items = list(read(tmp_path, ReadOptions()))
    assert [i.rule for i in items if isinstance(i, Skipped)] == ["empty_split"]


@pytest.mark.parametrize("name", ["validation", "val"])
def test_both_names_of_the_validation_split_are_read(tmp_path: Path, name: str) -> None:
    split_of(tmp_path, [row(f"{OXE}.mp4")], name)
    assert len(list(read(tmp_path, ReadOptions()))) == 1


def test_a_folder_without_metadata_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=r"no metadata\.jsonl"):
        read(tmp_path, ReadOptions())


@pytest.mark.parametrize(
    ("source", "error"),
    [("nothing", InvalidSource), ("rdls:.", UnknownName), ("csv:/no/such/file", InvalidSource)],
)
def test_a_source_that_there_is_not_is_an_error(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_source(source)


def test_a_prefix_is_cut_without_a_new_encoding(tmp_path: Path) -> None:
    whole = tmp_path / "whole.mp4"
    write_video(whole, Frames(moving_square(3), 5.0), FORM)
    assert can_cut(whole, 20)
    assert not can_cut(whole, 19)
    pixels = video_of(whole).read().frames
    for count in (1, 2, 13):
        cut(whole, tmp_path / "part.mp4", count)
        np.testing.assert_array_equal(video_of(tmp_path / "part.mp4").read().frames, pixels[:count])


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    path, contents = tmp_path / "a.mp4", set()
    for _ in range(400):  # an encoder that is not quite deterministic differs now and then
        write_video(path, Frames(moving_square(3), 5.0), FORM)
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_the_default_format_is_that_of_the_published_videos(tmp_path: Path) -> None:
    form = VideoFormat()
    write_video(tmp_path / "a.mp4", Frames(moving_square(0), 5.0), form)
    video = video_of(tmp_path / "a.mp4").read()
    assert (video.frames.shape, video.fps) == ((20, 192, 320, 3), 10.0)
    assert has_format(tmp_path / "a.mp4", form)
    assert not has_format(tmp_path / "a.mp4", FORM)


def test_file_names_are_given_out_once() -> None:
    names = FileNames({"s/x_1.mp4"})
    assert [names.whole("s/x") for _ in range(3)] == ["s/x.mp4", "s/x_2.mp4", "s/x_3.mp4"]
    assert [names.truncated("s/x", 2) for _ in range(2)] == [
        "s/x_attempt_1_score_2.mp4",
        "s/x_attempt_2_score_2.mp4",
    ]


def test_episodes_whose_names_look_alike_get_different_files() -> None:
    assert len({stem_of("own", name) for name in ("a b", "a_b", "a/b", "A b")}) == 4


def test_a_set_is_never_written_over(tmp_path: Path) -> None:
    write_examples(tmp_path, "train", [example()], FORM)
    with pytest.raises(OutputError, match="holds a split already"):
        write_examples(tmp_path, "train", [example()], FORM)
