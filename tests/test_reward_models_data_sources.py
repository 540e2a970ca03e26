"""RoboArena sessions, tables of one's own videos, LeRobot sets and the simulator's arrays as examples."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from reward_models.data import roboarena, video_table
from reward_models.data.example import Example, Frames, InvalidSource, Item, Skipped
from reward_models.data.reward_data import RewardData
from reward_models.data.sources import READERS, ReadOptions, read_source
from reward_models.data.video_file import write_video
from roboreward_gym.errors import InvalidSetting
from tests import lerobot_sets
from tests.augment_data import FORM, moving_square
from tests.reward_folder import write_reward_folder
from tests.test_reward_models_data_rlds import rules, shared
from tests.video_files import numbers


def examples(items: list[Item]) -> list[Example]:
    return [item for item in items if isinstance(item, Example)]


def session(
    root: Path, policies: Any, *, task: str | None = "wipe the table", name: str = "uuid-1"
) -> Path:
    folder = root / "evaluation_sessions" / name
    folder.mkdir(parents=True)
    about = {"language_instruction": task, "policies": policies}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(about))
    for letter in policies or ():
        videos = folder / f"{letter}_pi0"
        # Two spellings occur.
        names = (
            ["pi0_video_left.mp4", "pi0_video_right.mp4"]
            if letter == "A"
            else ["left_shoulder.mp4"]
        )
        for i, video in enumerate([*names, "wrist.mp4"]):
            write_video(videos / video, Frames(moving_square(i, 4), 10.0), FORM)
    return root


def graded(partial: object) -> dict[str, object]:
    return {"policy_name": "pi0", "binary_success": 0, "partial_success": partial, "duration": 3}


@pytest.mark.parametrize(
    ("partial", "level"),
    [(0.0, 1), (0.09, 1), (0.1, 2), (0.4, 3), (0.7, 4), (0.99, 4), (1.0, 5), (1, 5)],
)
def test_progress_becomes_a_level_by_the_cuts(tmp_path: Path, partial: float, level: int) -> None:
    items = list(roboarena.read(session(tmp_path, {"A": graded(partial)}), ReadOptions()))
    assert [it.reward for it in examples(items)] == [level, level]


def test_the_cuts_are_a_parameter(tmp_path: Path) -> None:
    root = session(tmp_path, {"A": graded(0.29)})
    cuts = ReadOptions(progress_thresholds=(5.0, 29.0, 80.0, 95.0))
    assert {it.reward for it in examples(list(roboarena.read(root, cuts)))} == {3}
    with pytest.raises(InvalidSetting, match="increase"):
        ReadOptions(progress_thresholds=(50.0, 29.0, 80.0, 95.0))


def test_both_outside_cameras_are_rows_of_one_episode(tmp_path: Path) -> None:
    items = list(
        roboarena.read(session(tmp_path, {"A": graded(0.5), "B": graded(1.0)}), ReadOptions())
    )
    assert Counter(it.source_episode for it in examples(items)) == {"uuid-1_A": 2, "uuid-1_B": 1}
    assert {(it.subset, it.kind, it.licence) for it in examples(items)} == {
        ("robo_arena", "organic", "MIT")
    }


def test_a_policy_that_was_not_run_is_no_episode_and_one_without_a_grade_is_reported(
    tmp_path: Path,
) -> None:
    root = session(tmp_path, {"A": None, "B": graded(None), "C": graded(1.3), "D": graded("0.5")})
    assert rules(list(roboarena.read(root, ReadOptions()))) == {"no_label": 3}


@pytest.mark.parametrize("task", [None, " "])
def test_a_session_without_a_task_is_reported(tmp_path: Path, task: str | None) -> None:
    root = session(tmp_path, {"A": graded(0.5)}, task=task)
    session(root, {"A": graded(0.5)}, name="uuid-2")
    assert rules(list(roboarena.read(root, ReadOptions()))) == {"damaged_metadata": 1, "read": 2}


def test_yaml_that_would_make_objects_is_not_obeyed(tmp_path: Path) -> None:
    root = session(tmp_path, {"A": graded(0.5)})
    path = next(root.rglob("metadata.yaml"))
    path.write_text("!!python/object/apply:os.system ['touch owned']")
    assert rules(list(roboarena.read(root, ReadOptions()))) == {"damaged_metadata": 1}


def test_yaml_that_is_nested_too_deeply_is_reported(tmp_path: Path) -> None:
    root = session(tmp_path, {"A": graded(0.5)})
    next(root.rglob("metadata.yaml")).write_text("[" * 5000)
    assert rules(list(roboarena.read(root, ReadOptions()))) == {"damaged_metadata": 1}


@pytest.mark.parametrize("letter", ["/", "**", "../A", "[A]"])
def test_a_letter_that_is_a_pattern_finds_no_video_of_another(tmp_path: Path, letter: str) -> None:
    root = session(tmp_path, {"A": graded(0.5)})
    about = {"language_instruction": "wipe", "policies": {letter: graded(0.5)}}
    next(root.rglob("metadata.yaml")).write_text(yaml.safe_dump(about))
    assert rules(list(roboarena.read(root, ReadOptions()))) == {"no_video": 1}


def test_the_layout_with_real_frames_is_read() -> None:
    items = list(read_source(f"roboarena:{shared('roboarena_layout')}"))
    assert Counter(it.reward for it in examples(items)) == {1: 2, 2: 3, 5: 3}
    assert all(it.video.read().frames.shape[1:] == (288, 512, 3) for it in examples(items))


def table(folder: Path, text: str, videos: int = 2) -> Path:
    folder.mkdir(exist_ok=True)
    for i in range(videos):
        write_video(folder / f"{i}.mp4", Frames(moving_square(i, 4), 10.0), FORM)
    (folder / "videos.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_table_of_videos_is_read_with_all_its_columns(tmp_path: Path) -> None:
    text = "\ufeffvideo,task,reward,episode,subset,licence\n0.mp4,open it,5,e1,lab,MIT\n1.mp4,öffne es,2,,,\n"
    first, second = examples(list(video_table.read(table(tmp_path, text), ReadOptions())))
    assert (first.kind, first.reward, first.source_episode, first.subset, first.licence) == (
        "original",
        5,
        "e1",
        "lab",
        "MIT",
    )
    assert (second.kind, second.reward, second.source_episode, second.subset) == (
        "organic",
        2,
        "1",
        "own",
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("9.mp4,open it,5,", "invalid_row"),
        ("0.mp4,,5,", "invalid_row"),
        (",open it,5,", "invalid_row"),
        ("0.mp4,open it,6,", "invalid_row"),
        ("0.mp4,open it,good,", "invalid_row"),
        ("0.mp4,open it,2.5,", "invalid_row"),
        ("0.mp4,open it,5,-3", "invalid_row"),
        ("1.mp4,open it,5,", "duplicate_row"),
    ],
)
def test_a_bad_row_of_a_table_is_reported(tmp_path: Path, line: str, rule: str) -> None:
    folder = table(tmp_path, f"video,task,reward,fps\n1.mp4,open it,5,\n{line}\n1.mp4,shut it,5,\n")
    found = [
        i.rule if isinstance(i, Skipped) else "read"
        for i in video_table.read(folder, ReadOptions())
    ]
    assert found == ["read", rule, "read"]


def test_missing_columns_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="no task"):
        video_table.read(table(tmp_path, "video,label\n0.mp4,1\n"), ReadOptions())


def test_one_task_for_all_videos_needs_no_column(tmp_path: Path) -> None:
    folder = table(tmp_path, "video\n0.mp4\n1.mp4\n")
    items = list(video_table.read(folder, ReadOptions(task="open it")))
    assert [it.task for it in examples(items)] == ["open it"] * 2


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSource, match="cannot be read as text"):
        video_table.read(tmp_path, ReadOptions())


def test_the_arrays_of_simulated_reward_data_are_read(tmp_path: Path) -> None:
    folder = write_reward_folder(tmp_path / "d", 3)
    items = examples(list(read_source(f"simulator:{folder}")))
    data = RewardData.open([folder], "train")
    assert [(it.task, it.reward) for it in items] == [(e.task, e.level) for e in data.examples]
    whole = data.clip(data.examples[0].clip, "x")
    np.testing.assert_array_equal(items[0].video.read().frames, whole.frames)
    assert len({it.source_episode for it in items}) == 3
    with pytest.raises(InvalidSource, match="only of train"):
        list(read_source(f"simulator:{folder}", ReadOptions(split="test")))


def test_lerobot_episodes_keep_their_own_index() -> None:
    source = f"lerobot:{shared('groot_demo_lerobot_v2/robot_sim.PickNPlace')}"
    items = examples(list(read_source(source)))
    assert [it.source_episode[-1] for it in items] == list("01234")
    assert items[0].task == "pick the pear from the counter and place it in the plate"
    assert items[0].reward is None
    assert items[1].video.read().frames.shape == (470, 256, 256, 3)


def test_lerobot_episodes_are_known_by_their_index_and_by_how_they_ended(tmp_path: Path) -> None:
    folder = lerobot_sets.write_v3(tmp_path / "set", lost=[1])
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path).to_pylist()
    for row in table:  # true at the very end only, as environments say it
        ended = row["frame_index"] == lerobot_sets.LENGTHS[row["episode_index"]] - 1
        row["next.success"] = {0: ended, 1: False, 2: False, 3: None}[row["episode_index"]]
    lerobot_sets.write_parquet(path, table)
    items = list(read_source(f"lerobot:{folder}"))
    assert rules(items) == {"read": 2, "failed_episode": 1}
    first, failed, last = items
    assert isinstance(failed, Skipped)
    assert failed.where == "set_episode_000002"
    for item, index, reward in ((first, 0, 5), (last, 3, None)):
        assert isinstance(item, Example)
        assert (item.source_episode, item.reward) == (f"set_episode_{index:06d}", reward)
        assert item.task == lerobot_sets.task_of(index)
        assert numbers(item.video.read().frames) == lerobot_sets.frames_of(index)


def test_a_folder_that_is_no_lerobot_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=r"meta/info\.json"):
        read_source(f"lerobot:{tmp_path}")


def test_a_lerobot_set_says_which_camera_to_name_by_our_option(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    features = {f"observation.images.{c}": {"dtype": "image", "shape": [8, 8, 3]} for c in "ab"}
    info = {"codebase_version": "v2.1", "fps": 5, "features": features}
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    (tmp_path / "meta/episodes.jsonl").write_text(
        '{"episode_index": 0, "length": 3, "tasks": ["x"]}\n'
    )
    with pytest.raises(InvalidSource, match=r"--read\.camera"):
        read_source(f"lerobot:{tmp_path}")


def test_every_reader_of_the_table_is_there() -> None:
    from importlib import import_module

    for target in READERS.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function))
