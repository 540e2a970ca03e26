"""Clips that people rate in tests."""

import numpy as np

from roboreward_gym.types import Clip


def clip(seed: int = 0, task: str = "open the drawer", frames: int = 6) -> Clip:
    """A clip of noise; another seed gives other pixels."""
    rng = np.random.default_rng(seed)
    return Clip(rng.integers(0, 256, (frames, 24, 32, 3), np.uint8), task, 5.0)
