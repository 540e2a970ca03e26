"""Draw a score under the video that it was given to, for people who check the judge."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reward_models.scoring.log import OutputUnwritable
from roboreward_gym.types import LEVELS, Clip, ProgressScore

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MIN_WIDTH = 320
PANEL_HEIGHT = 72
MARGIN = 8
INK, FAINT, PAPER, BAR = (20, 20, 20), (150, 150, 150), (255, 255, 255), (60, 110, 200)


def write_overlay(path: Path, clip: Clip, score: ProgressScore) -> None:
    """Encode the clip as H.264 in MP4, with the task and the score below each frame.

    Args:
        path: File to write; it appears whole or not at all.
        clip: What the judge saw.
        score: What it said.

    Raises:
        OutputUnwritable: No place or no room for the file.
    """
    try:
        _write(path, clip, score)
    except (OSError, av.FFmpegError) as error:
        raise OutputUnwritable(
            f"Expected to write the overlay {path}, got: {error.strerror}. "
            "Choose another --overlay, or make room."
        ) from error


def _write(path: Path, clip: Clip, score: ProgressScore) -> None:
    scale = max(1, -(-MIN_WIDTH // clip.frames.shape[2]))
    # H.264 with colour at half resolution needs even sides.
    height, width = (side * scale // 2 * 2 for side in clip.frames.shape[1:3])
    panel = draw_panel(width, clip.task, score)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with av.open(f"file:{partial}", mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(clip.fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height + PANEL_HEIGHT, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast", "threads": "1"}
        for frame in clip.frames:
            large = frame.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
            picture = np.ascontiguousarray(np.concatenate([large, panel]))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    partial.replace(path)


def draw_panel(width: int, task: str, score: ProgressScore) -> np.ndarray:
    """Return `(PANEL_HEIGHT, width, 3)` uint8: task, level, and a bar for each level."""
    image = Image.new("RGB", (width, PANEL_HEIGHT), PAPER)
    draw = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(20), ImageFont.load_default(12)
    draw.text((MARGIN, 6), _fit(draw, task, small, width - 2 * MARGIN), INK, small)
    level = "?" if score.level is None else str(score.level)
    draw.text((MARGIN, 30), f"{level} / {LEVELS[-1]}", INK, large)
    if score.probabilities is None:
        return np.asarray(image)
    left, step = width - MARGIN - 22 * len(LEVELS), 22
    for i, (digit, p) in enumerate(zip(LEVELS, score.probabilities, strict=True)):
        x = left + i * step
        draw.rectangle((x, 56 - round(32 * float(p)), x + step - 6, 56), fill=BAR)
        draw.text((x + 4, 57), str(digit), INK if digit == score.level else FAINT, small)
    return np.asarray(image)


def overlay_name(identifier: str) -> str:
    """File name for an id that may be a path; different for different ids."""
    plain = re.sub(r"[^\w.-]+", "_", identifier).strip("._")[-80:]
    if plain == identifier:
        return f"{plain}.mp4"
    return f"{plain}-{hashlib.sha256(identifier.encode()).hexdigest()[:8]}.mp4"


def _fit(draw: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
    """Shorten one line of text to a width in [px]."""
    line = " ".join(text.split())
    if draw.textlength(line, font) <= width:
        return line
    while line and draw.textlength(f"{line}…", font) > width:
        line = line[:-1]
    return f"{line}…"
