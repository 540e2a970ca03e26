"""Episodes as LeRobot data sets: written, read back to the pixel, scored, and refused where broken."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

from lerobot.datasets.lerobot_dataset import LeRobotDataset

from reward_models.commands import main as cli
from reward_models.data.lerobot import CAMERA, RecordedEpisodes, dataset_requests, write_dataset
from reward_models.protocol.frames import OFFICIAL
from reward_models.scoring.inputs import InvalidRequest
from reward_models.video.read import InvalidVideo
from roboreward_gym import Episode, ProgressScore, VLMRewardWrapper
from roboreward_gym import registry as registry_module
from roboreward_gym.errors import EpisodeFileError
from tests.video_files import flat_frames, numbers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
LENGTHS = (4, 6, 9)


def episode(steps: int, task: str = "open the drawer", level: int | None = 5) -> Episode:
    rng = np.random.default_rng(steps)
    return Episode(
        frames=flat_frames(steps + 1, 64, 64),
        states=rng.normal(size=(steps + 1, 7)).astype(np.float32),
        actions=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
        env_rewards=rng.normal(size=steps).astype(np.float32),
        terminated=False,
        truncated=True,
        task=task,
        fps=5.0,
        score=None if level is None else ProgressScore(level),
    )


EPISODES = [episode(n, f"task {n % 2}", level) for n, level in zip(LENGTHS, (5, 3, 1), strict=True)]


@pytest.fixture(scope="module")
def as_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("video") / "set"
    write_dataset(folder, EPISODES, reward_map="progress", robot_type="widowx")
    return folder


@pytest.fixture(scope="module")
def as_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "set"
    write_dataset(folder, EPISODES, use_videos=False)
    return folder


@pytest.fixture
def in_video(as_video: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    import shutil

    return Path(shutil.copytree(as_video, tmp_path / "set"))


def test_rows_hold_what_was_done_and_what_it_earned(as_video: Path) -> None:
    rows = LeRobotDataset("local/set", root=as_video).hf_dataset.with_format("numpy")
    first = rows[: LENGTHS[0] + 1]
    assert np.array_equal(first["observation.state"], EPISODES[0].states)
    assert np.array_equal(first["action"][:-1], EPISODES[0].actions)
    assert np.array_equal(first["action"][-1], EPISODES[0].actions[-1])
    assert first["next.reward"].tolist() == [0, 0, 0, 1, 0]
    assert first["next.done"].tolist() == [False, False, False, True, True]
    assert first["next.success"].tolist() == [False, False, False, True, True]
    assert np.array_equal(first["env_reward"][:-1], EPISODES[0].env_rewards)
    ends = np.cumsum([length + 1 for length in LENGTHS])
    assert rows["next.reward"][ends - 2].tolist() == [1.0, 0.5, 0.0]
    assert rows["next.success"][ends - 1].tolist() == [True, False, False]


def test_without_a_reward_map_there_is_no_judged_reward(as_images: Path) -> None:
    features = RecordedEpisodes.open(as_images).meta.features
    assert "env_reward" in features
    assert not {"next.reward", "next.success"} & set(features)


@pytest.mark.parametrize("kind", ["as_video", "as_images"])
def test_every_episode_is_read_back_whole(kind: str, request: pytest.FixtureRequest) -> None:
    episodes = RecordedEpisodes.open(request.getfixturevalue(kind))
    assert len(episodes) == len(LENGTHS)
    for i, length in enumerate(LENGTHS):
        footage = episodes.footage(i)
        assert numbers(footage.frames) == list(range(length + 1))
        assert footage.fps == 5.0
        assert episodes.task(i) == f"task {length % 2}"


@pytest.mark.parametrize("kind", ["as_video", "as_images"])
def test_only_the_frames_that_are_looked_at_are_held(
    kind: str, request: pytest.FixtureRequest
) -> None:
    footage = RecordedEpisodes.open(request.getfixturevalue(kind)).footage(2, max_bytes=1)
    assert numbers(footage.frames) == OFFICIAL.frame_indices(10, 5.0).tolist()
    assert footage.total == 10


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from tests.test_reward_models_score_videos import LengthJudge

    monkeypatch.setitem(registry_module._factories, "length-judge", LengthJudge)
    yield "length-judge"
    registry_module._loaded.pop("length-judge", None)


def scored(folder: Path, out: Path, judge: str, *more: str) -> list[dict[str, Any]]:
    arguments = ["score", "--dataset", str(folder), "--model", judge, "--out", str(out), *more]
    assert cli.main(arguments) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_data_set_is_scored_episode_by_episode(
    as_video: Path, tmp_path: Path, judge: str
) -> None:
    rows = scored(as_video, tmp_path / "o.jsonl", judge)
    assert [row["id"] for row in rows] == [f"episode-{i:06}" for i in range(3)]
    assert [row["task"] for row in rows] == ["task 0", "task 0", "task 1"]
    assert [row["frames"] for row in rows] == [5, 7, 10]


def test_one_command_can_be_asked_of_all_episodes(
    as_video: Path, tmp_path: Path, judge: str
) -> None:
    rows = scored(as_video, tmp_path / "o.jsonl", judge, "--task", "shut it")
    assert {row["task"] for row in rows} == {"shut it"}


def refused(folder: Path, message: str, camera: str | None = None) -> None:
    with pytest.raises(InvalidRequest, match=message):
        dataset_requests(folder, camera)


def edit_info(folder: Path, change: Any) -> None:
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def test_a_folder_that_is_no_data_set_is_refused_without_asking_the_hub(tmp_path: Path) -> None:
    refused(tmp_path, "Expected a LeRobot data set with meta/info.json")


def test_a_data_set_without_images_is_refused(in_video: Path) -> None:
    edit_info(in_video, lambda info: info["features"].pop(CAMERA))
    refused(in_video, "Expected a data set with images, got none among the features.*action")


def test_another_version_of_the_format_is_refused(in_video: Path) -> None:
    edit_info(in_video, lambda info: info.update(codebase_version="v2.1"))
    refused(in_video, "Expected a LeRobot data set of version 3")


def test_an_unknown_camera_is_refused(as_video: Path) -> None:
    refused(
        as_video, f"Expected one of the cameras {re.escape(CAMERA)}", "observation.images.wrist"
    )


def test_several_cameras_need_a_choice(in_video: Path) -> None:
    edit_info(
        in_video,
        lambda info: info["features"].update({"observation.images.b": info["features"][CAMERA]}),
    )
    refused(in_video, "got None. Pass --camera")
    assert RecordedEpisodes.open(in_video, CAMERA).camera == CAMERA


def test_a_missing_video_costs_its_episodes_only(
    in_video: Path, capsys: pytest.CaptureFixture[str], judge: str
) -> None:
    next(in_video.rglob("*.mp4")).unlink()
    assert cli.main(["score", "--dataset", str(in_video), "--model", judge]) == 1
    err = capsys.readouterr().err
    assert "episode-000000: Expected a video" in err
    assert "0 scored, 3 failed" in err


def test_metadata_that_promises_other_lengths_is_caught(in_video: Path) -> None:
    episodes = RecordedEpisodes.open(in_video)
    about = dict(episodes.meta.episodes[1])
    lying = replace(episodes, meta=_Lying(episodes.meta, {**about, "length": 99}))
    with pytest.raises(InvalidVideo, match=r"Expected 99 frames in episode 1 .*, got 7"):
        lying.footage(1)


class _Lying:
    """Metadata with one changed entry."""

    def __init__(self, meta: Any, about: dict[str, Any]) -> None:
        self._meta = meta
        self.episodes = {1: about}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._meta, name)


def test_an_episode_with_several_tasks_needs_a_choice(in_video: Path) -> None:
    episodes = RecordedEpisodes.open(in_video)
    about = {**episodes.meta.episodes[1], "tasks": ["a", "b"]}
    with pytest.raises(InvalidRequest, match="Expected one task in episode 1"):
        replace(episodes, meta=_Lying(episodes.meta, about)).task(1)


@pytest.mark.parametrize(
    ("episodes", "reward_map", "message"),
    [
        ([], None, "at least one episode"),
        ([episode(4, level=None)], "progress", "Expected a readable score of episode 0"),
        ([replace(episode(4), score=ProgressScore(None))], "progress", "readable score"),
        ([replace(episode(4), fps=4.5)], None, "whole number of frames per second"),
        ([episode(4), replace(episode(4), fps=10.0)], None, "another rate in episode 1"),
    ],
)
def test_episodes_that_do_not_make_a_data_set_are_refused(
    tmp_path: Path, episodes: list[Episode], reward_map: str | None, message: str
) -> None:
    with pytest.raises(EpisodeFileError, match=message):
        write_dataset(tmp_path / "set", episodes, reward_map=reward_map)


def test_the_reward_in_the_data_set_is_the_one_of_the_wrapper(tmp_path: Path) -> None:
    from tests.fakes import PaintedEnv

    class Three:
        def score(self, clips: Any) -> list[ProgressScore]:
            return [ProgressScore(3) for _ in clips]

    env = VLMRewardWrapper(PaintedEnv(steps=3), Three(), reward_map="minus_one")
    env.reset(seed=0)
    rewards = [env.step(env.action_space.sample())[1] for _ in range(3)]
    judged = replace(episode(3), score=env.last_score)
    dataset = write_dataset(tmp_path / "set", [judged], reward_map="minus_one", use_videos=False)
    written = LeRobotDataset("local/set", root=dataset.root).hf_dataset["next.reward"]
    assert [float(value) for value in written][:3] == rewards
