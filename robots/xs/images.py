"""Camera messages as RGB arrays: raw or compressed, of any 4:3 size."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from robots.errors import CameraError

CHANNELS = {"rgb8": 3, "bgr8": 3}
"""Encodings that are understood; depth and Bayer images are not what a policy was trained on."""
BLOCKS = (8, 6)
"""Width and height to which an image is averaged before it is looked at, so that noise does not count."""
VIEW_MARGIN = 0.05
"""Correlation by which an altered image has to be more like the reference."""
DARK, MIN_CONTRAST = 12.0, 4.0
"""Grey values: a brightest block below the first is darkness, blocks that differ by less show nothing."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """An image message as it came.

    Attributes:
        data: Its bytes.
        stamp_s: When it was taken, by the camera driver's clock [s].
        encoding: Encoding of a raw image.
        height: Height of a raw image [px].
        width: Width of a raw image [px].
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
    """Message as `(H, W, 3)` uint8 RGB.

    Raises:
        CameraError: Another encoding, or bytes that are not an image or do not fit its size.
    """
    return _compressed_to_rgb(image) if image.compressed else _raw_to_rgb(image)


def _raw_to_rgb(image: RawImage) -> np.ndarray:
    if image.encoding not in CHANNELS:
        raise CameraError(
            f"The image encoding must be {' or '.join(CHANNELS)}, got {image.encoding!r}. "
            "Configure the camera's node, or subscribe to its colour topic."
        )
    channels, rows = CHANNELS[image.encoding], np.frombuffer(image.data, np.uint8)
    if rows.size != image.height * image.step or image.step < image.width * channels:
        raise CameraError(
            f"An image must have {image.height} rows of at least {image.width * channels} bytes, "
            f"got {rows.size} bytes with {image.step} per row."
        )
    pixels = rows.reshape(image.height, image.step)[:, : image.width * channels]
    pixels = pixels.reshape(image.height, image.width, channels)
    return pixels[:, :, ::-1] if image.encoding == "bgr8" else pixels


def _compressed_to_rgb(image: RawImage) -> np.ndarray:
    data = np.frombuffer(image.data, np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if decoded is None:
        raise CameraError(f"These {data.size} bytes are not a JPEG or PNG image.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def fit_4_3(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A 4:3 image scaled to (height, width), as an array of its own.

    Raises:
        CameraError: Another aspect ratio, since cropping or squeezing would move things in the image; or
            smaller than wanted, since enlarging it would invent what is not there.
    """
    height, width = rgb.shape[:2]
    if height == 0 or abs(width * 3 - height * 4) > 4:
        raise CameraError(
            f"Images must be 4:3 such as 640x480, got {width}x{height}. Configure the camera's node."
        )
    if height < size[0] or width < size[1]:
        raise CameraError(
            f"The camera's images of {width}x{height} are smaller than the {size[1]}x{size[0]} that are "
            "needed. Configure the camera's node."
        )
    if (height, width) == size:
        return np.array(rgb)
    # Area averaging, because anything else aliases when it shrinks by two and more.
    return cv2.resize(np.ascontiguousarray(rgb), size[::-1], interpolation=cv2.INTER_AREA)


def check_shows_something(rgb: np.ndarray) -> None:
    """Raise `CameraError` for an image `(H, W, 3)` uint8 that is dark or the same all over, noise apart."""
    blocks = cv2.resize(rgb, BLOCKS, interpolation=cv2.INTER_AREA).astype(np.float32)
    brightest = blocks.mean(axis=2).max()
    if brightest < DARK:
        raise CameraError(
            f"The image is dark: its brightest part has a mean of {brightest:.0f} of 255. "
            "Take the cap off the camera, or switch the light on."
        )
    contrast = np.ptp(blocks, axis=(0, 1)).max()
    if contrast < MIN_CONTRAST:
        raise CameraError(
            "The image shows nothing: it is the same all over. See whether something covers the camera."
        )


def load_rgb(path: Path) -> np.ndarray:
    """Read an image file, `(H, W, 3)` uint8 RGB.

    Raises:
        CameraError: There is none.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise CameraError(f"{path} is missing or no image. Take one with `python -m robots.check`.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class View:
    """What the camera should see: an image of the table that a person has looked at.

    Upside down, mirrored, or with red and blue swapped by a wrong encoding label, an image is still an image, and
    only a reference tells.

    Args:
        reference: `(H, W, 3)` uint8 RGB of the same camera.
    """

    def __init__(self, reference: np.ndarray) -> None:
        self._reference = _pattern(reference)

    def check(self, rgb: np.ndarray) -> None:
        """Raise `CameraError` if an altered form of an image `(H, W, 3)` is more like the reference than itself."""
        alterations = {
            "red and blue are swapped": rgb[:, :, ::-1],
            "it is upside down": rgb[::-1, ::-1],
            "it is mirrored": rgb[:, ::-1],
            "it is flipped": rgb[::-1],
        }
        alike = {what: self._correlation(altered) for what, altered in alterations.items()}
        what = max(alike, key=alike.__getitem__)
        if alike[what] > self._correlation(rgb) + VIEW_MARGIN:
            raise CameraError(
                f"The image does not look like the reference: {what}. Correct the camera's node, or take "
                "a new reference if the camera has been moved."
            )

    def _correlation(self, rgb: np.ndarray) -> float:
        return float((_pattern(rgb) * self._reference).mean())


def _pattern(rgb: np.ndarray) -> np.ndarray:
    """`(12, 16, 3)` of zero mean and unit variance: where the image is bright and of which colour."""
    small = cv2.resize(np.ascontiguousarray(rgb), (16, 12), interpolation=cv2.INTER_AREA).astype(
        float
    )
    return (small - small.mean()) / max(float(small.std()), 1e-6)
