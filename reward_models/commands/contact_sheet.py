"""An episode as one picture: some of its frames in the order of time, each with its step."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from roboreward_gym.types import Clip

COLUMNS, ROWS = 4, 3
WIDTH = 240
"""Of one frame in [px]."""
CAPTION = 20
INK, PAPER = (20, 20, 20), (255, 255, 255)


def write_contact_sheet(path: Path, clip: Clip) -> None:
    """Write twelve frames, or all of a shorter clip, evenly spread, the first and the last among them.

    Args:
        path: File to write, a PNG.
        clip: The episode.

    Raises:
        OSError: No room, or no such folder.
    """
    count = min(len(clip.frames), COLUMNS * ROWS)
    places = np.unique(np.linspace(0, len(clip.frames) - 1, count).round().astype(int))
    height = max(1, round(WIDTH * clip.frames.shape[1] / clip.frames.shape[2]))
    rows = -(-len(places) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * (height + CAPTION)), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, place in enumerate(places):
        left, top = number % COLUMNS * WIDTH, number // COLUMNS * (height + CAPTION)
        step = int(place if clip.indices is None else clip.indices[place])
        sheet.paste(Image.fromarray(clip.frames[place]).resize((WIDTH - 4, height)), (left, top))
        draw.text((left + 4, top + height + 2), f"step {step}, {step / clip.fps:.1f} s", INK, font)
    sheet.save(path, format="PNG")
