"""Camera messages as RGB arrays: raw or compressed, of any 4:3 size."""

from dataclasses import dataclass

import cv2
import numpy as np

from robots.errors import CameraError

CHANNELS = {"rgb8": 3, "bgr8": 3}
"""Encodings that are understood; depth and Bayer images are not what a policy was trained on."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """An image message as it came.

    Attributes:
        data: Its bytes.
        stamp_s: When it was taken, by the camera driver's clock [s].
        encoding: Of a raw image.
        height: Of a raw image.
        width: Of a raw image.
        step: Bytes per row of a raw image, which may be padded.
        compressed: Whether it holds a JPEG or PNG, and the four fields above nothing.
    """

    data: memoryview | bytes
    stamp_s: float
    encoding: str = ""
    height: int = 0
    width: int = 0
    step: int = 0
    compressed: bool = False


def to_rgb(image: RawImage) -> np.ndarray:
    """Raw image as `(H, W, 3)` uint8 RGB.

    Raises:
        CameraError: Another encoding, or bytes that do not fit its size.
    """
    if image.encoding not in CHANNELS:
        raise CameraError(
            f"Expected an image encoded as {' or '.join(CHANNELS)}, got {image.encoding!r}. "
            "Configure the camera's node, or subscribe to its colour topic."
        )
    channels, rows = CHANNELS[image.encoding], np.frombuffer(image.data, np.uint8)
    if rows.size != image.height * image.step or image.step < image.width * channels:
        raise CameraError(
            f"Expected {image.height} rows of at least {image.width * channels} bytes, "
            f"got {rows.size} bytes with {image.step} per row."
        )
    pixels = rows.reshape(image.height, image.step)[:, : image.width * channels]
    pixels = pixels.reshape(image.height, image.width, channels)
    return pixels[:, :, ::-1] if image.encoding == "bgr8" else pixels


def compressed_to_rgb(image: RawImage) -> np.ndarray:
    """JPEG or PNG as `(H, W, 3)` uint8 RGB.

    Raises:
        CameraError: Bytes that are no image.
    """
    data = np.frombuffer(image.data, np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if decoded is None:
        raise CameraError(f"Expected a JPEG or PNG image, got {data.size} bytes that are none.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def fit_4_3(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A 4:3 image scaled to (height, width), as an array of its own.

    Raises:
        CameraError: Another aspect ratio; cropping or squeezing it would move things in the image.
    """
    height, width = rgb.shape[:2]
    if height == 0 or abs(width * 3 - height * 4) > 4:
        raise CameraError(
            f"Expected a 4:3 image such as 640x480, got {width}x{height}. Configure the camera's node."
        )
    if (height, width) == size:
        return np.array(rgb)
    # Area averaging, because anything else aliases when it shrinks by two and more.
    return cv2.resize(np.ascontiguousarray(rgb), size[::-1], interpolation=cv2.INTER_AREA)
