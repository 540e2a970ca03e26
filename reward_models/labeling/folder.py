"""The folder in which videos wait for people, and in which their ratings are kept.

    FOLDER/
        videos.jsonl     a line per video: id, task, file, rate, where it comes from
        videos/ID.mp4    H.264, which every browser plays
        ratings.jsonl    a line per rating, in order of time; a later one of the same person replaces an earlier one

Several programs may use it at the same time: those that put videos in, the page, and those that wait for ratings.
"""

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from reward_models.data.example import Example, Item
from reward_models.data.video_file import whole_file
from reward_models.labeling.lines import JsonLines, LabelFileError
from reward_models.protocol.prompt import check_task_text
from reward_models.video.write import write_mp4
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import LEVELS, Clip

VIDEOS, RATINGS = "videos.jsonl", "ratings.jsonl"
RATER_CHARACTERS = 40


@dataclass(frozen=True)
class RatedVideo:
    """A video that people rate.

    Attributes:
        id: Made from pixels, task and rate: the same question has the same id.
        task: The instruction that the robot was given.
        file: The video, relative to the folder.
        fps: Frames per second in [Hz].
        num_frames: Frames of the whole recording.
        awaited: Whether a program waits for the answer; people see such videos first.
        source: Provenance of an example of a data set: subset, source_episode, kind, original_task, kept, licence.
    """

    id: str
    task: str
    file: str
    fps: float
    num_frames: int
    awaited: bool = False
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rating:
    """The rating of one video by one person.

    Attributes:
        video: Id of the video.
        rater: Who said it.
        level: 1..5, or None: cannot tell.
        at: When, ISO 8601 in UTC.
        withdrawn: The person took the rating back and gave no other.

    Raises:
        InvalidSetting: No such level, or no name.
    """

    video: str
    rater: str
    level: int | None
    at: str = ""
    withdrawn: bool = False

    def __post_init__(self) -> None:
        check_rater(self.rater)
        whole = isinstance(self.level, int) and not isinstance(self.level, bool)
        if self.level is not None and not (whole and self.level in LEVELS):
            raise InvalidSetting(f"A rating is one of {LEVELS} or null, not {self.level!r}.")


class LabelFolder:
    """Videos and ratings on disk.

    Args:
        path: The folder; it is made if it does not exist.

    Raises:
        LabelFileError: It cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            (path / "videos").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabelFileError(
                f"{path} cannot be made: {error.strerror}. Choose another folder."
            ) from error
        self._lock = FileLock(path / ".videos.lock")
        self._videos = JsonLines(path / VIDEOS)
        self._ratings = JsonLines(path / RATINGS)

    def add_clip(self, clip: Clip) -> str:
        """Put a clip in that a program waits for, unless it is there, and return its id.

        Raises:
            OutputError, LabelFileError: No room, or no permission.
        """
        return self._add(clip, awaited=True, source={})

    def add_examples(self, items: Iterable[Item]) -> Iterator[Item]:
        """Put the examples of a data set in, one by one; yields each item when it is done with.

        What is not an example is passed on as it is.

        Raises:
            InvalidVideo: A video cannot be read.
            OutputError, LabelFileError: No room, or no permission.
        """
        for item in items:
            if isinstance(item, Example):
                source = {
                    "subset": item.subset,
                    "source_episode": item.source_episode,
                    "kind": item.kind,
                    "original_task": item.original_task,
                    "kept": item.kept,
                    "licence": item.licence,
                }
                self._add(item.video.read().clip(item.task), awaited=False, source=source)
            yield item

    def _add(self, clip: Clip, *, awaited: bool, source: dict[str, Any]) -> str:
        name = clip_id(clip)
        with self._lock:
            known = self.videos().get(name)
            if known is None:
                file = f"videos/{name}.mp4"
                rate = clip.fps if clip.indices is None else len(clip.frames) / clip.duration_s
                with whole_file(self.path / file) as beside:
                    write_mp4(beside, clip.frames, rate)
                video = RatedVideo(name, clip.task, file, rate, len(clip.frames), awaited, source)
                self._videos.append(asdict(video))
            elif awaited and not known.awaited:
                self._videos.append(asdict(replace(known, awaited=True)))
        return name

    def videos(self) -> dict[str, RatedVideo]:
        """Return all videos by id, in the order in which they came.

        Raises:
            LabelFileError: A line that makes no sense.
        """
        found: dict[str, RatedVideo] = {}
        for number, row in enumerate(self._videos.rows(), 1):
            try:
                video = RatedVideo(**row)
            except TypeError as error:
                raise self._videos.bad_line(number, str(error)) from error
            found[video.id] = video  # a later line: a program waits for it now
        return found

    def ratings(self) -> list[Rating]:
        """Return the valid ratings: of each person the last about each video, in order of time.

        Raises:
            LabelFileError: A line that makes no sense.
        """
        last: dict[tuple[str, str], Rating] = {}
        for number, row in enumerate(self._ratings.rows(), 1):
            try:
                rating = Rating(**row)
            except (TypeError, InvalidSetting) as error:
                raise self._ratings.bad_line(number, str(error)) from error
            last.pop((rating.video, rating.rater), None)
            if not rating.withdrawn:
                last[rating.video, rating.rater] = rating
        return list(last.values())

    def ratings_of(self, videos: Iterable[str]) -> dict[str, list[Rating]]:
        """Return the ratings of some videos by id; videos without one have an empty list."""
        found: dict[str, list[Rating]] = {video: [] for video in videos}
        for rating in self.ratings():
            if rating.video in found:
                found[rating.video].append(rating)
        return found

    def rate(self, video: str, rater: str, level: int | None) -> None:
        """Save a rating; it replaces an earlier one of the same person.

        Raises:
            InvalidSetting: No such video, level or name.
            LabelFileError: It cannot be saved.
        """
        if video not in self.videos():
            raise InvalidSetting(f"There is no video {video!r} in {self.path}.")
        self._ratings.append(asdict(Rating(video, rater, level, _now())))

    def withdraw(self, video: str, rater: str) -> None:
        """Take a rating back.

        Raises:
            LabelFileError: It cannot be saved.
        """
        self._ratings.append(asdict(Rating(video, rater, None, _now(), withdrawn=True)))


def clip_id(clip: Clip) -> str:
    """Name a question: the same pixels, task and rate give the same name.

    Raises:
        InvalidClip: The task holds what no prompt may hold.
    """
    about = f"{check_task_text(clip.task)}\0{clip.fps!r}\0{clip.frames.shape}\0"
    digest = hashlib.sha256(about.encode())
    digest.update(np.ascontiguousarray(clip.frames).data)
    return digest.hexdigest()[:20]


def check_rater(name: str) -> str:
    """Return a rater's name without spaces around it.

    Raises:
        InvalidSetting: It is empty, too long, or not printable.
    """
    name = name.strip() if isinstance(name, str) else ""
    if not name or len(name) > RATER_CHARACTERS or not name.isprintable() or "/" in name:
        raise InvalidSetting(
            f"A rater's name has 1 to {RATER_CHARACTERS} printable characters and no slash. Choose another."
        )
    return name


def level_of(ratings: Sequence[Rating]) -> int | None:
    """Return the level of several ratings together: the lower median of their levels; None if nobody can tell.

    >>> level_of([Rating("v", "a", 4), Rating("v", "b", 5), Rating("v", "c", None)])
    4
    """
    levels = sorted(rating.level for rating in ratings if rating.level is not None)
    return levels[(len(levels) - 1) // 2] if levels else None


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
