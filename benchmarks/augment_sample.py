"""Draw a sample of an augmented set: `python -m benchmarks.augment_sample` (after `benchmarks.augment`)."""

import textwrap
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from reward_models.data.example import Example
from reward_models.data.sampling import balanced_sample
from reward_models.data.sources import read_source

CELL, PICTURE, COLUMNS, SHOWN = (392, 118), (128, 72), 4, 3
INK, FAINT = (28, 35, 41), (93, 106, 117)


def main(
    data: Path = Path("runs/augment/out-simulator"),
    out: Path = Path("docs/images/reward_data.jpg"),
    count: int = 40,
) -> None:
    """Write a picture of examples, as many of each kind and reward as there are.

    Args:
        data: Data set in the published layout.
        out: Picture to write.
        count: Number of examples.
    """
    items = [item for item in read_source(f"published:{data}") if isinstance(item, Example)]
    chosen = balanced_sample([f"{it.kind} {it.reward}" for it in items], count, seed=0)
    rows = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (CELL[0] * COLUMNS, CELL[1] * rows), "white")
    ordered = sorted((items[i] for i in chosen), key=lambda it: (it.reward or 0, it.kind))
    for place, item in enumerate(ordered):
        corner = CELL[0] * (place % COLUMNS), CELL[1] * (place // COLUMNS)
        sheet.paste(draw(item), corner)
    sheet.save(out, quality=82)


def draw(item: Example) -> Image.Image:
    """Draw the first, middle and last frame of an example above its label."""
    cell = Image.new("RGB", CELL, "white")
    pen, frames = ImageDraw.Draw(cell), item.video.read().frames
    for i, at in enumerate(np.linspace(0, len(frames) - 1, SHOWN).round().astype(int)):
        cell.paste(Image.fromarray(frames[at]).resize(PICTURE), (i * PICTURE[0], 0))
    task = "\n".join(textwrap.wrap(item.task, 52)[:2])
    label = f"reward {item.reward}, {item.kind}: {task}"
    pen.multiline_text((4, 76), textwrap.fill(label, 60), INK, ImageFont.load_default(12))
    return cell


if __name__ == "__main__":
    tyro.cli(main)
