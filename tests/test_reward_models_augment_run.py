"""The whole augmentation without a model: what comes out, what goes wrong, and how it goes on after any end."""

import dataclasses
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.augment import run as program
from reward_models.augment import units
from reward_models.augment.config import RoleNames
from reward_models.augment.models import AnswerCache, Question
from reward_models.augment.pipeline import Steps
from reward_models.augment.run import run
from reward_models.data.example import Example, Frames, InvalidSource
from reward_models.data.published import read
from reward_models.data.published_writer import sha256
from reward_models.data.sources import ReadOptions
from reward_models.data.splits import Membership
from reward_models.data.truth import EpisodeTruth, read_truths, write_truths
from reward_models.data.video_file import OutputError, write_video
from reward_models.protocol.prompt import build_prompt
from roboreward_gym.errors import BudgetExhausted, InvalidSetting, RewardModelFailure, UnknownName
from tests.augment_data import FORM, STATE_ROLES, TASK, config, moving_square, truth, write_set
from tests.split_leaks import leaks

ROOT = Path(__file__).resolve().parents[1]


def written(out: Path) -> list[Example]:
    return [item for item in read(out, ReadOptions()) if isinstance(item, Example)]


def journal(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "audit.jsonl").read_text().splitlines()]


def tree(out: Path) -> dict[str, bytes]:
    """All files of a set apart from what is about the run itself."""
    skip = {"cache", ".lock", "audit.html"}
    files = [p for p in out.rglob("*") if p.is_file() and p.relative_to(out).parts[0] not in skip]
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def test_every_label_equals_the_truth_if_the_simulator_verifies(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 8)
    summary = run(config(source, tmp_path / "out"))
    truths = read_truths(source)
    examples = written(tmp_path / "out")
    assert summary.examples == len(examples)
    for it in examples:
        count = len(it.video.read().frames)
        assert it.reward == truths[it.source_episode].level(it.task, count - 1)
        assert it.check.endswith("ANSWER: TRUE")
        assert it.checked_by == "simulator"
    assert {it.kind for it in examples} == {"original", "counterfactual", "truncated"}
    assert {it.reward for it in examples if it.kind == "counterfactual"} == {1, 2, 3, 4}
    assert {it.reward for it in examples if it.kind == "truncated"} == {1, 2, 3, 4}


def test_truncated_videos_are_the_first_frames_and_others_the_very_bytes(tmp_path: Path) -> None:
    run(config(write_set(tmp_path / "sim", 1), tmp_path / "out"))
    by_kind: dict[str, list[Example]] = {}
    for it in written(tmp_path / "out"):
        by_kind.setdefault(it.kind, []).append(it)
    [original] = by_kind["original"]
    frames = original.video.read().frames
    for it in by_kind["truncated"]:
        part = it.video.read().frames
        assert len(part) == round(it.kept * len(frames))
        np.testing.assert_array_equal(part, frames[: len(part)])
    for it in by_kind["counterfactual"]:
        assert it.video.file is not None
        assert original.video.file is not None
        assert it.video.file.read_bytes() == original.video.file.read_bytes()


def test_the_splits_of_a_set_do_not_leak(tmp_path: Path) -> None:
    run(config(write_set(tmp_path / "sim", 12), tmp_path / "out"))
    members, splits = [], []
    for split in ("train", "val", "test"):
        for it in read(tmp_path / "out", ReadOptions(split=split)):
            assert isinstance(it, Example)
            assert it.video.file is not None
            members.append(Membership(it.subset, it.source_episode, sha256(it.video.file)))
            splits.append(split)
    assert leaks(members, splits) == []
    assert set(splits) == {"train", "val", "test"}


def test_card_config_audit_and_page_lie_beside_the_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(config(write_set(tmp_path / "sim", 3), out))
    assert json.loads((out / "config.json").read_text())["roles"]["proposer"] == "grammar"
    assert "| verifier | `simulator` |" in (out / "README.md").read_text()
    rejected = [e for line in journal(out) for e in line["events"] if not e["accepted"]]
    assert rejected
    assert all(e["rule"] and e["why"] for e in rejected)
    page = (out / "audit.html").read_text()
    assert page.count("<section") == 3
    assert "data:image/jpeg" in page
    assert rejected[0]["rule"] in page


def test_conversations_hold_the_prompt_the_video_and_the_answer(tmp_path: Path) -> None:
    run(config(write_set(tmp_path / "sim", 4), tmp_path / "out"))
    for split in ("train", "val", "test"):
        rows = [
            e for e in read(tmp_path / "out", ReadOptions(split=split)) if isinstance(e, Example)
        ]
        talks = json.loads((tmp_path / f"out/conversations-{split}.json").read_text())
        assert len(talks) == len(rows)
        for talk, it in zip(talks, rows, strict=True):
            human, gpt = talk["conversations"]
            assert human["value"] == f"{build_prompt(it.task)}\n<video>"
            assert gpt["value"] == f"ANSWER: {it.reward}"
            assert (tmp_path / "out" / split / talk["video"][0]).is_file()


def test_a_task_with_control_tokens_is_rejected(tmp_path: Path) -> None:
    folder = own_videos(tmp_path / "own", ["5", "2"])
    text = (folder / "videos.csv").read_text().replace("Put", "<|im_end|> Put", 1)
    (folder / "videos.csv").write_text(text)
    (folder / "truth.jsonl").touch()
    summary = run(config(folder, tmp_path / "out", source=f"csv:{folder}"))
    assert summary.rejected_by_rule == {"reserved_token": 1}


def test_the_result_does_not_depend_on_the_concurrency(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 5)
    for n in (1, 4):
        run(config(source, tmp_path / f"out{n}", concurrency=n))
    one, four = (tree(tmp_path / f"out{n}") for n in (1, 4))
    for name in set(one) - {"config.json", "README.md"}:
        assert one[name] == four[name]


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 6)
    run(config(source, tmp_path / "whole"))
    out = tmp_path / "out"
    run(config(source, out, limit=2))
    with (out / "audit.jsonl").open("a") as file:
        file.write('{"unit": "sim_toy/torn')
    run(config(source, out))
    whole, parts = tree(tmp_path / "whole"), tree(out)
    for name in set(whole) - {"config.json", "README.md"}:
        assert whole[name] == parts[name], name
    assert set(whole) == set(parts)


def test_a_finished_run_does_nothing_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = config(write_set(tmp_path / "sim", 2), tmp_path / "out")
    run(one)
    before = tree(one.out)

    def worked(*_: object) -> None:
        raise AssertionError("a finished unit is done again")

    monkeypatch.setattr(program.Worker, "__call__", worked)
    run(one)
    assert tree(one.out) == before


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 2)
    run(config(source, tmp_path / "out"))
    with pytest.raises(OutputError, match="seed changed"):
        run(config(source, tmp_path / "out", seed=1))
    run(config(source, tmp_path / "out", concurrency=1, max_requests=3))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="holds other files"):
        run(config(write_set(tmp_path / "sim", 1), tmp_path / "out"))


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    source, out = write_set(tmp_path / "sim", 1), tmp_path / "out"
    held = (
        "import sys, time; from pathlib import Path; from reward_models.augment.journal import Journal\n"
        "with Journal(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", held, str(out)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match="Another run is writing"):
            run(config(source, out))
    finally:
        other.kill()
        other.wait()
        other.stdout.close()  # type: ignore[union-attr]
    assert run(config(source, out)).examples > 0


def test_an_output_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 1)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        run(config(source, tmp_path / "file/out"))


def test_a_full_disk_keeps_what_was_done_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = config(write_set(tmp_path / "sim", 4), tmp_path / "out", concurrency=1)
    whole = units.write_video
    calls = []

    def full(path: Path, *rest: Any) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise OutputError(f"{path} cannot be written: {os.strerror(errno.ENOSPC)}.")
        whole(path, *rest)

    # The source has the format already; another one is asked for, so that videos are encoded.
    form = dataclasses.replace(FORM, fps=4.0)
    one = dataclasses.replace(one, video=form)
    monkeypatch.setattr(units, "write_video", full)
    with pytest.raises(OutputError, match="No space left"):
        run(one)
    assert 1 <= len(journal(one.out)) <= 2
    monkeypatch.setattr(units, "write_video", whole)
    assert run(one).by_kind["original"] == 4
    assert len(journal(one.out)) == 4


def test_a_broken_video_costs_itself_only_and_is_counted(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 3)
    broken = next((source / "train/sim_toy").glob("*toy-1.mp4"))
    broken.write_bytes(broken.read_bytes()[:700])
    summary = run(config(source, tmp_path / "out"))
    assert summary.by_kind["original"] == 2
    assert summary.rejected_by_rule["unreadable_video"] == 1
    assert "unreadable_video" in (tmp_path / "out/audit.html").read_text()


def test_a_source_with_nothing_usable_says_why(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("video,task\nnone.mp4,open it\n")
    (tmp_path / "truth.jsonl").touch()
    with pytest.raises(OutputError, match="invalid_row 1"):
        run(config(tmp_path, tmp_path / "out", source=f"csv:{tmp_path}"))


def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").write_text("video,task\n")
    with pytest.raises(InvalidSource, match="is empty"):
        run(config(tmp_path, tmp_path / "out", source=f"csv:{tmp_path}"))


def own_videos(folder: Path, rewards: list[str]) -> Path:
    folder.mkdir()
    lines = ["video,task,reward"]
    for i, reward in enumerate(rewards):
        write_video(folder / f"{i}.mp4", Frames(moving_square(i), 10.0), FORM)
        lines.append(f"{i}.mp4,Put the duck on the towel,{reward}")
    (folder / "videos.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_videos_without_a_label_are_left_out_or_taken_for_successes(tmp_path: Path) -> None:
    folder = own_videos(tmp_path / "own", ["5", "", "2"])
    roles = RoleNames("code", "simulator", "grammar", "grammar", "accept")
    more = {
        "source": f"csv:{folder}",
        "roles": roles,
        "steps": Steps(counterfactual=False),
        "truth": None,
    }
    (folder / "truth.jsonl").touch()
    left_out = run(config(folder, tmp_path / "a", **more))
    assert left_out.rejected_by_rule["unlabelled"] == 1
    assert (left_out.by_kind["original"], left_out.by_kind["organic"]) == (1, 1)
    taken = run(config(folder, tmp_path / "b", unlabelled="success", **more))
    assert taken.by_kind["original"] == 2


def test_labels_that_are_there_already_are_kept(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 2)
    run(config(source, tmp_path / "first"))
    again = config(
        source, tmp_path / "second", source=f"published:{tmp_path / 'first'}", truth=source
    )
    summary = run(again)
    first = {(e.source_episode, e.kind, e.task, e.reward) for e in written(tmp_path / "first")}
    second = {(e.source_episode, e.kind, e.task, e.reward) for e in written(tmp_path / "second")}
    assert first == second
    assert summary.rejected_by_rule["duplicate"] == len(first) - 2


def test_a_video_that_does_not_reach_its_own_task_gives_nothing(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 1, task="put the block on the plate")
    with pytest.raises(OutputError, match="not_verified 1"):
        run(config(source, tmp_path / "out"))


def test_videos_too_short_to_cut_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    write_video(folder / "a.mp4", Frames(moving_square(0, 5), 10.0), FORM)
    (folder / "videos.csv").write_text("video,task,reward\na.mp4,put the duck on the towel,5\n")
    roles = RoleNames("code", "simulator", "grammar", "grammar", "accept")
    (folder / "truth.jsonl").write_text("")
    summary = run(config(folder, tmp_path / "out", source=f"csv:{folder}", roles=roles))
    # 30 % and 50 % of five frames are the same two: one video cannot have both rewards.
    assert summary.rejected_by_rule == {"no_truth": 1, "too_short": 1, "contradiction": 1}
    assert summary.by_kind == {"original": 1, "truncated": 2}


def test_an_unknown_role_suggests_the_known_ones(tmp_path: Path) -> None:
    roles = dataclasses.replace(STATE_ROLES, verifier="opanai:gpt")
    with pytest.raises(UnknownName, match="openai"):
        run(config(write_set(tmp_path / "sim", 1), tmp_path / "out", roles=roles))


def test_a_set_without_truth_cannot_play_the_simulator(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 1)
    (source / "truth.jsonl").unlink()
    with pytest.raises(InvalidSource, match="choose other roles"):
        run(config(source, tmp_path / "out"))


@pytest.mark.parametrize(
    ("task", "frame", "level"),
    [
        (TASK, 19, 5),
        (TASK, 0, 1),
        ("Put the duck on the towel.", 19, 5),
        (f"{TASK} and put the block on the plate", 19, 3),
        (f"{TASK} and leave the gripper open", 19, 5),
        (f"{TASK} and leave the gripper closed", 19, 4),
        (f"{TASK} and leave the gripper closed", 10, 3),
        ("put the cow on the towel", 19, None),
        (f"{TASK} and sing", 19, None),
        ("leave the gripper open", 19, None),
    ],
)
def test_the_truth_about_tasks_made_of_known_ones(task: str, frame: int, level: int | None) -> None:
    assert truth("x").level(task, frame) == level


def test_a_truth_that_has_an_episode_twice_is_refused(tmp_path: Path) -> None:
    write_truths(tmp_path / "truth.jsonl", [truth("a"), truth("b"), truth("a")])
    with pytest.raises(InvalidSource, match="one line for each source_episode, and has 1 more"):
        read_truths(tmp_path)


def test_a_truth_with_moments_missing_is_refused() -> None:
    with pytest.raises(InvalidSource, match="one number"):
        EpisodeTruth("x", (), {"a": [1, 2]}, ["only one"])


class Flaky:
    """A proposer's model that fails now and then."""

    def __init__(self, error: Callable[[int], Exception | None]) -> None:
        self.name, self.calls, self._error = "flaky", 0, error

    def ask(self, question: Question) -> str:
        del question
        self.calls += 1
        error = self._error(self.calls)
        if error is not None:
            raise error
        return f"Put the block on the plate and lift the gripper {self.calls}"

    def close(self) -> None:
        pass


def with_proposer(tmp_path: Path, episodes: int) -> Any:
    roles = dataclasses.replace(STATE_ROLES, proposer="flaky", verifier="accept")
    source = write_set(tmp_path / "sim", episodes)
    return config(source, tmp_path / "out", roles=roles, concurrency=1)


def test_a_used_up_budget_ends_the_run_and_keeps_what_was_paid_for(tmp_path: Path) -> None:
    one = with_proposer(tmp_path, 3)
    poor = Flaky(lambda n: BudgetExhausted("No more.") if n > 5 else None)
    with pytest.raises(BudgetExhausted, match="--max-requests"):
        run(one, lambda _: poor)
    cache = AnswerCache(one.out / "cache")
    paid = len(cache.keys())
    cache.close()
    assert paid == 5
    rich = Flaky(lambda _: None)
    run(one, lambda _: rich)
    # As many questions as an uninterrupted run has, less those that were answered before.
    fresh = Flaky(lambda _: None)
    run(dataclasses.replace(one, out=tmp_path / "fresh"), lambda _: fresh)
    assert rich.calls <= fresh.calls - paid + 2


def test_one_failure_of_a_model_leaves_its_episode_for_the_next_run(tmp_path: Path) -> None:
    one = with_proposer(tmp_path, 3)
    once = Flaky(lambda n: RewardModelFailure("The server coughed.") if n == 1 else None)
    assert run(one, lambda _: once).failed == 1
    assert len(journal(one.out)) == 2
    assert run(one, lambda _: Flaky(lambda _: None)).failed == 0
    assert len(journal(one.out)) == 3


def test_the_command_says_how_many_episodes_failed_and_exits_with_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = with_proposer(tmp_path, 3)
    once = Flaky(lambda n: RewardModelFailure("The server coughed.") if n == 1 else None)
    monkeypatch.setattr(program.tyro, "cli", lambda *_, **__: one)
    monkeypatch.setattr(program, "_loader", lambda _: lambda _: once)
    assert program.main([]) == 1
    assert "1 episodes failed" in capsys.readouterr().err
    assert program.main([]) == 0


@pytest.mark.parametrize("name", ["openai:gpt-5-mini", "gemini:g", "remote:http://127.0.0.1:1"])
def test_a_reward_model_on_a_server_cannot_verify(tmp_path: Path, name: str) -> None:
    roles = dataclasses.replace(STATE_ROLES, verifier=f"reward-model:{name}")
    with pytest.raises(InvalidSetting, match="would not be kept"):
        config(tmp_path, tmp_path / "out", roles=roles)


def test_the_help_offers_each_role_what_can_play_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.main(["--help"])
    words = " ".join(re.sub(r"[^\w.:-]+", " ", capsys.readouterr().out).split())
    describer = words.partition("--roles.describer")[2].partition("--roles.planner")[0]
    assert "simulator" in describer
    assert "accept" not in describer
    assert "reward model" not in describer


def test_a_model_that_is_out_of_order_ends_the_run(tmp_path: Path) -> None:
    one = with_proposer(tmp_path, 9)
    dead = Flaky(lambda _: RewardModelFailure("Nobody answers."))
    with pytest.raises(RewardModelFailure):
        run(one, lambda _: dead)
    assert dead.calls <= 8


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    source = write_set(tmp_path / "sim", 6)
    run(config(source, tmp_path / "whole"))
    command = [sys.executable, "-m", "tests.augment_process", str(source), str(tmp_path / "out")]
    for done in (1, 3):
        process = subprocess.Popen(command, cwd=ROOT)
        path = tmp_path / "out/audit.jsonl"
        deadline = time.monotonic() + 120
        while not (path.exists() and path.read_bytes().count(b"\n") >= done):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(config(source, tmp_path / "out"))
    whole, parts = tree(tmp_path / "whole"), tree(tmp_path / "out")
    assert set(whole) == set(parts)
    for name in set(whole) - {"config.json", "README.md"}:
        assert whole[name] == parts[name], name


def test_a_cache_of_pickles_is_refused(tmp_path: Path) -> None:
    import diskcache

    foreign = diskcache.Cache(str(tmp_path / "cache"))
    foreign.set("key", {"a": 1})
    foreign.close()
    cache = AnswerCache(tmp_path / "cache")
    with pytest.raises(InvalidSource, match="pickled"):
        cache.get("key")
    cache.close()
