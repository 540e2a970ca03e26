"""Recordings on disk, read for a reward model: in true time, in bounded memory, and never half of one."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from reward_models.protocol.frames import thinned_indices
from reward_models.video.decode import VideoFrame, open_video
from reward_models.video.images import IMAGE_SUFFIXES, read_image
from reward_models.video.rate import frame_rate
from reward_models.video.recording import (
    MAX_BYTES,
    InvalidVideo,
    Recording,
    RecordingSource,
    Thinning,
    stack,
)

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def open_recording(path: Path, fps: float | None = None) -> RecordingSource:
    """Find out what lies at a path; nothing is read yet.

    Args:
        path: A video file, or a folder with one image per frame.
        fps: Frames per second in [Hz], instead of the file's time stamps; a folder has none.

    Returns:
        A source whose `read` and `stream` raise `InvalidVideo` for what cannot be read.
    """
    return ImageFolder(path, fps) if path.is_dir() else VideoFile(path, fps)


@dataclass(frozen=True)
class VideoFile:
    """A video file that holds one recording.

    Attributes:
        path: The file.
        fps: Frames per second in [Hz], instead of its time stamps.
    """

    path: Path
    fps: float | None = None

    def read(self, max_bytes: int = MAX_BYTES, thinning: Thinning = thinned_indices) -> Recording:
        """Read all frames that fit, or a thinned recording: see `RecordingSource.read`."""
        # Most recordings fit and are read in one go; one that does not is decoded again, its length known.
        count, size, kept = 0, 0, []

        def keep(frame: VideoFrame) -> None:
            nonlocal count, size
            count, size = count + 1, size + frame.nbytes
            if size <= max_bytes:
                kept.append(frame.rgb())
            else:
                kept.clear()

        rate, shown = self._dated(keep)
        if size <= max_bytes:
            return Recording(
                stack([kept[i] for i in shown], self.path), np.arange(count), count, rate
            )
        indices = thinning(count, rate, max_bytes * count // size)
        wanted = shown[indices].tolist()
        chosen = set(wanted)
        with open_video(self.path) as video:
            pictures = enumerate(video.frames())
            frames = {i: frame.rgb() for i, frame in pictures if i in chosen}
        return Recording(stack([frames[i] for i in wanted], self.path), indices, count, rate)

    def stream(self) -> Iterator[np.ndarray]:
        """Yield every frame at a constant rate: see `RecordingSource.stream`."""
        _, shown = self._dated(lambda _: None)
        repeats = np.bincount(shown, minlength=len(shown))
        with open_video(self.path) as video:
            for frame, times in zip(video.frames(), repeats, strict=True):
                if times:
                    image = frame.rgb()
                    yield from (image for _ in range(times))

    def _dated(self, visit: Callable[[VideoFrame], None]) -> tuple[float, np.ndarray]:
        """Decode all frames; the rate in [Hz], and which frame is shown at each tick of it."""
        times: list[Fraction | None] = []
        with open_video(self.path) as video:
            for frame in video.frames():
                frame.check()
                times.append(frame.time_s)
                visit(frame)
            if not times:
                raise InvalidVideo(f"{self.path} has no frames. Record the episode again.")
            if self.fps is not None:
                return self.fps, np.arange(len(times))
            return frame_rate(times, video.rates, video.time_base, self.path)


@dataclass(frozen=True)
class VideoSegment:
    """A part of a video file, known by its beginning and its number of frames.

    Each frame is the one nearest to its time, as LeRobot takes it, so that a beginning that is off by
    less than half a frame period still gives the frames of this recording alone.

    Attributes:
        path: The file.
        fps: Frames per second in [Hz].
        num_frames: Frames of the recording.
        start_s: Time of its first frame in the file, in [s]; None for a file that holds nothing else.
    """

    path: Path
    fps: float
    num_frames: int
    start_s: float | None = None

    def read(self, max_bytes: int = MAX_BYTES, thinning: Thinning = thinned_indices) -> Recording:
        """Read all frames that fit, or a thinned recording: see `RecordingSource.read`."""
        indices = np.arange(self.num_frames)
        kept: list[np.ndarray] = []
        for i, frame in self._nearest():
            if i == 0 and self.num_frames * frame.nbytes > max_bytes:
                indices = thinning(self.num_frames, self.fps, max_bytes // frame.nbytes)
            if i in indices:
                kept.append(frame.rgb())
        return Recording(stack(kept, self.path), indices, self.num_frames, self.fps)

    def stream(self) -> Iterator[np.ndarray]:
        """Yield every frame: see `RecordingSource.stream`."""
        yield from (frame.rgb() for _, frame in self._nearest())

    def _nearest(self) -> Iterator[tuple[int, VideoFrame]]:
        """Number and picture of each frame of the recording."""
        fps = Fraction(self.fps).limit_denominator(1001)
        start = None if self.start_s is None else Fraction(self.start_s)
        best: tuple[int, Fraction, VideoFrame] | None = None
        following = 0  # number of the next frame to yield
        with open_video(self.path) as video:
            for frame in video.frames(max((self.start_s or 0.0) - 1 / self.fps, 0.0)):
                if frame.time_s is None:
                    raise InvalidVideo(f"{self.path} has no time stamps. Record it again.")
                if start is None:
                    start = frame.time_s
                place = (frame.time_s - start) * fps
                number = math.floor(place + Fraction(1, 2))
                if number < 0:
                    continue
                if best is not None and number != best[0]:
                    following = self._check(following, best)
                    yield best[0], best[2]
                    best = None
                if number >= self.num_frames:
                    break
                if best is None or abs(place - number) < best[1]:
                    best = number, abs(place - number), frame
            if best is not None:
                following = self._check(following, best)
                yield best[0], best[2]
        if following < self.num_frames:
            raise InvalidVideo(
                f"{self.path} ends too early: {self.num_frames} frames from {float(start or 0):.3f} s "
                f"on belong to this recording, and there are {following}. Fetch or record it again."
            )

    def _check(self, following: int, best: tuple[int, Fraction, VideoFrame]) -> int:
        number, _, frame = best
        if number != following:
            raise InvalidVideo(
                f"{self.path} has no frame at {(self.start_s or 0.0) + following / self.fps:.3f} s, "
                f"where one of {self.fps:g} frames per second belongs. Is the frame rate right?"
            )
        frame.check()
        return following + 1


@dataclass(frozen=True)
class ImageFolder:
    """A folder with one image per frame, in the order of the numbers in their names.

    Attributes:
        path: The folder.
        fps: Frames per second in [Hz]; without it the folder cannot be read.
    """

    path: Path
    fps: float | None

    def read(self, max_bytes: int = MAX_BYTES, thinning: Thinning = thinned_indices) -> Recording:
        """Read all images that fit, or a thinned recording: see `RecordingSource.read`."""
        return read_images(self._paths(), self._rate(), self.path, max_bytes, thinning)

    def stream(self) -> Iterator[np.ndarray]:
        """Yield every image: see `RecordingSource.stream`."""
        yield from map(read_image, self._paths())

    def _rate(self) -> float:
        if self.fps is None:
            raise InvalidVideo(f"The folder {self.path} has no frame rate. Pass --fps.")
        return self.fps

    def _paths(self) -> list[Path]:
        inside = self.path.iterdir()
        paths = sorted((p for p in inside if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
        if not paths:
            raise InvalidVideo(f"There are no {', '.join(IMAGE_SUFFIXES)} images in {self.path}.")
        return paths


def read_images(
    images: Sequence[Path | bytes], fps: float, name: object, max_bytes: int, thinning: Thinning
) -> Recording:
    """Read the images of a recording that has at least one: see `RecordingSource.read`.

    Args:
        images: A file, or its content, per frame.
        fps: Frames per second in [Hz].
        name: Where they are from, for errors.
        max_bytes: Most memory for frames.
        thinning: Which of them to read where all take more.

    Raises:
        InvalidVideo: A damaged image, or images of different sizes.
    """
    count = len(images)
    room = max_bytes // read_image(images[0]).nbytes
    indices = np.arange(count) if count <= room else thinning(count, fps, room)
    frames = [read_image(images[int(i)]) for i in indices]
    return Recording(stack(frames, name), indices, count, fps)


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame_10` after `frame_9`."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
