"""Small videos whose frames tell their number by their brightness."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

STEP = 4
"""Brightness from one frame to the next; compression moves it by less than half of that."""


def flat_frames(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """`(count, height, width, 3)` uint8: frame i is grey of brightness `16 + STEP * i`."""
    grey = (16 + STEP * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, height, width, 3)).copy()


def numbers(frames: np.ndarray) -> list[int]:
    """Which frames of `flat_frames` these are."""
    return [round((float(frame.mean()) - 16) / STEP) for frame in frames]


def write_video(
    path: Path,
    frames: np.ndarray,
    fps: float = 10.0,
    *,
    codec: str = "libx264",
    times_ms: Sequence[int] | None = None,
    faststart: bool = False,
    colorspace: tuple[str, int] | None = None,
    pix_fmt: str = "yuv420p",
) -> Path:
    """Encode frames, at a constant rate or at the given times.

    `colorspace`: swscale's name of the matrix, and the number that the file is tagged with.
    """
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace[1]
        if codec == "libx264":
            stream.options = {"crf": "10", "preset": "ultrafast", "threads": "1"}
        else:
            stream.bit_rate = 4_000_000
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            if colorspace is not None:
                frame = frame.reformat(format=pix_fmt, dst_colorspace=colorspace[0])
                frame.colorspace = colorspace[1]
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
