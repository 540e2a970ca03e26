import json
from pathlib import Path

import numpy as np
import pytest

from reward_models.data.reward_data import InvalidData, RewardData
from reward_models.protocol.frames import sample_clip
from tests.reward_folder import LANDMARKS, write_reward_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reward_folder(tmp_path / "train", 6, size=(32, 64))


def edit_clips(folder: Path, **changes: object) -> None:
    rows = [
        json.loads(line) | changes for line in (folder / "clips.jsonl").read_text().splitlines()
    ]
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_frames_are_mapped_not_loaded(folder: Path) -> None:
    data = RewardData.open([folder], "train")
    assert isinstance(data.frames[0], np.memmap)
    assert data.landmarks == LANDMARKS
    assert data.dense.shape == (6, 4, len(LANDMARKS), 4)
    assert len(data.examples) == 12


def test_splits_are_kept_apart_over_folders(folder: Path, tmp_path: Path) -> None:
    other = write_reward_folder(tmp_path / "val", 3, split="validation", size=(32, 64), seed=9)
    train = RewardData.open([other, folder], "train")
    validation = RewardData.open([other, folder], "validation")
    assert {clip.split for clip in train.clips} == {"train"}
    assert not {c.episode for c in train.clips} & {c.episode for c in validation.clips}
    stored = np.load(folder / "frames.npy")
    for clip in range(6):
        np.testing.assert_array_equal(train.stored(clip), stored[clip])
    assert [e.clip for e in train.examples] == [
        e.clip for e in RewardData.open([folder], "train").examples
    ]


@pytest.mark.parametrize("other", ["validation", "test"])
def test_splits_that_share_a_seed_are_refused(folder: Path, tmp_path: Path, other: str) -> None:
    # Train has the seeds 0 to 5; this folder has 5 to 7.
    leaking = write_reward_folder(tmp_path / "leak", 3, split=other, size=(32, 64), seed=5)
    for split in ("train", other):
        with pytest.raises(InvalidData, match=f"'train' and '{other}' share the seed 5"):
            RewardData.open([folder, leaking], split)


def test_one_split_may_hold_an_episode_twice(folder: Path, tmp_path: Path) -> None:
    again = write_reward_folder(tmp_path / "again", 3, size=(32, 64), seed=5)
    assert len(RewardData.open([folder, again], "train").clips) == 9


def test_another_scene_may_have_the_seeds_of_another_split(folder: Path, tmp_path: Path) -> None:
    other = write_reward_folder(tmp_path / "val", 3, split="validation", size=(32, 64), seed=5)
    edit_clips(other, scene="drawer")
    assert set(RewardData.open_splits([folder, other])) == {"train", "validation"}


def test_an_empty_split_is_an_error(folder: Path) -> None:
    with pytest.raises(InvalidData, match=r"split 'test'.*only of train"):
        RewardData.open([folder], "test")


def test_the_rebuilt_clip_shows_the_stored_frames(folder: Path) -> None:
    data = RewardData.open([folder], "train")
    clip = data.clip(2, "task")
    assert len(clip.frames) == 41
    np.testing.assert_array_equal(sample_clip(clip).frames, data.stored(2))


@pytest.mark.parametrize("last", [40, 24, 17, 12, 7])
def test_sampling_from_disk_equals_sampling_the_rebuilt_clip(folder: Path, last: int) -> None:
    edit_clips(folder, frame_times_s=[round(t / 5, 3) for t in np.linspace(0, last, 8).round()])
    data = RewardData.open([folder], "train")
    ours, theirs = data.sampled(0, "task"), sample_clip(data.clip(0, "task"))
    np.testing.assert_array_equal(ours.frames, theirs.frames)
    np.testing.assert_array_equal(ours.indices, theirs.indices)
    assert ours.group_times_s == theirs.group_times_s
    np.testing.assert_array_equal(ours.frames[-1], data.stored(0)[-1])


@pytest.mark.parametrize(
    "name", ["frames.npy", "dense.npy", "clips.jsonl", "examples.jsonl", "landmarks.json"]
)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InvalidData, match=name):
        RewardData.open([folder], "train")


def test_a_cut_off_file_is_an_error(folder: Path) -> None:
    whole = (folder / "frames.npy").read_bytes()
    (folder / "frames.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidData, match="is damaged or incomplete"):
        RewardData.open([folder], "train")


def test_fewer_clips_than_frames_is_an_error(folder: Path) -> None:
    lines = (folder / "clips.jsonl").read_text().splitlines(keepends=True)
    (folder / "clips.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InvalidData, match="should hold 5 clips"):
        RewardData.open([folder], "train")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        *(({"level": level}, r"examples\.jsonl:2: .*a level in 1\.\.5") for level in (6, 0, 2.0, True, "3", None)),
        ({"kind": "guess"}, r"examples\.jsonl:2: "),
        ({"task": ""}, r"examples\.jsonl:2: An example needs a task"),
        ({"clip": 99}, "clips 0..5"),
        ({"clip": -1}, "clips 0..5"),
    ],
)  # fmt: skip
def test_an_impossible_example_is_an_error_that_names_its_line(
    folder: Path, row: dict[str, object], said: str
) -> None:
    good = {"clip": 0, "task": "put it down", "level": 3, "kind": "organic"}
    lines = (json.dumps(good) + "\n", json.dumps(good | row) + "\n")
    (folder / "examples.jsonl").write_text("".join(lines))
    with pytest.raises(InvalidData, match=said):
        RewardData.open([folder], "train")


def test_an_example_without_an_answer_is_named(folder: Path) -> None:
    (folder / "examples.jsonl").write_text(
        '{"clip": 0, "task": "put it down", "kind": "organic"}\n'
    )
    with pytest.raises(InvalidData, match=r"examples\.jsonl:1 has no level"):
        RewardData.open([folder], "train")


@pytest.mark.parametrize(
    "change",
    [
        {"split": "secret"},
        {"fps": 0.0},
        {"frame_times_s": [0.0, 1.0]},
        {"frame_times_s": [1.0] * 8},
    ],
)
def test_an_impossible_clip_is_an_error(folder: Path, change: dict[str, object]) -> None:
    edit_clips(folder, **change)
    with pytest.raises(InvalidData):
        RewardData.open([folder], "train")
