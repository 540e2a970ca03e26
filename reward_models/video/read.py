"""Read videos and folders of frames for a judge: in true time, in bounded memory, and never half of one.

A header may promise what the file does not hold, so frames are counted and dated by decoding them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from reward_models.protocol.frames import OFFICIAL
from roboreward_gym.errors import RoboRewardError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_BYTES = 64 * 2**20
"""Most memory that the frames of one video take; longer ones are thinned."""

TIME_TOLERANCE_S = 1e-3
"""Time stamps are whole multiples of a unit, so that a border between two episodes is rounded."""

RATES_HZ = (0.01, 1000.0)
"""Frame rates that a camera may have; time stamps that say otherwise are wrong."""


class InvalidVideo(RoboRewardError, ValueError):
    """A file or folder that cannot be read as the film of one episode."""


@dataclass(frozen=True)
class Window:
    """Part of a file that holds several episodes: from `start_s` up to, not including, `end_s`."""

    start_s: float
    end_s: float

    def begins_after(self, time_s: float) -> bool:
        """Whether a frame of that time belongs to an earlier episode."""
        return time_s < self.start_s - TIME_TOLERANCE_S

    def ends_before(self, time_s: float) -> bool:
        """Whether a frame of that time belongs to a later episode."""
        return time_s >= self.end_s - TIME_TOLERANCE_S


@dataclass(frozen=True, eq=False)
class Footage:
    """What was read.

    Attributes:
        frames: `(n, H, W, 3)` uint8 RGB, the first and the last frame of the film included.
        fps: Frames per second of `frames`, in [Hz].
        total: Frames in the film before thinning.
        source_fps: Frames per second of the film, in [Hz].
    """

    frames: np.ndarray
    fps: float
    total: int
    source_fps: float


def read_footage(
    path: Path,
    *,
    fps: float | None = None,
    window: Window | None = None,
    max_bytes: int = MAX_BYTES,
) -> Footage:
    """Read a video file, or a folder with one image per frame.

    Args:
        path: The file or folder.
        fps: Frames per second in [Hz], instead of the file's time stamps; a folder has none.
        window: Read only this part of the file.
        max_bytes: Thin the film so that its frames fit, except that what RoboReward looks at is kept.

    Raises:
        InvalidVideo: Missing, empty, damaged, cut short, or without a frame rate.
    """
    if path.is_dir():
        return _read_folder(path, fps, max_bytes)
    if not path.is_file():
        raise InvalidVideo(f"Expected a video or a folder of frames, got {path}, which is neither.")
    return _read_file(path, fps, window, max_bytes)


def thin(total: int, fps: float, most: int) -> np.ndarray:
    """Choose at most about `most` evenly spread frames, those that RoboReward would choose among them.

    A judge that follows the protocol sees the very same frames as of the whole film.

    Args:
        total: Frames in the film.
        fps: Frame rate of the film in [Hz].
        most: How many there is room for; RoboReward's own 4 to 8 are kept in any case.

    Returns:
        `(n,)` int64 indices, increasing.
    """
    if total <= most:
        return np.arange(total)
    shown = len(OFFICIAL.frame_indices(total, fps))
    for between in range((most - 1) // (shown - 1), 1, -1):
        n = between * (shown - 1) + 1
        # With another duration to go by, the protocol may want another number of frames.
        if len(OFFICIAL.frame_indices(n, thinned_rate(n, total, fps))) == shown:
            return _spread(total, n)
    return _spread(total, shown)


def thinned_rate(kept: int, total: int, fps: float) -> float:
    """Frame rate in [Hz] at which the last of `kept` frames falls on the time it had before."""
    return fps if kept == total else fps * (kept - 1) / (total - 1)


def _spread(total: int, n: int) -> np.ndarray:
    return np.linspace(0, total - 1, n).round().astype(np.int64)


def _footage(frames: Sequence[np.ndarray], total: int, fps: float) -> Footage:
    return Footage(np.stack(frames), thinned_rate(len(frames), total, fps), total, fps)


def _read_file(path: Path, fps: float | None, window: Window | None, max_bytes: int) -> Footage:
    # Most episodes fit, and are read in one go. One that does not is read again, knowing its length.
    times: list[float | None] = []
    kept: list[np.ndarray] = []
    room = 1
    for time_s, picture in _decode(path, window):
        times.append(time_s)
        if len(times) == 1:
            room = max(max_bytes // (picture.height * picture.width * 3), 1)
        if len(times) <= room:
            kept.append(_to_rgb(picture))
        else:
            kept.clear()
    if not times:
        raise InvalidVideo(
            f"Expected a video with frames, got none in {path}. Record the episode again."
        )
    rate, in_time = _pace(times, fps, path)
    chosen = in_time[thin(len(times), rate, room)]
    if len(times) > room:
        wanted = set(chosen.tolist())
        kept = [_to_rgb(f) for i, (_, f) in enumerate(_decode(path, window)) if i in wanted]
        chosen = np.searchsorted(sorted(wanted), chosen)
    if len({frame.shape for frame in kept}) != 1:
        raise InvalidVideo(
            f"Expected frames of one size, got {sorted({f.shape for f in kept})} in {path}."
        )
    return _footage([kept[i] for i in chosen], len(times), rate)


def _decode(path: Path, window: Window | None) -> Iterator[tuple[float | None, av.VideoFrame]]:
    """Every frame with its time in [s]; raises where the file is damaged or ends too early."""
    found = 0
    try:
        # With the protocol spelled out, a colon in a name is not taken for one.
        with av.open(f"file:{path}") as container:
            if not container.streams.video:
                raise InvalidVideo(f"Expected a video, got {path} without a video stream.")
            stream = container.streams.video[0]
            promised = stream.frames
            if window is not None and stream.time_base is not None:
                container.seek(int(window.start_s / stream.time_base), stream=stream)
            for packet in container.demux(stream):
                found += packet.size > 0
                for frame in stream.decode(packet):
                    if window is not None and frame.time is not None:
                        if window.begins_after(frame.time):
                            continue
                        if window.ends_before(frame.time):
                            return
                    if frame.is_corrupt:
                        raise InvalidVideo(
                            f"Expected a readable video, got {path}, which is damaged at {frame.time} s. "
                            "Record the episode again."
                        )
                    yield frame.time, frame
    except av.FFmpegError as error:
        raise InvalidVideo(
            f"Expected a readable video, got {path}, which is damaged or no video: {error.strerror}. "
            "Record the episode again."
        ) from error
    if window is None and found < promised:
        raise InvalidVideo(
            f"Expected {promised} frames, as the header says, got {found} in {path}. The file was cut "
            "short: record the episode again. If nothing is missing, mend the header with "
            "`ffmpeg -i OLD -c copy NEW`."
        )


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    # A phone held upright says so in its metadata; people and RoboReward expect it upright.
    return np.rot90(image, round(frame.rotation / 90)) if frame.rotation else image


def _pace(times: Sequence[float | None], fps: float | None, path: Path) -> tuple[float, np.ndarray]:
    """Frame rate in [Hz], and which frame is on the screen at each of its ticks."""
    in_order = np.arange(len(times))
    if fps is not None:
        return fps, in_order
    if len(times) == 1:
        raise InvalidVideo(
            f"Expected at least two frames, got one in {path}: progress is a change between frames."
        )
    known = np.array([time_s for time_s in times if time_s is not None])
    duration = known[-1] - known[0] if len(known) == len(times) else 0.0
    rate = (len(times) - 1) / duration if duration > 0 else 0.0
    if not RATES_HZ[0] <= rate <= RATES_HZ[1] or (np.diff(known) < 0).any():
        raise InvalidVideo(
            f"Expected {len(times)} frames with time stamps that grow, got a rate of {rate:.4g} Hz in "
            f"{path}. Pass the frames per second with --fps."
        )
    ticks = known[0] + in_order / rate
    if np.abs(known - ticks).max() <= 0.5 / rate:
        return float(rate), in_order
    # A camera that dropped frames: shown at a constant rate, the pause stays a pause.
    return float(rate), np.clip(np.searchsorted(known, ticks + 1e-6, side="right") - 1, 0, None)


def _read_folder(folder: Path, fps: float | None, max_bytes: int) -> Footage:
    paths = sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES), key=_natural
    )
    if not paths:
        raise InvalidVideo(f"Expected {'/'.join(FRAME_SUFFIXES)} images in {folder}, got none.")
    if fps is None:
        raise InvalidVideo(
            f"Expected the frames per second of the folder {folder}, got none. Pass --fps."
        )
    room = max(max_bytes // _read_image(paths[0]).nbytes, 1)
    frames = [_read_image(paths[i]) for i in thin(len(paths), fps, room)]
    if len({frame.shape for frame in frames}) != 1:
        raise InvalidVideo(
            f"Expected images of one size, got {sorted({f.shape for f in frames})} in {folder}."
        )
    return _footage(frames, len(paths), fps)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts `frame_10` after `frame_9`."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InvalidVideo(f"Expected an image, got {path}: {error}.") from error
