"""LeRobot data sets as people have them: each episode gets its own frames and its own task, or a clear error."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra `lerobot`")

import pyarrow.parquet as pq

from reward_models.data.lerobot_folder import InvalidDataSet, LeRobotFolder
from reward_models.data.lerobot_reader import LeRobotEpisodes
from reward_models.protocol.frames import wanted_indices
from reward_models.video.recording import InvalidVideo
from tests.lerobot_sets import (
    CAMERA,
    FPS,
    LENGTHS,
    frames_of,
    task_of,
    write_info,
    write_parquet,
    write_v2,
    write_v3,
)
from tests.video_files import flat_frames, numbers, write_video

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
EPISODES = list(range(len(LENGTHS)))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a hub was asked about a local folder")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def assert_right(episodes: LeRobotEpisodes, indices: list[int]) -> None:
    """Each episode has its own frames, all and some of them, and its own task."""
    assert episodes.indices == indices
    for index in indices:
        source = episodes.source(index)
        recording = source.read()
        assert numbers(recording.frames) == frames_of(index)
        assert (recording.fps, recording.num_frames) == (FPS, LENGTHS[index])
        assert numbers(np.stack(list(source.stream()))) == frames_of(index)
        thinned = source.read(max_bytes=1)
        assert thinned.indices.tolist() == wanted_indices(LENGTHS[index], FPS).tolist()
        assert numbers(thinned.frames) == [frames_of(index)[i] for i in thinned.indices]
        assert episodes.task(index) == task_of(index)


WHOLE: dict[str, Callable[[Path], Path]] = {
    "v3": write_v3,
    "v3 with images": lambda folder: write_v3(folder, as_images=True),
    "v3 with pandas' name of the task column": lambda folder: write_v3(
        folder, task_column="__index_level_0__"
    ),
    "v3 without the last frame in to_timestamp": lambda folder: write_v3(
        folder, to_timestamp_frames=-1
    ),
    "v3 with labels as tasks": lambda folder: write_v3(folder, labels=["valid"]),
    "v2.1": write_v2,
    "v2.0": lambda folder: write_v2(folder, "v2.0"),
    "v2.0 with labels as tasks": lambda folder: write_v2(folder, "v2.0", ["valid"]),
}


@pytest.mark.parametrize("write", WHOLE.values(), ids=list(WHOLE))
def test_each_episode_has_its_own_frames_and_task(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    assert_right(LeRobotEpisodes.open(write(tmp_path / "set")), EPISODES)


def test_a_set_that_lost_an_episode_keeps_the_others_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_right(LeRobotEpisodes.open(write_v3(tmp_path / "set", lost=[1])), [0, 2, 3])
    assert "promises 4 episodes, and the metadata list 3" in caplog.text


@pytest.mark.parametrize(
    "drift_ms",
    [
        *([d] * 4 for d in (-199, -101, -99, -2, 2, 50, 99, 101, 199)),  # a frame takes 200 ms
        [0, 199, 199, 199],
        [0, 90, 180, 270],
        [0, -90, -180, -270],
    ],
)
def test_borders_that_drifted_by_less_than_a_frame_are_rounded(
    tmp_path: Path, drift_ms: list[int]
) -> None:
    folder = write_v3(tmp_path / "set", drift_s=[d / 1000 for d in drift_ms])
    assert_right(LeRobotEpisodes.open(folder), EPISODES)


@pytest.mark.parametrize("drift_ms", [-99, -2, 2, 50, 99, 150, 199])
@pytest.mark.parametrize("lost", [1, 2])
def test_borders_that_drifted_are_rounded_behind_a_lost_episode_too(
    tmp_path: Path, lost: int, drift_ms: int
) -> None:
    folder = write_v3(tmp_path / "set", lost=[lost], drift_s=drift_ms / 1000)
    assert_right(LeRobotEpisodes.open(folder), [i for i in EPISODES if i != lost])


@pytest.mark.parametrize("drift_s", [-1e-6, 0.0, 1e-6])
def test_an_episode_behind_a_lost_one_of_one_frame_begins_a_frame_later(
    tmp_path: Path, drift_s: float
) -> None:
    key, about = f"videos/{CAMERA}/from_timestamp", {"length": 10}
    episodes = {
        0: {**about, key: 0.0},
        2: {**about, key: 11 / 30 + drift_s},  # episode 1 had frame 10
        3: {**about, key: 21 / 30 + 2 * drift_s},
    }
    folder = LeRobotFolder(tmp_path, {"fps": 30}, episodes, is_v2=False)
    starts = [folder.video_start_s(index, CAMERA) for index in episodes]
    assert starts == [0.0, 11 / 30, 21 / 30]


def test_a_task_is_that_of_the_rows(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    write_parquet(path, [{**row, "tasks": ["something else"]} for row in rows])
    assert_right(LeRobotEpisodes.open(folder), EPISODES)


def test_without_rows_the_metadata_tell_the_task(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    shutil.rmtree(folder / "data")
    assert_right(LeRobotEpisodes.open(folder), EPISODES)


def test_a_path_template_that_names_no_file_is_replaced_by_the_usual_one(tmp_path: Path) -> None:
    folder = write_v2(tmp_path / "set", "v2.0")
    wrong = "videos/chunk-{episode_index:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    write_info(folder, "v2.0", video_path=wrong, data_path="data/{nonsense}.parquet")
    assert_right(LeRobotEpisodes.open(folder), EPISODES)


def test_a_camera_without_files_or_with_depth_is_no_camera(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    depth = {"dtype": "video", "video_info": {"video.is_depth_map": True}}
    features = {"egoview": {"dtype": "video"}, "depth": depth, CAMERA: {"dtype": "video"}}
    write_info(folder, "v3.0", features=features)
    assert_right(LeRobotEpisodes.open(folder), EPISODES)


def opened(folder: Path) -> None:
    """What is needed before anything is scored."""
    episodes = LeRobotEpisodes.open(folder)
    for index in episodes.indices:
        episodes.source(index)
        episodes.task(index)


def without_image_features(folder: Path) -> None:
    write_info(folder, "v3.0", features={"action": {"dtype": "float32"}})


def with_two_cameras(folder: Path) -> None:
    video = {"dtype": "video"}
    write_info(folder, "v3.0", features={CAMERA: video, "observation.images.wrist": video})
    shutil.copytree(folder / f"videos/{CAMERA}", folder / "videos/observation.images.wrist")


def change_episodes(folder: Path, **changes: Any) -> None:
    path = folder / "meta/episodes/chunk-000/file-000.parquet"
    write_parquet(path, [{**row, **changes} for row in pq.read_table(path).to_pylist()])


def several_tasks(folder: Path) -> None:
    path = folder / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    write_parquet(path, [{**row, "task_index": row["frame_index"] % 2} for row in rows])


EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no info": (
        lambda f: (f / "meta/info.json").unlink(),
        "is not a LeRobot data set: it has no meta/info.json",
    ),
    "info of 0 bytes": (lambda f: (f / "meta/info.json").write_bytes(b""), "cannot be read"),
    "info that is a list": (lambda f: (f / "meta/info.json").write_text("[]"), "no frame rate"),
    "hand-made info without a rate": (
        lambda f: write_info(f, "v3.0", fps=None),
        "no frame rate: fps is None",
    ),
    "hand-made info without features": (
        lambda f: write_info(f, "v3.0", features=None),
        "does not list the features",
    ),
    "hand-made info with true as the rate": (
        lambda f: write_info(f, "v3.0", fps=True),
        "no frame rate: fps is True",
    ),
    "hand-made info with a list as dtype": (
        lambda f: write_info(f, "v3.0", features={CAMERA: {"dtype": ["video"]}}),
        "has the dtype .'video'. for .* Write a text",
    ),
    "hand-made info with a text about a camera": (
        lambda f: write_info(f, "v3.0", features={CAMERA: {"dtype": "video", "info": "640x480"}}),
        "has '640x480' as info of .* Write an object",
    ),
    "hand-made info with words as chunks_size": (
        lambda f: write_info(f, "v3.0", chunks_size="a lot"),
        "has chunks_size 'a lot'. Write the number",
    ),
    "no episodes": (
        lambda f: shutil.rmtree(f / "meta/episodes"),
        r"lists no episodes: neither meta/episodes/\*/\*.parquet",
    ),
    "episodes of 0 bytes": (
        lambda f: (f / EPISODES_FILE).write_bytes(b""),
        r"file-000.parquet cannot be read: .* finalized\?",
    ),
    "episodes twice": (
        lambda f: change_episodes(f, episode_index=0),
        "have episode 0 twice",
    ),
    "no length": (lambda f: change_episodes(f, length=None), "length None; both must be whole"),
    "no beginning": (
        lambda f: change_episodes(f, **{f"videos/{CAMERA}/from_timestamp": None}),
        "do not tell where episode 0 begins .* from_timestamp is None",
    ),
    "no tasks": (
        lambda f: (f / "meta/tasks.parquet").unlink(),
        r"tasks.parquet cannot be read: .* pass --task",
    ),
    "too few tasks": (
        lambda f: write_parquet(f / "meta/tasks.parquet", [{"task_index": 7, "task": "x"}]),
        "has task 0, which is not in meta/tasks.parquet",
    ),
    "several tasks in one episode": (several_tasks, "Episode 0 of .* must have one task; it has '"),
    "no images": (without_image_features, r"has no images to score: .* \(action\)"),
    "no videos": (
        lambda f: shutil.rmtree(f / "videos"),
        "has no images .* Fetch the folder videos",
    ),
    "two cameras": (with_two_cameras, "has the cameras .*wrist. Pass one of them as --camera"),
}


@pytest.mark.parametrize(("damage", "message"), BROKEN.values(), ids=list(BROKEN))
def test_what_a_set_lacks_is_reported_before_anything_is_scored(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    folder = write_v3(tmp_path / "set")
    opened(folder)
    damage(folder)
    with pytest.raises(InvalidDataSet, match=message):
        opened(folder)


def test_info_without_a_version_is_read_by_the_files_that_there_are(tmp_path: Path) -> None:
    for write in (write_v3, write_v2):
        folder = write(tmp_path / write.__name__)
        info = json.loads((folder / "meta/info.json").read_text())
        del info["codebase_version"]
        (folder / "meta/info.json").write_text(json.dumps(info))
        assert_right(LeRobotEpisodes.open(folder), EPISODES)


def test_an_unknown_camera_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataSet, match=f"{re.escape(CAMERA)}, and no wrist. Pass one"):
        LeRobotEpisodes.open(write_v3(tmp_path / "set"), "wrist")


def test_a_video_that_ends_too_early_costs_its_last_episodes_only(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    video = folder / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    write_video(video, flat_frames(sum(LENGTHS) - 3), FPS)
    episodes = LeRobotEpisodes.open(folder)
    assert numbers(episodes.source(2).read().frames) == frames_of(2)
    with pytest.raises(
        InvalidVideo, match=r"ends too early: 8 frames from 4\.400 s .* there are 5"
    ):
        episodes.source(3).read()


def test_rows_that_are_missing_are_noticed(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set", as_images=True)
    path = folder / "data/chunk-000/file-000.parquet"
    write_parquet(path, pq.read_table(path).to_pylist()[1:])
    with pytest.raises(InvalidVideo, match="has 5 frames by its metadata, and 4 rows"):
        LeRobotEpisodes.open(folder).source(0).read()


def test_reading_imports_neither_lerobot_nor_torch(tmp_path: Path) -> None:
    folder = write_v3(tmp_path / "set")
    code = (
        "import sys; from pathlib import Path; "
        "from reward_models.scoring.inputs import from_dataset; "
        f"[r.source.read() for r in from_dataset(Path({str(folder)!r}), None)]; "
        "print({'lerobot', 'torch', 'torchcodec', 'datasets'} & set(sys.modules))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "set()"
    assert ended.stderr == ""


@pytest.mark.skipif(
    not (SHARED / "groot_demo_lerobot_v2").is_dir(), reason="needs the shared folder of real data"
)
def test_a_real_set_of_version_2_0_with_all_its_quirks_is_read() -> None:
    folder = SHARED / "groot_demo_lerobot_v2" / "robot_sim.PickNPlace"
    episodes = LeRobotEpisodes.open(folder)
    assert episodes.camera == "observation.images.ego_view"
    assert [episodes.length(i) for i in episodes.indices] == [416, 470, 470, 412, 328]
    assert episodes.task(0) == "pick the pear from the counter and place it in the plate"
    assert {episodes.task(i).split()[-1] for i in episodes.indices} == {"plate"}
    recording = episodes.source(4).read()
    assert (recording.num_frames, recording.fps) == (328, 20.0)
    assert recording.frames.shape[1:] == (256, 256, 3)


@pytest.mark.skipif(
    not (SHARED / "g1_policy_v21").is_dir(), reason="needs the shared folder of real data"
)
def test_a_real_set_whose_videos_were_not_fetched_is_refused() -> None:
    with pytest.raises(InvalidDataSet, match="has no images to score"):
        LeRobotEpisodes.open(SHARED / "g1_policy_v21")
