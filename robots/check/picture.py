"""The camera's picture beside the view that policies were trained on, and a coloured card in front of it."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from robots.sim.mujoco_arm import MujocoArm

OUTLINE = (0, 255, 0)
EDGES = (60, 150)
"""Thresholds of Canny's edge detector, grey values."""
CHANGED = 60.0
"""Sum over the three colours by which a pixel changes where a card comes in."""
MIN_AREA = 0.01
"""Part of the picture that a card has to cover."""
MIN_COLOUR = 40.0
"""Grey values by which the red of a red card exceeds its other colours."""


class TrainingView:
    """The simulated scene through the camera of the simulation, with the arm where the real one is.

    Any thread may call it: it draws in one of its own, because a graphics context belongs to a thread.

    Args:
        scene: Name of the scene's model.
        size: Height and width [px].
    """

    def __init__(self, scene: str, size: tuple[int, int]) -> None:
        self._thread = ThreadPoolExecutor(1, "training-view")
        self._arm = MujocoArm(scene, image_size=size)

    def render(self, joints: np.ndarray, gripper: float) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB for joints `(6,)` [rad] and a gripper opening in 0..1."""
        return self._thread.submit(self._draw, joints, gripper).result()

    def close(self) -> None:
        """Free the renderer."""
        self._thread.submit(self._arm.close).result()
        self._thread.shutdown()

    def _draw(self, joints: np.ndarray, gripper: float) -> np.ndarray:
        self._arm.reset(joints, gripper)
        return self._arm.camera()


def side_by_side(live: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The picture, the training view, and the picture with the outlines of the training view, `(H, 3 W, 3)` uint8."""
    outlined = live.copy()
    edges = cv2.Canny(cv2.cvtColor(training, cv2.COLOR_RGB2GRAY), *EDGES)
    outlined[edges > 0] = OUTLINE
    return np.concatenate([live, training, outlined], axis=1)


def card_colour(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Mean red, green and blue `(3,)` of what came into a picture `(H, W, 3)` uint8; None if little has changed."""
    changed = np.abs(after.astype(float) - before.astype(float)).sum(axis=2) > CHANGED
    if changed.mean() < MIN_AREA:
        return None
    return after[changed].mean(axis=0)


def red_or_blue(colour: np.ndarray) -> str:
    """How a card of this colour `(3,)` looks: "red", "blue" or "neither"."""
    red, green, blue = colour
    if red - max(green, blue) > MIN_COLOUR:
        return "red"
    return "blue" if blue - max(red, green) > MIN_COLOUR else "neither"
