"""The episodes of a LeRobot data set in a local folder as recordings to score.

Videos are read by `reward_models.video`, so that an episode gets the score that its video file would get.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.data.lerobot_folder import INFO, InvalidDataSet, LeRobotFolder
from reward_models.protocol.frames import thinned_indices
from reward_models.video.images import read_image
from reward_models.video.read import VideoSegment, read_images
from reward_models.video.recording import (
    MAX_BYTES,
    InvalidVideo,
    Recording,
    RecordingSource,
    Thinning,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeRobotEpisodes:
    """The episodes of a data set, seen by one camera.

    Attributes:
        folder: The data set.
        camera: Feature that holds the images.
    """

    folder: LeRobotFolder
    camera: str

    @classmethod
    def open(cls, path: Path, camera: str | None = None) -> "LeRobotEpisodes":
        """Open a data set of version 2.0, 2.1 or 3 in a local folder; nothing is asked of a hub.

        Args:
            path: Where `meta/info.json` lies.
            camera: Feature with the images; may be left out if there is only one camera.

        Raises:
            InvalidDataSet: No data set, damaged metadata, no such camera, or several.
        """
        folder = LeRobotFolder.open(path)
        cameras = folder.cameras()
        if not cameras:
            raise InvalidDataSet(
                f"{path} has no images to score: of its features none is of type image, or video with "
                f"a file ({', '.join(sorted(folder.info['features'])) or 'it has no features'}). "
                "Fetch the folder videos, too."
            )
        if (camera is None and len(cameras) > 1) or camera not in {None, *cameras}:
            raise InvalidDataSet(
                f"{path} has the cameras {', '.join(cameras)}"
                f"{'' if camera is None else f', and no {camera}'}. Pass one of them as --camera."
            )
        promised = folder.info.get("total_episodes")
        if isinstance(promised, int) and promised != len(folder.episodes):
            logger.warning(
                "%s promises %d episodes, and the metadata list %d. Those are scored.",
                path / INFO,
                promised,
                len(folder.episodes),
            )
        return cls(folder, camera or cameras[0])

    @property
    def indices(self) -> list[int]:
        """The `episode_index` of each episode; after a crash some may be missing."""
        return list(self.folder.episodes)

    def length(self, index: int) -> int:
        """Frames of an episode."""
        return self.folder.episodes[index]["length"]

    def first_row(self, index: int) -> int:
        """Place of an episode's first row among all rows of the data set, LeRobot's `index`.

        Raises:
            InvalidDataSet: Its rows cannot be read.
        """
        about = self.folder.episodes[index].get("dataset_from_index")
        if isinstance(about, int):
            return about
        try:
            return int(self.folder.rows(index, ["index"])["index"][0].as_py())
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise InvalidDataSet(
                f"The rows of episode {index} of {self.folder.path} cannot be read: {error}. "
                "Fetch the data set again."
            ) from error

    def task(self, index: int) -> str:
        """Task of an episode, that of its rows.

        Raises:
            InvalidDataSet: It has none or several, so that it is not known which one to score it for.
        """
        tasks = self.folder.tasks(index)
        if len(tasks) != 1 or not tasks[0].strip():
            raise InvalidDataSet(
                f"Episode {index} of {self.folder.path} must have one task; it has "
                f"{', '.join(map(repr, tasks)) or 'none'}. Pass --task to score all episodes for one task."
            )
        return tasks[0]

    def source(self, index: int) -> RecordingSource:
        """Recording of an episode; errors about its files are raised when it is read.

        Raises:
            InvalidDataSet: The metadata do not tell where its video begins.
        """
        if not self.folder.is_video(self.camera):
            return EpisodeImages(self, index)
        return VideoSegment(
            self.folder.video_path(index, self.camera),
            self.folder.fps,
            self.length(index),
            self.folder.video_start_s(index, self.camera),
        )


@dataclass(frozen=True)
class EpisodeImages:
    """An episode whose images lie in its rows.

    Attributes:
        episodes: The data set.
        index: The `episode_index`.
    """

    episodes: LeRobotEpisodes
    index: int

    def read(self, max_bytes: int = MAX_BYTES, thinning: Thinning = thinned_indices) -> Recording:
        """Read all images that fit, or a thinned recording: see `RecordingSource.read`."""
        fps = self.episodes.folder.fps
        return read_images(self._images(), fps, self._name(), max_bytes, thinning)

    def stream(self) -> Iterator[np.ndarray]:
        """Yield every image: see `RecordingSource.stream`."""
        yield from map(read_image, self._images())

    def _name(self) -> str:
        return f"episode {self.index} of {self.episodes.folder.path}"

    def _images(self) -> list[Path | bytes]:
        camera, folder = self.episodes.camera, self.episodes.folder
        try:
            cells = folder.rows(self.index, [camera])[camera].to_pylist()
            images = [_image(cell, folder.path) for cell in cells]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InvalidVideo(
                f"The images of {self._name()} cannot be read: {error}. Fetch the data set again."
            ) from error
        length = self.episodes.length(self.index)
        if len(images) != length:
            raise InvalidVideo(
                f"{self._name().capitalize()} has {length} frames by its metadata, and {len(images)} "
                "rows. Was the data set finalized? Fetch or record it again."
            )
        return images


def _image(cell: dict[str, Any], folder: Path) -> Path | bytes:
    """Content of an image, or where it lies."""
    return folder / cell["path"] if cell["bytes"] is None else cell["bytes"]
