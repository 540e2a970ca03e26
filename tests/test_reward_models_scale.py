"""The same job in one process, in several, and on a real local Ray cluster: equal files, and no failure lost."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reward_models.augment.run import run as augment
from reward_models.net.budget import budget_with, share_between
from reward_models.scale.places import Place, WorkerDied, in_processes, in_threads
from reward_models.scoring.inputs import InvalidRequest
from reward_models.scoring.videos import ScoreConfig, part
from reward_models.scoring.videos import run as score
from roboreward_gym.errors import BudgetExhausted, InvalidClip, InvalidSetting
from tests import augment_data
from tests.fake_api import Reply, completion, fake_server
from tests.video_files import write_video

ray = pytest.importorskip("ray", reason="needs the extra `scale`")

# About settings of its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

OTHERS = (Place(workers=2), Place(workers=2, ray="auto"))


@pytest.fixture(scope="module")
def cluster() -> Generator[None]:
    """A Ray cluster of this machine, which `auto` finds."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # by default 15, and slow beside other work
    context = ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield context
    ray.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for number in range(9):
        frames = rng.integers(0, 256, (6 + number, 32, 48, 3), np.uint8)
        write_video(folder / f"{number}.mp4", frames, fps=5)
    (folder / "5.mp4").write_bytes(b"no video")
    return folder


def tenfold(item: int) -> int:
    if item == 3:
        raise InvalidClip("three")
    return 10 * item


def make_tenfold() -> Callable[[int], int]:
    return tenfold


def make_nothing() -> Callable[[int], int]:
    raise InvalidSetting("no such model")


def collected(results: Generator[Callable[[], int]]) -> list[int | str]:
    found: list[int | str] = []
    for take in results:
        try:
            found.append(take())
        except InvalidClip as error:
            found.append(str(error))
    return found


EXPECTED = [0, 10, 20, "three", 40, 50, 60]


def test_results_come_in_order_and_errors_in_their_place(cluster: None) -> None:
    assert collected(in_threads(tenfold, range(7), 3, 6)) == EXPECTED
    for place in OTHERS:
        assert collected(place.map(make_tenfold, range(7))) == EXPECTED


def test_items_are_taken_as_there_is_room() -> None:
    taken: list[int] = []
    results = in_threads(tenfold, (taken.append(i) or i for i in range(1000)), 2, ahead=4)
    assert next(results)() == 0
    assert len(taken) == 4
    results.close()


def test_a_worker_that_cannot_be_made_says_why(cluster: None) -> None:
    for place in OTHERS:
        results = place.map(make_nothing, range(3))
        with pytest.raises(InvalidSetting, match="no such model"):
            next(results)()
        results.close()


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scores_are_the_same_file_wherever_they_are_made(
    cluster: None, videos: Path, tmp_path: Path
) -> None:
    written = []
    for number, place in enumerate((Place(), *OTHERS)):
        out = tmp_path / f"{number}.jsonl"
        config = ScoreConfig(
            (videos,), "open the drawer", "random:1", out=out, batch_size=2, place=place, quiet=True
        )
        assert score(config) == 1  # one of them is not a video
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]
    assert len(rows(tmp_path / "0.jsonl")) == 8


def test_a_run_with_several_workers_goes_on_where_another_ended(
    videos: Path, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    config = partial(
        ScoreConfig, (videos,), "open the drawer", "random:1", batch_size=1, quiet=True
    )
    score(config(out=whole))
    resumed.write_text("".join(whole.read_text().splitlines(keepends=True)[:3]))
    score(config(out=resumed, place=Place(2)))
    assert resumed.read_bytes() == whole.read_bytes()


def test_shards_are_disjoint_and_complete(videos: Path, tmp_path: Path) -> None:
    ids: list[object] = []
    for number in (1, 2, 3):
        out = tmp_path / f"{number}.jsonl"
        score(
            ScoreConfig((videos,), "wipe", "constant:3", out=out, shard=f"{number}/3", quiet=True)
        )
        ids += [row["id"] for row in rows(out)]
    assert sorted(map(str, ids)) == sorted(
        str(p) for p in videos.glob("*.mp4") if p.name != "5.mp4"
    )
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(InvalidRequest, match="shard"):
            part([], wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"concurrency": 16},
        {"concurrency": 2, "model": "constant:3"},
        {"readers": 0},
        {"overlay": Path("x"), "place": Place(2)},
    ],
)
def test_settings_that_do_not_fit_are_refused(videos: Path, settings: dict[str, object]) -> None:
    config = ScoreConfig((videos,), "wipe", **{"model": "constant:3", **settings})  # ty: ignore[invalid-argument-type]
    with pytest.raises(InvalidRequest):
        score(config)
    with pytest.raises(InvalidSetting):
        Place(gpus_per_worker=1)


def test_requests_to_a_server_go_out_many_at_a_time(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOREWARD_API_KEY", "test-key-1234")
    together = threading.Barrier(8, timeout=60)

    reply = Reply(completion("ANSWER: 4"), before=together.wait)  # until eight are under way
    with fake_server(reply) as server:
        name = f"openai:some-model@{server.url}"
        out = tmp_path / "scores.jsonl"
        config = ScoreConfig(
            (videos,), "wipe", name, out=out, batch_size=9, concurrency=9, quiet=True
        )
        assert score(config) == 1
    assert len(rows(out)) == 8
    assert len(server.requests) == 8


def test_augmented_sets_are_equal_wherever_they_are_made(cluster: None, tmp_path: Path) -> None:
    source = augment_data.write_set(tmp_path / "source", 6)
    written = []
    for number, place in enumerate((Place(), *OTHERS)):
        out = tmp_path / f"out{number}"
        augment(augment_data.config(source, out, place=place))
        files = sorted(p for p in out.rglob("*") if p.is_file() and "cache" not in p.parts)
        kept = {
            p.relative_to(out).as_posix(): p.read_bytes()
            for p in files
            if p.name not in {"config.json", "README.md", "audit.html"}
        }
        written.append(
            {name: content for name, content in kept.items() if not name.startswith(".")}
        )
    assert written[0] == written[1] == written[2]
    assert any(name.endswith(".mp4") for name in written[0])


def test_processes_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOREWARD_MAX_REQUESTS", "7")
    share_between(3)
    try:
        budget = budget_with()
        budget.take()
        budget.take()
        with pytest.raises(BudgetExhausted):
            budget.take()
    finally:
        share_between(1)
    monkeypatch.delenv("ROBOREWARD_MAX_REQUESTS")
    own = budget_with(default=None)
    for _ in range(10_001):
        own.take()


def test_without_a_cluster_the_address_is_named(tmp_path: Path) -> None:
    code = (
        "from reward_models.scale.places import Place\n"
        "from tests.test_reward_models_scale import make_tenfold\n"
        "list(Place(1, ray='127.0.0.1:1').map(make_tenfold, [1]))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "127.0.0.1:1" in found.stderr.splitlines()[-1]
    assert "InvalidSetting" in found.stderr


def hard_exit(item: int) -> int:
    os._exit(9)


def test_a_process_that_dies_is_an_error_and_no_result() -> None:
    results = in_processes(make_hard_exit, range(3), 1)
    with pytest.raises(WorkerDied, match="fewer --workers"):
        next(results)()
    with pytest.raises(WorkerDied):
        list(results)


def make_hard_exit() -> Callable[[int], int]:
    return hard_exit
