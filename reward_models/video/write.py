"""Writing of H.264 in MP4."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np

CRF = 17
"""x264's quality at which a loss can hardly be seen."""


def write_mp4(
    target: Path | BinaryIO,
    frames: Iterable[np.ndarray],
    fps: float,
    *,
    crf: int = CRF,
    preset: str = "medium",
) -> None:
    """Encode frames one by one, so that no more than one of them is in memory.

    An odd side grows by a copy of its last row or column: H.264 stores colour for pairs of pixels.

    Args:
        target: File to write, or something open for writing.
        frames: `(H, W, 3)` uint8 RGB each, all of one size, at least one.
        fps: Frames per second in [Hz].
        crf: x264's quality: the smaller, the better and larger.
        preset: x264's preset: how much time to spend for a smaller file.

    Raises:
        OSError: No room, or no such folder.
        av.FFmpegError: Likewise, where FFmpeg itself fails.
    """
    # With the protocol spelled out, a colon in a name is not taken for one.
    file = f"file:{target}" if isinstance(target, Path) else target
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": preset}
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            rows, columns = (side % 2 for side in frame.shape[:2])
            even = np.pad(frame, ((0, rows), (0, columns), (0, 0)), mode="edge")
            if number == 0:
                stream.height, stream.width = even.shape[:2]
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(even, np.uint8), format="rgb24")
                )
            )
        container.mux(stream.encode(None))


def mp4(frames: np.ndarray, fps: float, *, crf: int = CRF, preset: str = "medium") -> bytes:
    """Encode `(T, H, W, 3)` uint8 frames as the bytes of an MP4 file: see `write_mp4`."""
    buffer = io.BytesIO()
    write_mp4(buffer, frames, fps, crf=crf, preset=preset)
    return buffer.getvalue()
