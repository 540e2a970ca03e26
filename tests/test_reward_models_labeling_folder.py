"""The folder in which people's ratings are kept: one question, one id; nothing lost, nothing guessed."""

import dataclasses
import multiprocessing
import resource
from pathlib import Path

import pytest

from reward_models.data.published import read
from reward_models.data.sources import ReadOptions
from reward_models.labeling.assignment import Assignment
from reward_models.labeling.export import export
from reward_models.labeling.folder import LabelFolder, Rating, clip_id, level_of
from reward_models.labeling.lines import JsonLines, LabelFileError
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import Clip
from tests.labeling import clip


@pytest.fixture
def folder(tmp_path: Path) -> LabelFolder:
    return LabelFolder(tmp_path / "labels")


def test_the_same_question_is_put_in_once(folder: LabelFolder) -> None:
    first = folder.add_clip(clip())
    assert folder.add_clip(clip()) == first
    assert list(folder.videos()) == [first]
    assert folder.add_clip(clip(task="close the drawer")) != first
    assert folder.add_clip(dataclasses.replace(clip(), fps=10.0)) != first
    assert folder.add_clip(clip(seed=1)) != first


def test_the_last_rating_of_a_person_counts_and_can_be_taken_back(folder: LabelFolder) -> None:
    name = folder.add_clip(clip())
    folder.rate(name, "anna", 2)
    folder.rate(name, "ben", 4)
    folder.rate(name, "anna", 5)
    assert [(one.rater, one.level) for one in folder.ratings()] == [("ben", 4), ("anna", 5)]
    folder.withdraw(name, "anna")
    assert [(one.rater, one.level) for one in folder.ratings()] == [("ben", 4)]


@pytest.mark.parametrize("level", [0, 6, True, 3.0, "3"])
def test_a_rating_out_of_the_rubric_is_refused(folder: LabelFolder, level: object) -> None:
    name = folder.add_clip(clip())
    with pytest.raises(InvalidSetting, match="rating"):
        folder.rate(name, "anna", level)  # ty: ignore[invalid-argument-type]
    assert folder.ratings() == []


@pytest.mark.parametrize("name", ["", "  ", "a/b", "x" * 41, "a\nb"])
def test_a_name_that_is_none_is_refused(folder: LabelFolder, name: str) -> None:
    video = folder.add_clip(clip())
    with pytest.raises(InvalidSetting, match="name"):
        folder.rate(video, name, 3)


def test_a_line_cut_by_a_kill_is_dropped_and_the_next_one_is_whole(folder: LabelFolder) -> None:
    name = folder.add_clip(clip())
    folder.rate(name, "anna", 3)
    file = folder.path / "ratings.jsonl"
    with file.open("ab") as out:
        out.write(b'{"video": "' + name.encode())
    assert [one.level for one in folder.ratings()] == [3]
    folder.rate(name, "ben", 4)
    assert [one.level for one in LabelFolder(folder.path).ratings()] == [3, 4]


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '{"video": "v"}', '{"video": "v", "rater": "a", "level": 9}']
)
def test_a_file_edited_by_hand_is_an_error_with_the_line(folder: LabelFolder, line: str) -> None:
    name = folder.add_clip(clip())
    folder.rate(name, "anna", 3)
    file = folder.path / "ratings.jsonl"
    before = file.read_text() + line + "\n"
    file.write_text(before)
    with pytest.raises(LabelFileError, match="Line 2"):
        folder.ratings()
    assert file.read_text() == before


def _append(path: Path, who: int) -> None:
    for number in range(40):
        JsonLines(path).append({"who": who, "number": number})


def test_processes_that_write_at_the_same_time_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, who)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = JsonLines(path).rows()
    assert sorted((row["who"], row["number"]) for row in rows) == [
        (w, n) for w in range(3) for n in range(40)
    ]


def test_a_full_disk_is_an_error_and_what_was_saved_stays(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.append({"number": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))  # a file that may grow no further
    try:
        with pytest.raises(LabelFileError, match=r"lines\.jsonl cannot be written"):
            lines.append({"number": 2, "text": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines.append({"number": 3})
    assert [row["number"] for row in JsonLines(lines.path).rows()] == [1, 3]


def test_several_people_are_one_level_or_none() -> None:
    def said(*levels: int | None) -> int | None:
        return level_of([Rating("v", f"r{i}", level) for i, level in enumerate(levels)])

    assert said(3) == 3
    assert said(3, 5) == 3
    assert said(None, 5, 4, 5) == 5
    assert said(None, None) is None
    assert said() is None


def test_two_tabs_and_two_people_see_different_videos(folder: LabelFolder) -> None:
    names = {folder.add_clip(clip(seed)) for seed in range(3)}
    people = Assignment(folder)
    shown = [
        people.next("anna", "tab 1"),
        people.next("anna", "tab 2"),
        people.next("ben", "tab 3"),
    ]
    assert {video.id for video in shown if video} == names
    last = people.next("carl", "tab 4")
    assert last is not None  # nothing else is left: shown twice rather than not at all


def test_a_video_is_done_when_enough_people_rated_it(folder: LabelFolder) -> None:
    name = folder.add_clip(clip())
    people = Assignment(folder, ratings_per_video=2)
    folder.rate(name, "anna", 4)
    assert people.next("anna", "a") is None
    assert people.next("ben", "b") is not None
    folder.rate(name, "ben", 5)
    assert people.next("carl", "c") is None


def test_a_skipped_video_comes_last_and_an_awaited_one_first(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    waiting = folder.add_clip(clip(9))
    others = [folder._add(clip(seed), awaited=False, source={}) for seed in range(4)]
    people = Assignment(folder)
    seen = []
    for _ in range(5):
        video = people.next("anna", "tab")
        assert video is not None
        seen.append(video.id)
        people.skip("anna", video.id)
    assert seen[0] == waiting
    assert people.progress("anna").skipped == 5
    folder.rate(waiting, "anna", 1)
    again = people.next("anna", "tab")
    assert again is not None
    assert again.id == seen[1]
    assert set(seen[1:]) == set(others)


def test_a_video_of_a_data_set_moves_up_once_a_program_waits_for_it(folder: LabelFolder) -> None:
    names = [folder._add(clip(seed), awaited=False, source={}) for seed in range(6)]
    people = Assignment(folder)
    first = people.next("anna", "tab")
    assert first is not None
    other = next(seed for seed in range(6) if names[seed] != first.id)
    assert folder.add_clip(clip(other)) == names[other]
    now = people.next("anna", "tab")
    assert now is not None
    assert now.id == names[other]


def test_the_order_is_another_for_each_person_and_the_same_each_time(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    for seed in range(8):
        folder._add(clip(seed), awaited=False, source={})

    def order(rater: str) -> list[str]:
        people, seen = Assignment(folder), []
        while len(seen) < 8:
            video = people.next(rater, "tab")
            assert video is not None
            seen.append(video.id)
            people.skip(rater, video.id)
        return seen

    assert order("anna") == order("anna")
    assert order("anna") != order("ben")


def test_the_export_is_the_published_layout(folder: LabelFolder, tmp_path: Path) -> None:
    rated, unclear, _ = (folder.add_clip(clip(seed, f"task {seed}")) for seed in range(3))
    folder.rate(rated, "anna", 4)
    folder.rate(rated, "ben", 5)
    folder.rate(unclear, "anna", None)
    rows = export(folder, tmp_path / "out")
    assert [(row["task"], row["reward"], row["checked_by"]) for row in rows] == [
        ("task 0", 4, "anna, ben")
    ]
    (example,) = read(tmp_path / "out", ReadOptions())
    assert (example.task, example.reward, example.kind) == ("task 0", 4, "organic")  # ty: ignore[unresolved-attribute]


def test_an_export_of_nothing_is_refused(folder: LabelFolder, tmp_path: Path) -> None:
    folder.add_clip(clip())
    with pytest.raises(InvalidSetting, match="No video"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_id_depends_on_all_that_is_shown() -> None:
    base = clip()
    other = base.frames.copy()
    other[-1, -1, -1, -1] ^= 1
    ids = {clip_id(base), clip_id(Clip(other, base.task, base.fps)), clip_id(clip(task="wipe"))}
    assert len(ids) == 3
