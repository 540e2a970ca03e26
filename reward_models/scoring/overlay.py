"""Draw a score under the recording that it belongs to, for people who check the reward model."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reward_models.scoring.log import OutputUnwritable
from reward_models.scoring.progress import Curve
from reward_models.video.recording import InvalidVideo, RecordingSource
from reward_models.video.write import write_mp4
from roboreward_gym.types import LEVELS, Clip, ProgressScore

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MIN_WIDTH = 320
PANEL_HEIGHT = 72
PLOT_HEIGHT = 88
MARGIN = 8
INK, FAINT, PAPER, BAR = (20, 20, 20), (150, 150, 150), (255, 255, 255), (60, 110, 200)


def write_overlay(
    path: Path,
    source: RecordingSource,
    clip: Clip,
    score: ProgressScore,
    progress: Curve = (),
) -> None:
    """Encode the whole recording as H.264 in MP4, with the task and the score below each frame, and a plot of progress.

    The frames are read again one by one: the clip may hold only those that the model needed.

    Args:
        path: File to write; it appears whole or not at all.
        source: The recording.
        clip: What the model saw of it.
        score: What it answered.
        progress: Progress over time; no plot without.

    Raises:
        OutputUnwritable: No place or no room for the file.
        InvalidVideo: The recording cannot be read any more, or its frames have different sizes.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mp4(partial, _draw(source, clip, score, progress), clip.fps, preset="veryfast")
        partial.replace(path)
    except InvalidVideo:
        with suppress(OSError):
            partial.unlink()
        raise
    except (OSError, av.FFmpegError) as error:
        with suppress(OSError):
            partial.unlink()
        raise OutputUnwritable(
            f"The overlay {path} cannot be written: {error.strerror}. "
            "Choose another --overlay, or make room."
        ) from error


def _draw(
    source: RecordingSource, clip: Clip, score: ProgressScore, progress: Curve
) -> Iterator[np.ndarray]:
    height, width = clip.frames.shape[1:3]
    scale = max(1, -(-MIN_WIDTH // width))
    panels = [draw_panel(width * scale, clip.task, score)]
    for number, frame in enumerate(source.stream()):
        if frame.shape[:2] != (height, width):
            raise InvalidVideo(
                f"The overlay of {clip.task!r} cannot be drawn: its frames have different sizes: {height}x{width} and "
                f"{frame.shape[0]}x{frame.shape[1]} (frame {number}). Record all of them in one size."
            )
        if progress:
            panels[1:] = [draw_plot(width * scale, progress, number / clip.fps)]
        yield np.concatenate([frame.repeat(scale, axis=0).repeat(scale, axis=1), *panels])


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


def draw_plot(width: int, progress: Curve, now_s: float) -> np.ndarray:
    """Return `(PLOT_HEIGHT, width, 3)` uint8: progress over time, known so far in colour, and what comes after in grey."""
    image = Image.new("RGB", (width, PLOT_HEIGHT), PAPER)
    draw, small = ImageDraw.Draw(image), ImageFont.load_default(12)
    left, right, top, bottom = 34, width - MARGIN, 10, PLOT_HEIGHT - 20
    end_s = progress[-1][0]
    for value in (0.0, 0.5, 1.0):
        y = bottom - value * (bottom - top)
        draw.text((MARGIN - 2, y - 7), f"{value:.1f}", INK, small)
        draw.line((left, y, right, y), FAINT)
    draw.text((left, bottom + 4), "progress", INK, small)
    draw.text((right, bottom + 4), f"{end_s:.1f} s", INK, small, anchor="ra")
    points = [
        (left + t / end_s * (right - left), bottom - value * (bottom - top), t <= now_s)
        for t, value in progress
        if value is not None
    ]
    for (x0, y0, _), (x, y, known) in pairwise(points):
        draw.line((x0, y0, x, y), BAR if known else FAINT, 2)
    for x, y, known in points:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), BAR if known else FAINT)
    x = left + min(now_s / end_s, 1.0) * (right - left)
    draw.line((x, top, x, bottom), INK)
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
