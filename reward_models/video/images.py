"""Images: PNG, which changes no pixel, as the APIs of vision-language models take it, and reading of files."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from reward_models.video.recording import InvalidVideo

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
BROKEN_IMAGE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for no image or a damaged one."""


def read_image(source: Path | bytes) -> np.ndarray:
    """Read an image file, or its bytes, as `(H, W, 3)` uint8 RGB, turned as its EXIF data say.

    Raises:
        InvalidVideo: No image, or a damaged one.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except BROKEN_IMAGE as error:
        name = "The data" if isinstance(source, bytes) else source
        raise InvalidVideo(f"{name} cannot be read as an image: {error}.") from error


def png(frame: np.ndarray) -> bytes:
    """Encode one `(H, W, 3)` uint8 frame without loss."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def png_base64(frame: np.ndarray) -> str:
    """Encode one `(H, W, 3)` uint8 frame as the text of a PNG."""
    return base64.b64encode(png(frame)).decode("ascii")


def image_url(frame: np.ndarray) -> str:
    """Encode one `(H, W, 3)` uint8 frame as a data URL, the way OpenAI's API takes an image."""
    return f"data:image/png;base64,{png_base64(frame)}"


def video_url(frames: Iterable[np.ndarray]) -> str:
    """Encode `(H, W, 3)` uint8 frames as one data URL, the way vLLM's API takes a video that is sampled already.

    The media type says JPEG, as vLLM's only type for a list of frames does; vLLM recognises each
    image by its content, and PNG changes no pixel.
    """
    return f"data:video/jpeg;base64,{','.join(png_base64(frame) for frame in frames)}"
