"""A contact sheet of the shifts of SimReward: `python -m experiments.simulation.simreward_sheet --out FILE.jpg`.

One row per shift, the first without any; each picture is a scene as it looks after its reset.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

from experiments.simulation.demonstrations import ENV_IDS
from experiments.simulation.picture_shifts import PICTURE_SHIFTS, changed
from experiments.simulation.reward_episodes import RewardDataConfig, env_and_arm
from experiments.workers import prepare
from roboreward_gym._cli import run_program
from robots.sim.tasks.shifts import LOOK_SHIFTS, Shifted

SCALE = 0.75
LABEL_PX = 14


@dataclass(frozen=True)
class SheetConfig:
    """What to draw."""

    out: Path
    """Picture to write."""
    columns: int = 6
    """Pictures per shift."""
    split: str = "train"
    """train or test: which part of each range."""


def row(name: str, columns: int, split: str) -> list[np.ndarray]:
    """Pictures `(H, W, 3)` of one shift, scenes in turn."""
    scenes = tuple(ENV_IDS)
    pictures = []
    for column in range(columns):
        which = "test" if split == "test" else "train"
        config = RewardDataConfig(Path(), split=which)
        env, arm = env_and_arm(config, scenes[column % len(scenes)])
        shifted = Shifted(arm.model, arm.data)
        env.reset(seed=column)
        rng = np.random.default_rng([column, 4])
        shifted.lay_on(tuple(s for s in LOOK_SHIFTS if s == name), rng, which)
        picture = arm.camera()
        shifted.take_off()
        pictures += list(changed(picture[None], tuple(s for s in PICTURE_SHIFTS if s == name), rng))
    return pictures


def draw(config: SheetConfig) -> None:
    """Draw all rows."""
    names = ["", *LOOK_SHIFTS, *PICTURE_SHIFTS]
    rows = [row(name, config.columns, config.split) for name in names]
    height, width = (round(SCALE * side) for side in rows[0][0].shape[:2])
    sheet = Image.new("RGB", (width * config.columns, (height + LABEL_PX) * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (name, pictures) in enumerate(zip(names, rows, strict=True)):
        top = i * (height + LABEL_PX)
        pen.text((2, top), name or "as in training", fill="black")
        for j, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((width, height))
            sheet.paste(small, (j * width, top + LABEL_PX))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(config.out, quality=85)


def main() -> None:
    """Command line."""
    prepare(threads=1)
    draw(tyro.cli(SheetConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
