"""Frames as APIs of vision-language models take them: PNG, which changes no pixel, and MP4."""

import base64
import io
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from PIL import Image

MP4_CRF = "17"
"""x264's quality at which a loss can hardly be seen."""


def png(frame: np.ndarray) -> bytes:
    """Encode one `(H, W, 3)` uint8 frame without loss."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def png_base64(frame: np.ndarray) -> str:
    """Encode one `(H, W, 3)` uint8 frame as the text of a PNG."""
    return base64.b64encode(png(frame)).decode("ascii")


def image_url(frame: np.ndarray) -> str:
    """Encode one frame as a data URL, the way OpenAI's API takes an image."""
    return f"data:image/png;base64,{png_base64(frame)}"


def video_url(frames: Iterable[np.ndarray]) -> str:
    """Encode frames as one data URL, the way vLLM's API takes a video that is sampled already.

    The media type says JPEG, as vLLM's only type for a list of frames does; vLLM recognises each
    image by its content, and PNG changes no pixel.
    """
    return f"data:video/jpeg;base64,{','.join(png_base64(frame) for frame in frames)}"


def mp4(frames: np.ndarray, fps: float) -> bytes:
    """Encode `(T, H, W, 3)` uint8 frames as H.264.

    An odd side grows by a copy of its last row or column: H.264 stores colour for pairs of pixels.
    """
    _, height, width, _ = frames.shape
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": MP4_CRF}
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
