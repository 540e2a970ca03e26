"""What a camera and a cable do to a picture: JPEG, and the noise of a sensor."""

import io
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

PictureShift = Literal["jpeg", "sensor"]

Change = Callable[[np.ndarray], np.ndarray]
"""From one `(H, W, 3)` uint8 picture to another."""


def jpeg(rng: np.random.Generator) -> Change:
    """JPEG of a low quality, the same for the whole recording."""
    quality = int(rng.integers(6, 35))

    def change(picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file).convert("RGB"))

    return change


def sensor(rng: np.random.Generator) -> Change:
    """Blur, gain, gamma and white balance of the recording; noise of its own in every picture, more where there is light."""
    blur = float(rng.choice([0.0, rng.uniform(0.4, 1.3)]))
    balance = rng.uniform(0.85, 1.15, 3)
    gamma, gain = rng.uniform(0.7, 1.45), rng.uniform(0.75, 1.15)
    shot, read = rng.uniform(0.0, 0.06), rng.uniform(0.005, 0.05)

    def change(picture: np.ndarray) -> np.ndarray:
        image = Image.fromarray(picture)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur))
        light = gain * balance * (np.asarray(image) / 255.0) ** gamma
        noise = rng.standard_normal(light.shape) * np.sqrt(shot**2 * light + read**2)
        return (255 * np.clip(light + noise, 0.0, 1.0)).round().astype(np.uint8)

    return change


PICTURE_SHIFTS: Mapping[PictureShift, Callable[[np.random.Generator], Change]] = {
    "jpeg": jpeg,
    "sensor": sensor,
}


def changed(
    frames: np.ndarray, names: tuple[PictureShift, ...], rng: np.random.Generator
) -> np.ndarray:
    """Change `(T, H, W, 3)` uint8 frames, one shift after another."""
    for name in names:
        change = PICTURE_SHIFTS[name](rng)
        frames = np.stack([change(frame) for frame in frames])
    return frames
