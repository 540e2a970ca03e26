"""A small simulated set with its truth: a duck that slides to a towel, by hand and without a simulator."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from reward_models.augment.config import AugmentConfig, RoleNames
from reward_models.data.example import Example, Frames, Video
from reward_models.data.published_writer import write_examples
from reward_models.data.splits import Fractions
from reward_models.data.truth import EpisodeTruth, write_truths
from reward_models.data.video_file import VideoFormat

FORM = VideoFormat(width=64, height=48)
FRAMES = 20
TASK = "put the duck on the towel"
OBJECTS = ("duck", "block", "towel", "plate", "gripper", "table")
STATE_ROLES = RoleNames("code", "simulator", "grammar", "grammar", "simulator")


def moving_square(seed: int, count: int = FRAMES) -> np.ndarray:
    """`(count, 48, 64, 3)` uint8: a square that slides, on a colour of its own."""
    rng = np.random.default_rng(seed)
    frames = np.empty((count, 48, 64, 3), np.uint8)
    frames[:] = rng.integers(30, 200, 3, dtype=np.uint8)
    for t in range(count):
        x = 4 + 44 * t // max(count - 1, 1)
        frames[t, 16:32, x : x + 12] = (240, 220, 20)
    return frames


def truth(name: str, count: int = FRAMES) -> EpisodeTruth:
    """The duck reaches levels 1, 2, 3, 4 and 5 after 0, 25, 45, 65 and 90 % of the episode; the block stays."""
    progress = [(t + 1) / count for t in range(count)]
    own = [1 + sum(p > bound for bound in (0.25, 0.45, 0.65, 0.9)) for p in progress]
    still = [1] * count
    elsewhere = [min(level, 2) for level in own]
    levels = {
        TASK: own,
        "put the duck on the plate": elsewhere,
        "put the block on the towel": still,
        "put the block on the plate": still,
        "pick up the block": still,
        "pick up the duck": elsewhere,
    }
    captions = [
        f"the duck moved . the gripper is {'open' if p > 0.9 else 'closed'}" for p in progress
    ]
    return EpisodeTruth(name, OBJECTS, levels, captions)


def write_set(folder: Path, episodes: int, *, task: str = TASK) -> Path:
    """Write successes in the published layout with their truth."""

    def examples() -> Iterator[Example]:
        for i in range(episodes):
            load = partial(Frames, moving_square(i), 5.0)
            yield Example(
                Video(f"episode {i}", load),
                task,
                5,
                "sim_toy",
                f"toy-{i}",
                "original",
                task,
                licence="MIT",
            )

    write_examples(folder, "train", examples(), FORM)
    write_truths(folder / "truth.jsonl", [truth(f"toy-{i}") for i in range(episodes)])
    return folder


def config(folder: Path, out: Path, /, **changes: object) -> AugmentConfig:
    """An augmentation of such a set without any model."""
    settings = {
        "source": f"simulator:{folder}",
        "out": out,
        "roles": STATE_ROLES,
        "video": FORM,
        "splits": Fractions(0.5, 0.25, 0.25),
        "concurrency": 2,
    }
    return AugmentConfig(**{**settings, **changes})  # type: ignore[arg-type]
