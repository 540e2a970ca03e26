"""How a scene looks: colours, light and camera, drawn by seed from bands of which every fifth part is held out."""

import colorsys
from dataclasses import dataclass

import mujoco
import numpy as np

from robots.scene import Split

BANDS = 5
HELD_OUT = 0.2
"""Each quantity's range is cut into BANDS bands; the last HELD_OUT of each band is never seen in training."""

CAMERA_FROM = np.array([0.155, -0.45, 0.43])  # [m]
CAMERA_TO = np.array([0.29, 0.0, 0.03])
CAMERA_JITTER_M = 0.03
FOVY_DEG = 42.0
"""Vertical field of view of a Logitech C920 at 640x480, the camera of BridgeData V2: 2 atan(240 / 623.6) is 42.1 degrees."""


def banded(rng: np.random.Generator, split: Split) -> float:
    """A number in [0, 1): from the training bands, from the held-out bands, or from anywhere."""
    if split == "any":
        return float(rng.random())
    low, high = (0.0, 1.0 - HELD_OUT) if split == "train" else (1.0 - HELD_OUT, 1.0)
    return float((rng.integers(BANDS) + rng.uniform(low, high)) / BANDS)


def colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """RGBA `(4,)` in 0..1."""
    return np.array([*colorsys.hsv_to_rgb(hue % 1.0, saturation, value), 1.0])


@dataclass(frozen=True)
class HueRange:
    """Where the hue of a thing lies; names in tasks stay true for every seed."""

    low: float
    high: float
    saturation: tuple[float, float]
    value: tuple[float, float]

    def draw(self, rng: np.random.Generator, split: Split) -> np.ndarray:
        """An RGBA colour of this range."""
        hue = self.low + (self.high - self.low) * banded(rng, split)
        return colour(hue, rng.uniform(*self.saturation), rng.uniform(*self.value))


DUCK = HueRange(0.02, 0.16, (0.8, 1.0), (0.85, 1.0))
BLOCK = HueRange(0.32, 0.68, (0.7, 0.95), (0.45, 0.9))
TOWEL = HueRange(0.74, 0.95, (0.35, 0.8), (0.55, 0.9))
PLATE = HueRange(0.0, 1.0, (0.0, 0.08), (0.75, 0.97))
TABLE = HueRange(0.06, 0.12, (0.2, 0.45), (0.5, 0.8))
CABINET = HueRange(0.04, 0.10, (0.4, 0.65), (0.35, 0.6))
FRONT = HueRange(0.08, 0.13, (0.25, 0.5), (0.65, 0.85))


def set_colours(model: mujoco.MjModel, colours: dict[str, np.ndarray]) -> None:
    """Paint every geom whose name starts with a key."""
    for i in range(model.ngeom):
        name = model.geom(i).name
        for prefix, rgba in colours.items():
            if name.startswith(prefix):
                model.geom_rgba[i] = rgba


def set_light_and_camera(model: mujoco.MjModel, rng: np.random.Generator, split: Split) -> None:
    """Move lamp and camera a little; the camera always looks at the workspace."""
    direction = np.array([0.2, 0.3, -1.0]) + rng.uniform(-0.35, 0.35, 3) * [1, 1, 0]
    model.light_dir[0] = direction / np.linalg.norm(direction)
    model.light_diffuse[0] = rng.uniform(0.4, 0.7)
    # Azimuth, height, distance.
    offset = np.array([banded(rng, split), banded(rng, split), rng.random()]) * 2 - 1
    camera_from = CAMERA_FROM + CAMERA_JITTER_M * offset[[0, 2, 1]]
    camera = model.camera("front").id
    look_at(model, camera, camera_from, CAMERA_TO + rng.uniform(-0.01, 0.01, 3))
    model.cam_fovy[camera] = FOVY_DEG + rng.uniform(-1.5, 1.5)


def look_at(model: mujoco.MjModel, camera: int, position: np.ndarray, target: np.ndarray) -> None:
    """Put a camera at `position` `(3,)` [m], looking at `target`, upright."""
    backward = position - target
    backward = backward / np.linalg.norm(backward)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(backward, right), backward], axis=1)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    model.cam_pos[camera], model.cam_quat[camera] = position, quaternion
