"""Video files of a reward data set: H.264 at one size and rate, written so that a prefix can be cut without a new encoding."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image

from reward_models.data.example import Frames, Video
from reward_models.video.decode import open_video
from reward_models.video.read import open_recording
from reward_models.video.recording import InvalidVideo, RecordingSource
from roboreward_gym.errors import InvalidSetting, RoboRewardError

DECODED_BYTES = 2**30
"""Most memory that one decoded video takes: 30 minutes at 10 Hz and 320x192."""


class OutputError(RoboRewardError, OSError):
    """A folder or file that cannot be written."""


@dataclass(frozen=True)
class VideoFormat:
    """How videos are written; the defaults are those of the published data set."""

    width: int = 320
    """Width in pixels."""
    height: int = 192
    """Height in pixels; the picture is stretched to the size, as the aspect ratio of the authors' is fixed too."""
    fps: float = 10.0
    """Frames per second that the file is played at; every recorded frame is kept, whatever its own rate. 0: the rate
    of the recording."""
    crf: int = 17
    """x264's constant rate factor."""

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2 or self.width % 2 or self.height % 2:
            raise InvalidSetting(
                f"H.264 needs even sides of 2 pixels or more, not {self.width}x{self.height}."
            )
        if not 0 <= self.fps <= 1000:
            raise InvalidSetting(f"The frame rate must lie in [0, 1000] Hz, not {self.fps}.")
        if not 0 <= self.crf <= 51:
            raise InvalidSetting(f"The constant rate factor must lie in 0..51, not {self.crf}.")


def video_of(path: Path, fps: float | None = None) -> Video:
    """Find a video file, or a folder with one image per frame; nothing is read yet."""
    file = path if path.suffix.lower() == ".mp4" and fps is None else None
    return Video(path.as_posix(), partial(_read, path, fps), file)


def _read(path: Path, fps: float | None) -> Frames:
    if fps is None and path.is_file():
        fps = single_frame_rate(path)
    return all_frames(open_recording(path, fps))


def all_frames(source: RecordingSource) -> Frames:
    """Decode a recording as a whole.

    Raises:
        InvalidVideo: It cannot be read, or takes more than `DECODED_BYTES`.
    """
    recording = source.read(DECODED_BYTES)
    if len(recording.frames) < recording.num_frames:
        raise InvalidVideo(
            f"The recording takes more than {DECODED_BYTES >> 20} MiB. Cut it, or make it smaller."
        )
    return Frames(recording.frames, recording.fps)


def single_frame_rate(path: Path) -> float | None:
    """Rate in [Hz] that a file with one frame declares, as time stamps cannot tell it; None for all other files."""
    with open_video(path) as video:
        return float(video.rates[0]) if video.stream.frames == 1 and video.rates else None


def fit(frames: np.ndarray, form: VideoFormat) -> np.ndarray:
    """Resize `(T, H, W, 3)` uint8 frames to the size of the format."""
    if frames.shape[1:3] == (form.height, form.width):
        return frames
    size = (form.width, form.height)
    images = (Image.fromarray(frame) for frame in frames)
    return np.stack([np.asarray(i.resize(size, Image.Resampling.BOX)) for i in images])


def write_video(path: Path, video: Frames, form: VideoFormat) -> None:
    """Encode frames as H.264 in MP4; the file appears whole or not at all.

    The same frames give the same bytes: the encoder runs in one thread, and without its macroblock tree, which gave
    other bytes in 1 of 150 encodings of a small video.

    Raises:
        OutputError: The file cannot be written.
    """
    rate = Fraction(form.fps or video.fps).limit_denominator(1000)
    with (
        whole_file(path) as partial_path,
        av.open(f"file:{partial_path}", "w", format="mp4") as out,
    ):
        stream = out.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        # Without B-frames the file holds its frames in order of time, so that `cut` can copy a prefix.
        stream.options = {"crf": str(form.crf), "preset": "veryfast", "bf": "0", "mbtree": "0"}
        stream.codec_context.thread_count = 1
        for frame in fit(video.frames, form):
            picture = np.ascontiguousarray(frame)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def cut(source: Path, path: Path, count: int) -> None:
    """Copy the first `count` frames of a file that `write_video` made: exactly the same pixels.

    Raises:
        OutputError: The file cannot be written.
    """
    with (
        whole_file(path) as partial_path,
        av.open(f"file:{source}") as container,
        av.open(f"file:{partial_path}", "w", format="mp4") as out,
    ):
        stream = out.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(container.demux(video=0)):
            if number == count or packet.dts is None:
                break
            packet.stream = stream
            out.mux(packet)


@contextmanager
def whole_file(path: Path) -> Generator[Path, None, None]:
    """Give a path beside `path` to write to, and move what was written into place at the end.

    Raises:
        OutputError: No place, no room, or no permission.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.replace(path)
    except (OSError, av.FFmpegError) as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}. Make room, or choose another folder; what was "
            "finished stays, and the same command goes on from there."
        ) from error


def can_cut(path: Path, count: int) -> bool:
    """Whether a file holds `count` frames in order of time, so that `cut` gives its first ones."""
    with open_video(path) as video:
        return video.stream.frames == count and not video.stream.codec_context.has_b_frames
