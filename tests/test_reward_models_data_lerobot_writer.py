"""Our episodes as LeRobot data sets: written, read back to the pixel, scored, and refused where they do not fit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

from lerobot.datasets.lerobot_dataset import LeRobotDataset

from reward_models.commands import main as cli
from reward_models.data.lerobot_reader import LeRobotEpisodes
from reward_models.data.lerobot_writer import CAMERA, write_dataset
from reward_models.video.recording import InvalidVideo
from roboreward_gym import Episode, ProgressScore, VLMRewardWrapper
from roboreward_gym import registry as registry_module
from roboreward_gym.errors import EpisodeFileError
from tests.video_files import flat_frames, numbers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ROOT = Path(__file__).resolve().parents[1]
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


def test_rows_hold_actions_and_rewards(as_video: Path) -> None:
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


def test_without_a_reward_map_there_is_no_reward_of_a_model(as_images: Path) -> None:
    features = LeRobotEpisodes.open(as_images).folder.info["features"]
    assert CAMERA in features
    assert "env_reward" in features
    assert not {"next.reward", "next.success"} & set(features)


@pytest.mark.parametrize("kind", ["as_video", "as_images"])
def test_every_episode_is_read_back_whole(kind: str, request: pytest.FixtureRequest) -> None:
    episodes = LeRobotEpisodes.open(request.getfixturevalue(kind))
    assert episodes.indices == list(range(len(LENGTHS)))
    for i, length in enumerate(LENGTHS):
        recording = episodes.source(i).read()
        assert numbers(recording.frames) == list(range(length + 1))
        assert recording.fps == 5.0
        assert episodes.task(i) == f"task {length % 2}"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from tests.test_reward_models_scoring_videos import LengthModel

    monkeypatch.setitem(registry_module._factories, "length-model", LengthModel)
    yield "length-model"
    registry_module._loaded.pop("length-model", None)


def scored(folder: Path, out: Path, model: str, *more: str) -> list[dict[str, Any]]:
    arguments = ["score", "--dataset", str(folder), "--model", model, "--out", str(out), *more]
    assert cli.main(arguments) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_data_set_is_scored_episode_by_episode(
    as_video: Path, tmp_path: Path, model: str
) -> None:
    rows = scored(as_video, tmp_path / "o.jsonl", model)
    assert [row["id"] for row in rows] == [f"episode-{i:06}" for i in range(3)]
    assert [row["task"] for row in rows] == ["task 0", "task 0", "task 1"]
    assert [row["frames"] for row in rows] == [5, 7, 10]


def test_all_episodes_can_be_scored_for_one_task(
    as_video: Path, tmp_path: Path, model: str
) -> None:
    rows = scored(as_video, tmp_path / "o.jsonl", model, "--task", "shut it")
    assert {row["task"] for row in rows} == {"shut it"}


def test_a_missing_video_costs_its_episodes_only(
    as_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    folder = shutil.copytree(as_video, tmp_path / "set")
    episodes = LeRobotEpisodes.open(folder)
    next(folder.rglob("*.mp4")).unlink()
    with pytest.raises(InvalidVideo, match="There is no video"):
        episodes.source(1).read()
    assert cli.main(["score", "--dataset", str(folder), "--model", model]) == 1
    assert "Fetch the folder videos, too" in capsys.readouterr().err


WRITE = """
import sys
from pathlib import Path
from reward_models.data.lerobot_writer import write_dataset
from tests.test_reward_models_data_lerobot_writer import EPISODES

write_dataset(Path(sys.argv[1]), EPISODES)
"""


def test_writing_tries_no_decoder_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WRITE, str(tmp_path / "set")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "torchcodec" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("episodes", "reward_map", "message"),
    [
        ([], None, "There are no episodes to write"),
        ([episode(4, level=None)], "progress", "Episode 0 has no readable score"),
        ([replace(episode(4), score=ProgressScore(None))], "progress", "no readable score"),
        ([replace(episode(4), fps=4.5)], None, "whole number of frames per second"),
        (
            [episode(4), replace(episode(4), fps=10.0)],
            None,
            "Episode 1 has other shapes or another rate",
        ),
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
    scored_episode = replace(episode(3), score=env.last_score)
    dataset = write_dataset(
        tmp_path / "set", [scored_episode], reward_map="minus_one", use_videos=False
    )
    written = LeRobotDataset("local/set", root=dataset.root).hf_dataset["next.reward"]
    assert [float(value) for value in written][:3] == rewards
