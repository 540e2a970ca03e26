"""The published layout, films with known outcomes and reward data become the same questions."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from reward_models.bench.answers import AnswerLog
from reward_models.bench.ask import ask, batches
from reward_models.bench.benchmark import BenchmarkConfig, run
from reward_models.bench.measure import measure
from reward_models.bench.published_figures import OVERALL, ROBOREWARD_8B
from reward_models.bench.questions import InvalidBenchmark, Questions, open_questions
from roboreward_gym import Clip, ProgressScore
from roboreward_gym.errors import RewardModelFailure
from roboreward_gym.registry import register_reward_model
from tests.reward_folder import write_reward_folder
from tests.video_files import flat_frames, write_video

ROOT = Path(__file__).resolve().parents[1]
EPISODE = "bridge/bridge_originalsplit_train_index_7"
ROWS = (
    (f"{EPISODE}.mp4", "open the drawer", 5),
    (f"{EPISODE}_1.mp4", "close the drawer", 1),  # the same bytes
    (f"{EPISODE}_2.mp4", "put the jalapeño in the “pot”", 2),  # the same bytes
    (f"{EPISODE}_attempt_1_score_3.mp4", "open the drawer", 3),
    ("bridge/bridge_originalsplit_train_index_8.mp4", "stack the blocks", 5),
    # The same video as the row before under another episode: not independent of it.
    ("bridge/bridge_originalsplit_train_index_9_1.mp4", "unstack the blocks", 1),
    ("robo_arena/cbd9281c_F_left.mp4", "wipe the table", 2),
    ("robo_arena/cbd9281c_F_right.mp4", "wipe the table", 2),
)
COPIES = {1: 0, 2: 0, 5: 4}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of the published layout, with a row whose video is missing."""
    root = tmp_path_factory.mktemp("published")
    split = root / "test"
    for i, (name, _, _) in enumerate(ROWS):
        path = split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if i in COPIES:
            shutil.copy(split / ROWS[COPIES[i]][0], path)
        else:
            write_video(path, flat_frames(4 + i))
    rows = [{"file_name": n, "task": t, "reward": r, "gpt5_mini_check": ""} for n, t, r in ROWS]
    rows.append({**rows[4], "file_name": "bridge/bridge_originalsplit_train_index_99.mp4"})
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (split / "metadata.jsonl").write_text(text, encoding="utf-8")
    return root


class Watchful:
    """Gives level 3, and remembers the tasks and the arrays of frames of every call."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.calls: list[list[str]] = []
        self.arrays: list[int] = []
        self._left = fail_after

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self.calls.append([clip.task for clip in clips])
        self.arrays.append(len({id(clip.frames) for clip in clips}))
        return [ProgressScore(3) for _ in clips]


def test_copies_of_a_video_are_one_video_and_one_unit(published: Path) -> None:
    questions = open_questions([str(published)], "test")
    rows = questions.rows
    assert len(rows) == 8
    assert rows[0].video == rows[1].video == rows[2].video != rows[3].video
    # The truncated video shows the same episode, and the ninth episode the same video as the eighth.
    units = [row.unit for row in rows]
    assert units[0] == units[1] == units[2] == units[3]
    assert units[4] == units[5]
    assert units[6] == units[7]
    assert len(set(units)) == 3
    kinds = [row.kind for row in rows]
    assert kinds == [
        "original", "counterfactual", "counterfactual", "truncated", "original", "counterfactual",
        "organic", "organic",
    ]  # fmt: skip
    assert [skip.rule for skip in questions.skipped] == ["invalid_row"]


def test_a_missing_video_lowers_the_coverage(published: Path) -> None:
    numbers = measure(Watchful(), open_questions([str(published)], "test"))
    assert numbers["coverage"] == pytest.approx(8 / 9)
    assert (numbers["skipped_count"], numbers["failed_count"]) == (1, 0)
    # bridge: |3-5|, |3-1|, |3-2|, 0, 2, 2 = 9 / 6; robo_arena: 1.
    assert numbers["macro_mae"] == pytest.approx((9 / 6 + 1) / 2)


def test_a_video_is_decoded_once_and_passed_in_one_call(published: Path) -> None:
    questions = open_questions([str(published)], "test")
    reads: list[str] = []

    def read(row: object) -> Clip:
        reads.append(questions.rows[0].video)
        return questions.read(row)  # ty: ignore[invalid-argument-type]

    model = Watchful()
    ask(model, Questions(questions.rows, read), AnswerLog(None, "", ""), batch_size=2)
    assert len(reads) == 5
    assert [len(call) for call in model.calls] == [3, 1, 2, 2]
    assert model.arrays == [1, 1, 1, 2]


def test_batches_never_split_a_video_and_keep_the_order(published: Path) -> None:
    rows = open_questions([str(published)], "test").rows
    mixed = [rows[i] for i in (0, 3, 1, 6, 2)]
    found = [[ROWS.index(_row(q.task, q.key)) for q in batch] for batch in batches(mixed, 3)]
    assert found == [[0, 1, 2], [3, 6]]


def _row(task: str, key: str) -> tuple[str, str, int]:
    return next(row for row in ROWS if row[1] == task and key.endswith(row[0].split("/")[1]))


def test_a_stopped_run_goes_on_where_it_was(published: Path, tmp_path: Path) -> None:
    models: list[Watchful] = []

    def load(argument: str) -> Watchful:
        models.append(Watchful(int(argument)))
        return models[-1]

    register_reward_model("bench-stopped", load, replace=True)
    out = tmp_path / "bench.json"
    config = BenchmarkConfig("bench-stopped:2", (str(published),), out, batch_size=3, bootstrap=0)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    log = tmp_path / "bench.answers.jsonl"
    log.write_bytes(log.read_bytes() + b'{"key": "cut off by a ki')
    register_reward_model(
        "bench-stopped", lambda _: models.append(Watchful()) or models[-1], replace=True
    )
    numbers = run(config)
    assert numbers["examples"] == 8
    asked = [task for model in models for call in model.calls for task in call]
    assert sorted(asked) == sorted(task for _, task, _ in ROWS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "constant:2"}, "model differ"),
        ({"data": ("other",)}, "questions differ"),
        ({"garbage": True}, "holds something else"),
    ],
)
def test_answers_of_something_else_are_refused(
    published: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    config = BenchmarkConfig("constant:3", (str(published),), tmp_path / "b.json", bootstrap=0)
    run(config)
    log = tmp_path / "b.answers.jsonl"
    other = write_reward_folder(tmp_path / "folder", 2, split="test", size=(32, 64))
    if change.get("garbage"):
        log.write_text("not ours\n")
    before = log.read_bytes()
    again = BenchmarkConfig(
        str(change.get("model", "constant:3")),
        (str(other if "data" in change else published),),
        tmp_path / "b.json",
    )
    with pytest.raises(InvalidBenchmark, match=said):
        run(again)
    assert log.read_bytes() == before


def test_other_weights_under_the_same_name_are_refused(published: Path, tmp_path: Path) -> None:
    questions = open_questions([str(published)], "test")

    class Weighed:
        def __init__(self, weights: str) -> None:
            self.manifest = {"weights_sha256": weights}

        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            return [ProgressScore(3, manifest=self.manifest) for _ in clips]

    path = tmp_path / "answers.jsonl"
    half = Questions(questions.rows[:4], questions.read)
    ask(Weighed("a"), half, AnswerLog(path, "m", "q"))
    with pytest.raises(InvalidBenchmark, match="other weights"):
        ask(Weighed("b"), questions, AnswerLog(path, "m", "q"))


def test_a_video_that_cannot_be_read_costs_only_itself(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "copy"
    shutil.copytree(published, broken)
    (broken / "test" / ROWS[4][0]).write_bytes(b"no video at all")
    numbers = measure(Watchful(), open_questions([str(broken)], "test"))
    assert (numbers["examples"], numbers["failed_count"]) == (7, 1)
    assert "The video cannot be read" in capsys.readouterr().err


def test_a_model_that_is_out_of_order_stops_the_run(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            raise RewardModelFailure("out of order")

    with pytest.raises(RewardModelFailure, match="out of order"):
        measure(Broken(), open_questions([str(published)], "test"), batch_size=1)
    assert "The last 2 questions were not asked." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "said"),
    [("nowhere", "There is nothing at nowhere"), ("csv:nowhere.csv", "There is nothing at")],
)
def test_data_that_is_not_there_is_named(source: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        open_questions([source])


def test_data_without_levels_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", flat_frames(4))
    (tmp_path / "videos.csv").write_text("video,task\na.mp4,open the drawer\n")
    with pytest.raises(InvalidBenchmark, match=r"no labelled example.*has no level"):
        open_questions([f"csv:{tmp_path / 'videos.csv'}"])


def test_several_sources_keep_their_own_videos(published: Path, tmp_path: Path) -> None:
    folder = write_reward_folder(tmp_path / "folder", 2, split="test", size=(32, 64))
    questions = open_questions([str(folder), str(published)], "test")
    assert len(questions) == 4 + 8
    shapes = {questions.read(row).frames.shape[1:3] for row in questions.rows}
    assert shapes == {(32, 64), (32, 48)}
    assert len({row.key for row in questions.rows}) == 12


def test_the_films_in_the_checkout_have_both_outcomes() -> None:
    questions = open_questions([f"csv:{ROOT / 'benchmarks' / 'films'}"])
    assert questions.skipped == ()
    assert len({row.video for row in questions.rows}) == 19
    own = [row for row in questions.rows if row.subset == "outcome"]
    assert all(("success" in row.key) == (row.level == 5) for row in own)
    assert sum(row.level == 5 for row in own) == 13
    first = questions.read(questions.rows[0])
    assert first.frames.shape[1:] == (240, 320, 3)
    assert sum(p.stat().st_size for p in (ROOT / "benchmarks" / "films").iterdir()) < 3_000_000


def test_published_figures_agree_with_one_another() -> None:
    assert len(ROBOREWARD_8B) == 23
    mean = float(np.mean(list(ROBOREWARD_8B.values())))
    assert round(mean, 3) == OVERALL["RoboReward-8B"]
