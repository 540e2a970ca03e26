"""LeRobot data sets (v3): read their episodes for a judge, and write ours as one.

Needs the extra `lerobot`. Films are read by `reward_models.video.read`, so that an episode gets the score
that its video file would get, and only the frames that are looked at are held.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from lerobot.datasets import LeRobotDatasetMetadata
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import CompatibilityError
from PIL import Image, UnidentifiedImageError

from reward_models.scoring.inputs import InvalidRequest, Request
from reward_models.video.read import (
    MAX_BYTES,
    Footage,
    InvalidVideo,
    Window,
    read_footage,
    thin,
    thinned_rate,
)
from roboreward_gym.episode import Episode
from roboreward_gym.errors import EpisodeFileError
from roboreward_gym.rewards import RewardMap, as_reward_map
from roboreward_gym.types import LEVELS

INFO = Path("meta/info.json")
CAMERA = "observation.images.top"


@dataclass(frozen=True, eq=False)
class RecordedEpisodes:
    """The episodes of a data set, seen by one camera.

    Attributes:
        meta: LeRobot's own description of the data set.
        camera: Feature that holds the film.
    """

    meta: LeRobotDatasetMetadata
    camera: str

    @classmethod
    def open(cls, folder: Path, camera: str | None = None) -> "RecordedEpisodes":
        """Open a local folder; nothing is downloaded.

        Args:
            folder: Where `meta/info.json` lies.
            camera: Feature with the film; may be left out if there is only one camera.

        Raises:
            InvalidRequest: No data set, another version of the format, no such camera, or several.
        """
        if not (folder / INFO).is_file():
            # LeRobot would look for a data set of that name on the Hub.
            raise InvalidRequest(f"Expected a LeRobot data set with {INFO} in {folder}, got none.")
        try:
            meta = LeRobotDatasetMetadata(f"local/{folder.name}", root=folder)
        except (CompatibilityError, OSError, ValueError, KeyError) as error:
            raise InvalidRequest(
                f"Expected a LeRobot data set of version 3 in {folder}, got: {str(error).strip()}"
            ) from error
        cameras = [key for key in meta.camera_keys if key not in meta.depth_keys]
        if not cameras:
            raise InvalidRequest(
                f"Expected a data set with images, got none among the features of {folder}: "
                f"{', '.join(sorted(meta.features))}. A judge has to see the episode."
            )
        if (camera is None and len(cameras) > 1) or camera not in {None, *cameras}:
            raise InvalidRequest(
                f"Expected one of the cameras {', '.join(cameras)} of {folder}, got {camera}. "
                "Pass --camera."
            )
        return cls(meta, camera or cameras[0])

    def __len__(self) -> int:
        return self.meta.total_episodes

    def task(self, index: int) -> str:
        """Command of an episode.

        Raises:
            InvalidRequest: It has several, so that it is not known which one to ask about.
        """
        tasks: Sequence[str] = self._about(index)["tasks"]
        if len(tasks) != 1:
            raise InvalidRequest(
                f"Expected one task in episode {index} of {self.meta.root}, got {list(tasks)}. "
                "Pass --task to ask about one command in all episodes."
            )
        return tasks[0]

    def footage(self, index: int, max_bytes: int = MAX_BYTES) -> Footage:
        """Film of an episode.

        Raises:
            InvalidVideo: A file is missing or damaged, or holds another number of frames.
        """
        length = int(self._about(index)["length"])
        video = self.camera in self.meta.video_keys
        footage = (self._read_video if video else self._read_images)(index, max_bytes)
        if footage.total != length:
            raise InvalidVideo(
                f"Expected {length} frames in episode {index} of {self.meta.root}, as its metadata "
                f"says, got {footage.total}. Was the data set finalized? Fetch or record it again."
            )
        return footage

    def _about(self, index: int) -> dict[str, Any]:
        return self.meta.episodes[index]

    def _read_video(self, index: int, max_bytes: int) -> Footage:
        about = self._about(index)
        ends = (about[f"videos/{self.camera}/{end}_timestamp"] for end in ("from", "to"))
        path = Path(self.meta.root) / self.meta.get_video_file_path(index, self.camera)
        return read_footage(
            path, fps=float(self.meta.fps), window=Window(*ends), max_bytes=max_bytes
        )

    def _read_images(self, index: int, max_bytes: int) -> Footage:
        path = Path(self.meta.root) / self.meta.get_data_file_path(index)
        columns, chosen = [self.camera, "frame_index"], [("episode_index", "=", index)]
        try:
            table = pq.read_table(path, columns=columns, filters=chosen).sort_by("frame_index")
            cells = table[self.camera]
            fps, total = float(self.meta.fps), len(cells)
            room = max(max_bytes // max(_open(cells[0].as_py()).nbytes, 1), 1) if total else 1
            frames = [_open(cells[int(i)].as_py()) for i in thin(total, fps, room)]
        except (OSError, KeyError, ValueError, UnidentifiedImageError) as error:
            raise InvalidVideo(
                f"Expected the images of episode {index} in {path}, got: {error}."
            ) from error
        if not frames:
            raise InvalidVideo(f"Expected images of episode {index} in {path}, got none.")
        return Footage(np.stack(frames), thinned_rate(len(frames), total, fps), total, fps)


def dataset_requests(folder: Path, camera: str | None, task: str | None = None) -> list[Request]:
    """Ask about every episode of a data set: its own task, or the one that is given.

    Raises:
        InvalidRequest: See `RecordedEpisodes.open` and `RecordedEpisodes.task`.
    """
    episodes = RecordedEpisodes.open(folder, camera)
    return [
        Request(
            f"episode-{index:06}",
            folder.as_posix(),
            episodes.task(index) if task is None else task,
            partial(episodes.footage, index),
        )
        for index in range(len(episodes))
    ]


def write_dataset(
    folder: Path,
    episodes: Iterable[Episode],
    *,
    reward_map: str | RewardMap | None = None,
    robot_type: str | None = None,
    camera: str = CAMERA,
    use_videos: bool = True,
) -> LeRobotDataset:
    """Write episodes as a LeRobot data set (v3).

    A row per frame: observation, the action executed after it, and the reward that it earned. After
    the last frame nothing was done, but it shows the outcome, so it gets a row too, whose action
    repeats the one before, as LeRobot itself fills up chunks of actions.

    Args:
        folder: New folder.
        episodes: All with the same frame rate and shapes.
        reward_map: Turns each episode's score into `next.reward` of its last step, as
            `VLMRewardWrapper` does, with `next.success` for level 5. None leaves both out; the
            environment's own reward is in `env_reward` in any case.
        robot_type: Noted in the metadata.
        camera: Name of the feature with the frames.
        use_videos: Encode frames as video, else as PNG.

    Raises:
        EpisodeFileError: No episodes, different shapes or rates, or no readable score to map.
    """
    dataset: LeRobotDataset | None = None
    features: dict[str, Any] = {}
    for number, episode in enumerate(episodes):
        rows = _rows(episode, number, camera, reward_map)
        described = _features(rows[0], camera, use_videos=use_videos)
        if dataset is None:
            features = described
            fps = _whole_fps(episode.fps)
            dataset = LeRobotDataset.create(
                f"local/{folder.name}",
                fps,
                features,
                root=folder,
                robot_type=robot_type,
                use_videos=use_videos,
            )
        if described != features or episode.fps != dataset.meta.fps:
            raise EpisodeFileError(
                f"Expected episodes like the first, got other shapes or another rate in episode {number}."
            )
        for row in rows:
            dataset.add_frame(row)
        dataset.save_episode()
    if dataset is None:
        raise EpisodeFileError("Expected at least one episode to write, got none.")
    dataset.finalize()
    return dataset


def _rows(
    episode: Episode, number: int, camera: str, reward_map: str | RewardMap | None
) -> list[dict[str, Any]]:
    steps = len(episode)
    rewards = np.zeros(steps + 1, np.float32)
    success = False
    if reward_map is not None:
        score = episode.score
        if score is None or score.level is None:
            raise EpisodeFileError(
                f"Expected a readable score of episode {number} to make a reward of, got {score}. "
                "Have it judged first, or leave out reward_map."
            )
        rewards[steps - 1] = as_reward_map(reward_map)(score)
        success = score.level == LEVELS[-1]
    rows = []
    for t in range(steps + 1):
        row = {
            "observation.state": np.asarray(episode.states[t], np.float32),
            camera: episode.frames[t],
            "action": np.asarray(episode.actions[min(t, steps - 1)], np.float32),
            "env_reward": np.array([episode.env_rewards[t] if t < steps else 0.0], np.float32),
            "next.done": np.array([t >= steps - 1]),
            "task": episode.task,
        }
        if reward_map is not None:
            row["next.reward"] = rewards[t : t + 1]
            row["next.success"] = np.array([success and t >= steps - 1])
        rows.append(row)
    return rows


def _features(row: dict[str, Any], camera: str, *, use_videos: bool) -> dict[str, Any]:
    features = {}
    for name, value in row.items():
        if name == "task":
            continue
        image = name == camera
        dtype = ("video" if use_videos else "image") if image else str(value.dtype)
        names = ["height", "width", "channels"] if image else None
        features[name] = {"dtype": dtype, "shape": value.shape, "names": names}
    return features


def _whole_fps(fps: float) -> int:
    if fps != round(fps):
        raise EpisodeFileError(f"Expected a whole number of frames per second, got {fps}.")
    return round(fps)


def _open(cell: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(cell["bytes"])) as image:
        return np.asarray(image.convert("RGB"))
