"""Controls: what is changed, what the right answer is, and what counts as a violation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from reward_models.bench.answers import Answer, AnswerLog
from reward_models.bench.ask import FAILURES_IN_A_ROW, Failures
from reward_models.bench.blind import measure_blind
from reward_models.bench.control_run import run_controls
from reward_models.bench.controls import CONTROLS, Subject, other_tasks, other_videos, violates
from reward_models.bench.page import number, write_page
from reward_models.bench.questions import InvalidBenchmark, Question, Questions
from roboreward_gym import Clip, ProgressScore
from roboreward_gym.errors import RewardModelFailure

LEFT, RIGHT = 250, 40
BY_NAME = {control.name: control for control in CONTROLS}


def recording(progress: float = 1.0, frames: int = 10, task: str = "open the left drawer") -> Clip:
    """A bright square goes from the top to the bottom; the left half is brighter than the right one."""
    video = np.full((frames, 40, 60, 3), RIGHT, np.uint8)
    video[:, :, :30] = 90
    for t in range(frames):
        y = int(32 * progress * t / (frames - 1))
        video[t, y : y + 8, 5:15] = (LEFT, 120, 0)
    return Clip(video, task, 5.0)


def subject(**changes: object) -> Subject:
    row = Question("k", "v", "u", "s", "original", "open the left drawer", 5)
    fields = {
        "question": row,
        "clip": recording(),
        "other_task": "fly",
        "other_clip": recording(0.1),
        "seed": 0,
    }
    return Subject(**{**fields, **changes})  # ty: ignore[invalid-argument-type]


def change(name: str, **changes: object) -> Clip:
    clip = BY_NAME[name].change(subject(**changes))
    assert clip is not None
    return clip


def test_every_control_gives_a_clip_and_leaves_the_original_alone() -> None:
    given = subject()
    before = given.clip.frames.copy()
    for control in CONTROLS:
        clip = control.change(given)
        assert clip is not None
        assert clip.frames.dtype == np.uint8
        assert len(clip.frames) >= 2
    np.testing.assert_array_equal(given.clip.frames, before)


def test_frames_are_changed_as_the_name_says() -> None:
    frames = recording().frames
    np.testing.assert_array_equal(change("first frame frozen").frames, frames[[0] * 10])
    np.testing.assert_array_equal(change("last frame only").frames, frames[[9] * 10])
    np.testing.assert_array_equal(change("reversed").frames, frames[::-1])
    np.testing.assert_array_equal(change("cut at 10 %").frames, frames[:2])
    np.testing.assert_array_equal(change("cut at 30 %").frames, frames[:3])
    np.testing.assert_array_equal(change("red and blue swapped").frames, frames[..., ::-1])
    np.testing.assert_array_equal(change("run-on").frames[10:], frames[[9] * 10])
    np.testing.assert_array_equal(change("start is goal").frames[0], frames[9])
    np.testing.assert_array_equal(change("start is goal").frames[-1], frames[9])
    assert not change("black").frames.any()
    assert change("twice as fast").duration_s == 1.0
    assert change("half as fast").duration_s == 4.0


def test_mirrored_swaps_pictures_and_words() -> None:
    clip = change("mirrored", clip=recording(task="Left of the right one, leftover"))
    assert clip.task == "Right of the left one, leftover"
    np.testing.assert_array_equal(clip.frames, recording().frames[:, :, ::-1])


def test_colours_in_the_task_forbid_a_swap_of_colours() -> None:
    given = subject(clip=recording(task="put the red block on the towel"))
    assert BY_NAME["red and blue swapped"].change(given) is None


def test_without_another_task_or_video_there_is_no_such_control() -> None:
    given = subject(other_task=None, other_clip=None)
    assert BY_NAME["another task"].change(given) is None
    assert BY_NAME["another video"].change(given) is None


@pytest.mark.parametrize(
    ("rule", "level", "original", "broken"),
    [
        ("must fail", 5, 5, True),
        ("must fail", 4, 5, False),
        ("must fail", None, 5, False),
        ("no credit", 2, 5, True),
        ("no credit", 1, 5, False),
        ("no credit", None, 5, False),
        ("must stay", 4, 5, True),
        ("must stay", 5, 5, False),
        ("must stay", 5, 3, True),
        ("must stay", 1, 3, False),
        ("must stay", None, 5, True),
    ],
)
def test_rules(rule: str, level: int | None, original: int, *, broken: bool) -> None:
    assert violates(rule, level, original) is broken  # ty: ignore[invalid-argument-type]


def rows_of_two_scenes() -> list[Question]:
    return [
        Question("a5", "a", "ua", "toy", "original", "put duck", 5),
        Question("a1", "a", "ua", "toy", "counterfactual", "put block", 1),
        Question("b5", "b", "ub", "toy", "original", "put block", 5),
        Question("c5", "c", "uc", "drawer", "original", "open", 5),
    ]


def test_other_tasks_are_known_to_be_unfulfilled() -> None:
    found = other_tasks(rows_of_two_scenes(), seed=0)
    assert found["a5"] == "put block"  # labelled 1 for this very video
    assert found["b5"] == "open"  # "put duck" might be fulfilled as well
    assert found["c5"] in {"put duck", "put block"}


def test_other_videos_are_known_not_to_fulfil_the_task() -> None:
    found = other_videos(rows_of_two_scenes(), seed=0)
    assert found["b5"].video == "a"
    assert found["a5"].video == "c"
    assert other_videos(rows_of_two_scenes()[:1], seed=0) == {}


def test_a_video_that_fulfils_the_task_as_well_is_no_other_video() -> None:
    # The only other video of the subset reached level 5 of this task too, so that a far one is taken.
    both = Question("d5", "d", "ud", "toy", "counterfactual", "put block", 5)
    rows = [row for row in rows_of_two_scenes() if row.key in ("b5", "c5")] + [both]
    assert other_videos(rows, seed=0)["b5"].video == "c"


class LastFrame:
    """Sees only where the square is in the last frame, and answers 5 if it is at the bottom."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.asked += len(clips)
        return [ProgressScore(5 if clip.frames[-1, 34].max() > 200 else 1) for clip in clips]


def toy_questions() -> tuple[Questions, dict[str, Clip]]:
    clips, rows = {}, []
    for i in range(12):
        level, progress = ((5, 1.0), (1, 0.1), (3, 0.5))[i % 3]
        clips[f"v{i}"] = recording(progress, frames=6 + 2 * (i % 3))
        rows.append(
            Question(f"k{i}", f"v{i}", f"u{i}", "s", "organic", "open the left drawer", level)
        )
    return Questions(tuple(rows), lambda row: clips[row.video]), clips


def answered(questions: Questions) -> AnswerLog:
    log = AnswerLog(None, "", "")
    for row in questions.rows:
        log.add(Answer(row.key, row.level, None, 0.0, 0.0))
    return log


def test_a_model_that_sees_the_last_frame_breaks_no_rule_about_it(tmp_path: Path) -> None:
    questions, _ = toy_questions()
    model, path = LastFrame(), tmp_path / "controls.jsonl"
    log = AnswerLog(path, "m", "q")
    found = run_controls(model, questions, answered(questions), log, bootstrap=20)
    table = found["controls"]
    assert found["successes"] == 4
    assert {name for name, row in table.items() if row["rate"]} == set()
    assert table["last frame only"]["asked"] == 4
    assert table["another task"]["rate"] is None
    assert table["black"]["interval"][1] == pytest.approx(1 - 0.025 ** (1 / 4))
    asked = model.asked
    again = run_controls(
        model, questions, answered(questions), AnswerLog(path, "m", "q"), bootstrap=20
    )
    assert (again["controls"], model.asked) == (table, asked)


class Always:
    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        return [ProgressScore(5) for _ in clips]


def test_a_model_that_always_gives_five_breaks_every_rule_of_failure() -> None:
    questions, _ = toy_questions()
    table = run_controls(
        Always(), questions, answered(questions), AnswerLog(None, "", ""), bootstrap=0
    )["controls"]
    for control in CONTROLS:
        if table[control.name]["asked"]:
            assert table[control.name]["rate"] == float(control.rule != "must stay")


def test_no_success_is_an_error() -> None:
    questions, clips = toy_questions()
    failures = Questions(tuple(r for r in questions.rows if r.level < 5), lambda r: clips[r.video])
    with pytest.raises(InvalidBenchmark, match="made from successes"):
        run_controls(Always(), failures, answered(failures), AnswerLog(None, "", ""))


class OutOfOrder:
    """Answers some clips, then fails on all others."""

    def __init__(self, answers: int) -> None:
        self.calls, self._left = 0, answers

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.calls += 1
        if self._left <= 0:
            raise RewardModelFailure("out of order")
        self._left -= len(clips)
        return [ProgressScore(1) for _ in clips]


def test_a_model_that_is_out_of_order_is_not_asked_on(capsys: pytest.CaptureFixture[str]) -> None:
    questions, _ = toy_questions()
    model = OutOfOrder(answers=3)
    found = run_controls(
        model, questions, answered(questions), AnswerLog(None, "", ""), batch_size=1, bootstrap=0
    )
    open_of_one = len(CONTROLS) - 2  # there is no other task, and no other video
    assert model.calls == open_of_one
    assert found["failed_count"] == open_of_one - 3
    shown = capsys.readouterr()
    assert "first frame frozen" not in shown.err
    assert "run-on: k0: out of order" in shown.err
    assert "The other controls were not asked." in shown.err
    assert not shown.out


def test_failures_with_answers_between_them_do_not_end_the_questions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = Failures()
    for _ in range(3 * FAILURES_IN_A_ROW):
        failures.note("one", RewardModelFailure("no answer"))
        failures.note("another", ProgressScore(3))
    assert not failures.stop
    for _ in range(FAILURES_IN_A_ROW):
        failures.note("the last", RewardModelFailure("no answer"))
    assert failures.stop
    assert failures.count == 4 * FAILURES_IN_A_ROW
    assert capsys.readouterr().err.count("no answer") == failures.count


def test_a_model_that_answers_no_control_is_an_error() -> None:
    questions, _ = toy_questions()
    with pytest.raises(RewardModelFailure, match="out of order"):
        run_controls(OutOfOrder(0), questions, answered(questions), AnswerLog(None, "", ""))


def test_videos_that_were_not_answered_take_no_part() -> None:
    questions, clips = toy_questions()
    log = answered(questions)
    del log.answers["k0"]  # a success whose video cannot be read

    def read(row: Question) -> Clip:
        assert row.key != "k0"
        return clips[row.video]

    found = run_controls(
        LastFrame(), Questions(questions.rows, read), log, AnswerLog(None, "", ""), bootstrap=0
    )
    assert found["successes"] == 3
    assert found["failed_count"] == 0


def test_blind_models_find_what_duration_and_last_frame_tell() -> None:
    questions, _ = toy_questions()
    found = measure_blind(questions, bootstrap=20)
    # The duration of these videos tells their level, and so does the last frame.
    assert found["duration"]["pearson_r"] > 0.8
    assert found["duration and 8x8 last frame"]["macro_mae"] < 0.7
    low, high = found["duration"]["intervals"]["macro_mae"]
    assert low <= found["duration"]["macro_mae"] <= high
    one = Questions(questions.rows[:1], questions.read)
    with pytest.raises(InvalidBenchmark, match="two independent episodes"):
        measure_blind(one, bootstrap=0)


def test_the_page_shows_every_part(tmp_path: Path) -> None:
    from reward_models.bench.measure import difference, measure

    questions, _ = toy_questions()
    first, second = AnswerLog(None, "", ""), AnswerLog(None, "", "")
    result = {
        "model": "<mine>", "data": ["here"], "split": "test",
        **measure(LastFrame(), questions, log=first, bootstrap=20),
    }  # fmt: skip
    result["against"] = {"model": "other", **measure(Always(), questions, log=second)}
    result["difference"] = difference(questions, first, second, bootstrap=20)
    result["controls"] = run_controls(
        LastFrame(), questions, first, AnswerLog(None, "", ""), bootstrap=20
    )
    write_page(tmp_path / "bench.html", result)
    page = (tmp_path / "bench.html").read_text()
    assert "&lt;mine&gt;" in page
    assert "Not comparable" in page
    assert page.count('<span class="tag">published</span></td>') == 6
    assert page.count("measured here") == 2
    for text in (
        "Against other",
        "first frame frozen",
        "duration and 8x8 last frame",
        "prefers-color-scheme",
    ):
        assert text in page
    # MAE: 0.67 of the one, 2.0 of the other: the intervals do not meet.
    assert "<td>yes</td>" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.66464, "0.665"), (1234.5, "1,234"), (None, "-"), (12.0, "12.0"), (7, "7")],
)
def test_numbers_of_the_page(value: float | None, text: str) -> None:
    assert number(value) == text
