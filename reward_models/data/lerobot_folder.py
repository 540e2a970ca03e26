"""The metadata of a LeRobot data set (v2.0, v2.1 or v3) in a local folder, without LeRobot and without its hub.

Only what scoring needs is read, and what published sets get wrong is met here: see `LeRobotFolder`.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from roboreward_gym.errors import RoboRewardError

INFO = Path("meta/info.json")
DATA_V2 = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_V2 = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
DATA_V3 = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_V3 = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""Where files lie if `info.json` does not say, or says it wrongly."""
EPISODES_PER_CHUNK = 1000


class InvalidDataSet(RoboRewardError, ValueError):
    """A data set that does not tell what to score: files are missing, damaged or contradictory."""


@dataclass(frozen=True)
class LeRobotFolder:
    """A data set, version 2 or 3 by the files that it has.

    - An episode is known by its `episode_index`, never by its place in a list: a crash can lose one.
    - Its video begins at `from_timestamp`, rounded to a frame, and has `length` frames; `to_timestamp`
      is not used, as LeRobot does not use it either, and some writers leave out the last frame there.
    - Path templates that name no file are replaced by the usual ones.
    - A camera without any files is not a camera.

    Attributes:
        path: The folder.
        info: `meta/info.json`.
        episodes: Metadata of each episode by `episode_index`.
        is_v2: Whether each episode has files of its own.
    """

    path: Path
    info: Mapping[str, Any]
    episodes: Mapping[int, Mapping[str, Any]]
    is_v2: bool

    @classmethod
    def open(cls, path: Path) -> "LeRobotFolder":
        """Read the metadata.

        Raises:
            InvalidDataSet: Files are missing or damaged, or contradict one another.
        """
        info = _read_info(path)
        is_v2 = (path / "meta/episodes.jsonl").is_file()
        rows = _json_lines(path / "meta/episodes.jsonl") if is_v2 else list(_episodes_v3(path))
        episodes: dict[int, Mapping[str, Any]] = {}
        for row in rows:
            index, length = row.get("episode_index"), row.get("length")
            if not isinstance(index, int) or not isinstance(length, int) or length < 1:
                raise InvalidDataSet(
                    f"An episode of {path} has episode_index {index!r} and length {length!r}; both "
                    "must be whole numbers. Fetch or record the data set again."
                )
            if index in episodes:
                raise InvalidDataSet(
                    f"The metadata of {path} have episode {index} twice, so that it is not clear "
                    "which frames are its own. Record or export the data set again."
                )
            episodes[index] = row
        if not episodes:
            raise InvalidDataSet(f"The LeRobot data set {path} has no episodes.")
        return cls(path, info, dict(sorted(episodes.items())), is_v2)

    @property
    def fps(self) -> float:
        """Frames per second in [Hz]."""
        return float(self.info["fps"])

    def cameras(self) -> list[str]:
        """Features that are colour images or videos, and have files."""
        return [key for key in self._image_features() if self._has_files(key)]

    def is_video(self, camera: str) -> bool:
        """Whether the images of a camera are in video files."""
        return self.info["features"][camera]["dtype"] == "video"

    def video_path(self, index: int, camera: str) -> Path:
        """Return the file with an episode's video, whether it exists or not."""
        usual = VIDEO_V2 if self.is_v2 else VIDEO_V3
        return self._file(index, "video_path", usual, f"videos/{camera}", camera)

    def video_start_s(self, index: int, camera: str) -> float | None:
        """Time in its file at which an episode begins, in [s]; None where it has a file of its own.

        Raises:
            InvalidDataSet: The metadata do not tell.
        """
        if self.is_v2:
            return None
        if camera not in self._starts:
            self._starts[camera] = self._starts_of(camera)
        return self._starts[camera][index]

    @cached_property
    def _starts(self) -> dict[str, dict[int, float]]:
        """Where episodes begin in [s], by camera: filled when needed."""
        return {}

    def _starts_of(self, camera: str) -> dict[int, float]:
        """Round `from_timestamp` of each episode to a frame.

        Writers that add up durations let it drift, by up to a frame. Episodes lie one behind the other,
        so a start less than a frame off the end of the episode with the index before is that end. Behind
        a gap in the indices, where an episode of one frame may have been lost, the drift so far is taken
        off before rounding.
        """
        files: dict[tuple[Any, Any], list[tuple[float, int]]] = {}
        for index, about in self.episodes.items():
            file = (
                about.get(f"videos/{camera}/chunk_index"),
                about.get(f"videos/{camera}/file_index"),
            )
            files.setdefault(file, []).append((self._from_timestamp(index, camera), index))
        starts = {}
        for episodes in files.values():
            end, drift = 0, 0.0  # of the episode before, in frames
            # A file begins with the first episode, or the one after an episode in another file.
            following = {0} | {index + 1 for index in self.episodes}
            for start_s, index in sorted(episodes):
                place = start_s * self.fps
                follows = index in following and abs(place - drift - end) < 1
                start = end if follows else round(place - drift)
                starts[index] = start / self.fps
                end, drift = start + self.episodes[index]["length"], place - start
        return starts

    def _from_timestamp(self, index: int, camera: str) -> float:
        start_s = self.episodes[index].get(f"videos/{camera}/from_timestamp")
        if not isinstance(start_s, int | float) or not math.isfinite(start_s) or start_s < 0:
            raise InvalidDataSet(
                f"The metadata of {self.path} do not tell where episode {index} begins in the videos "
                f"of {camera}: from_timestamp is {start_s!r}. Fetch or record the data set again."
            )
        return float(start_s)

    def rows(self, index: int, columns: list[str]) -> pa.Table:
        """Return the rows of an episode in their order, of those columns that there are.

        Raises:
            OSError: No such file.
            ValueError: No Parquet, or no `episode_index` in it.
        """
        path = self._data_path(index)
        there = set(pq.read_schema(path).names)
        wanted = dict.fromkeys(c for c in (*columns, "frame_index") if c in there)
        chosen = [("episode_index", "=", index)]
        table = pq.read_table(path, columns=list(wanted), filters=chosen)
        return table.sort_by("frame_index") if "frame_index" in wanted else table

    def tasks(self, index: int) -> list[str]:
        """Return the tasks of the rows of an episode, without those that its metadata only label it with.

        Raises:
            InvalidDataSet: Its rows name a task that the data set does not list.
        """
        named = [str(task) for task in self.episodes[index].get("tasks") or ()]
        try:
            numbers = self._task_numbers(index)
        except (OSError, ValueError, KeyError):
            return named  # only metadata and videos were fetched, or the rows have no task
        unknown = [number for number in numbers if number not in self._listed_tasks]
        if unknown:
            raise InvalidDataSet(
                f"Episode {index} of {self.path} has task {unknown[0]}, which is not in "
                f"{self._tasks_file}. Fetch the data set again, or pass --task."
            )
        return [self._listed_tasks[number] for number in numbers] or named

    def _task_numbers(self, index: int) -> list[int]:
        path = self._data_path(index)
        if path not in self._pairs:
            table = pq.read_table(path, columns=["episode_index", "task_index"])
            unique = table.group_by(["episode_index", "task_index"], use_threads=False)
            self._pairs[path] = unique.aggregate([]).to_pylist()
        return [p["task_index"] for p in self._pairs[path] if p["episode_index"] == index]

    @cached_property
    def _pairs(self) -> dict[Path, list[dict[str, int]]]:
        """Which episodes and tasks occur together, by file: filled when needed."""
        return {}

    @property
    def _tasks_file(self) -> Path:
        return Path(f"meta/tasks.{'jsonl' if self.is_v2 else 'parquet'}")

    @cached_property
    def _listed_tasks(self) -> dict[int, str]:
        """Text of each task by its number."""
        file = self.path / self._tasks_file
        try:
            rows = _json_lines(file) if self.is_v2 else pq.read_table(file).to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise InvalidDataSet(
                f"{file} cannot be read: {error}. Fetch it again, or pass --task."
            ) from error
        # The text is a column, or the index of a pandas table.
        return {
            row["task_index"]: str(row.get("task", row.get("__index_level_0__")))
            for row in rows
            if isinstance(row.get("task_index"), int)
        }

    def _data_path(self, index: int) -> Path:
        return self._file(index, "data_path", DATA_V2 if self.is_v2 else DATA_V3, "data")

    def _image_features(self) -> list[str]:
        keys = []
        for key, feature in self.info["features"].items():
            about = {
                k: v
                for name in ("info", "video_info")
                for k, v in (feature.get(name) or {}).items()
            }
            depth = about.get("is_depth_map") or about.get("video.is_depth_map")
            if feature.get("dtype") in {"video", "image"} and not depth:
                keys.append(key)
        return keys

    def _has_files(self, camera: str) -> bool:
        return not self.is_video(camera) or any(
            self.video_path(index, camera).is_file() for index in self.episodes
        )

    def _file(self, index: int, template: str, usual: str, prefix: str, camera: str = "") -> Path:
        about, chunk = self.episodes[index], self.info.get("chunks_size") or EPISODES_PER_CHUNK
        names = {
            "episode_index": index,
            "episode_chunk": index // chunk,
            "chunk_index": about.get(f"{prefix}/chunk_index") or 0,
            "file_index": about.get(f"{prefix}/file_index") or 0,
            "video_key": camera,
        }
        usual_path = self.path / usual.format(**names)
        try:
            path = self.path / str(self.info.get(template) or usual).format(**names)
        except (KeyError, IndexError, ValueError):
            return usual_path
        return path if path.is_file() else usual_path


def _read_info(path: Path) -> dict[str, Any]:
    try:
        info = json.loads((path / INFO).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidDataSet(
            f"{path} is not a LeRobot data set: it has no {INFO}. A data set on a hub must be "
            "downloaded first."
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidDataSet(f"{path / INFO} cannot be read: {error}.") from error
    fps, features = (
        info.get(key) if isinstance(info, dict) else None for key in ("fps", "features")
    )
    is_number = isinstance(fps, int | float) and not isinstance(fps, bool)
    if not is_number or not (math.isfinite(fps) and fps > 0):
        raise InvalidDataSet(
            f"{path / INFO} has no frame rate: fps is {fps!r}. Write the frames per second there."
        )
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise InvalidDataSet(
            f"{path / INFO} does not list the features of the data set, such as "
            '{"observation.images.top": {"dtype": "video"}}. Write them there.'
        )
    for name, feature in features.items():
        if not isinstance(feature.get("dtype", ""), str):
            raise InvalidDataSet(
                f"{path / INFO} has the dtype {feature['dtype']!r} for {name}. Write a text there, such as "
                '"video".'
            )
        for key in ("info", "video_info"):
            if not isinstance(feature.get(key) or {}, dict):
                raise InvalidDataSet(
                    f"{path / INFO} has {feature[key]!r} as {key} of {name}. Write an object there, or "
                    "leave it out."
                )
    chunks_size = info.get("chunks_size")
    if chunks_size is not None and (type(chunks_size) is not int or chunks_size < 1):
        raise InvalidDataSet(
            f"{path / INFO} has chunks_size {chunks_size!r}. Write the number of episodes in a folder "
            f"there, such as {EPISODES_PER_CHUNK}, or leave it out."
        )
    return info


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InvalidDataSet(f"{path} cannot be read: {error}. Fetch it again.") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidDataSet(f"{path} has a line that is not an object. Fetch it again.")
    return rows


def _episodes_v3(path: Path) -> Iterator[dict[str, Any]]:
    files = sorted((path / "meta/episodes").rglob("*.parquet"))
    if not files:
        raise InvalidDataSet(
            f"{path} lists no episodes: neither meta/episodes/*/*.parquet (v3) nor "
            "meta/episodes.jsonl (v2) is there. Fetch the folder meta again, whole."
        )
    for file in files:
        try:
            names = [n for n in pq.read_schema(file).names if not n.startswith("stats/")]
            yield from pq.read_table(file, columns=names).to_pylist()
        except (OSError, ValueError) as error:
            raise InvalidDataSet(
                f"{file} cannot be read: {error}. Was the data set finalized? Fetch or record it again."
            ) from error
