"""The figures of a report, each drawn once for light and once for dark pages."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.metrics import UNKNOWN, Rate, binned_mean, even_width
from experiments.report.media import frame_strip

DPI = 160


@dataclass(frozen=True)
class Palette:
    """Colours of one theme."""

    ink: str
    faint: str
    grid: str
    base: str
    tuned: str
    predicted: str
    map: str


LIGHT = Palette("#1f2328", "#6b7280", "#e5e7eb", "#8b93a1", "#0f766e", "#c2570c", "Blues")
DARK = Palette("#e6e8eb", "#9aa3af", "#343a43", "#8b93a1", "#2dd4bf", "#fb923c", "cividis")


def learning_curve(
    palette: Palette,
    predicted: Sequence[float],
    truths: Sequence[float],
    base: Rate,
    final: Rate,
) -> bytes:
    """Predicted and true success over training episodes, as PNG.

    Args:
        palette: Colours.
        predicted: Predicted level per training episode, 1..5.
        truths: True success per training episode, 0 or 1; NaN where it is hidden.
        base: Evaluated before training.
        final: Evaluated after training.
    """
    figure, axes = _figure(palette, 7.2, 3.3)
    count = len(predicted)
    width = even_width(count)
    if base.known:
        low, high = (100 * end for end in base.interval)
        axes.axhspan(low, high, color=palette.base, alpha=0.18, lw=0)
        axes.axhline(
            100 * base.value, color=palette.base, lw=1.4, label="base policy (95 % interval)"
        )
    progress = [25 * (level - 1) for level in predicted]
    successes = [100 * (level == 5) if math.isfinite(level) else math.nan for level in predicted]
    for values, style, colour, label in (
        (progress, ":", palette.predicted, "predicted progress in training"),
        (successes, "o-", palette.predicted, "predicted success (level 5)"),
        ([100 * t for t in truths], "o-", palette.tuned, "true success (only reported)"),
    ):
        points = binned_mean(values, width)
        axes.plot(*zip(*points, strict=True), style, ms=3, color=colour, label=label)
    if final.known:
        low, high = (100 * end for end in final.interval)
        value = 100 * final.value
        axes.errorbar(
            [count * 1.03], [value], yerr=[[value - low], [high - value]],
            fmt="D", ms=6, capsize=4, color=palette.tuned, label="fine-tuned policy (95 % interval)",
        )  # fmt: skip
    axes.set(xlabel="training episodes", ylabel="%", ylim=(-3, 103), xlim=(0, count * 1.06))
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8,
        labelcolor=palette.ink,
    )  # fmt: skip
    return _png(figure)


def confusion_map(palette: Palette, counts: np.ndarray) -> bytes:
    """True level against predicted level, shaded by the share within each true level, as PNG."""
    figure, axes = _figure(palette, 3.9, 3.5)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap=mpl.colormaps[palette.map], vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        shade = mpl.colormaps[palette.map](share[row, column])
        bright = np.dot(shade[:3], (0.299, 0.587, 0.114)) > 0.55
        axes.text(
            column, row, str(count), ha="center", va="center", fontsize=9,
            color="#1f2328" if bright else "#ffffff",
        )  # fmt: skip
    axes.set(
        xlabel="predicted level", ylabel="true level", xticks=range(5), yticks=range(5),
        xticklabels=range(1, 6), yticklabels=range(1, 6),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _png(figure)


def success_bars(palette: Palette, base: Rate, final: Rate) -> bytes:
    """Success before and after with 95 % Wilson intervals, as PNG."""
    figure, axes = _figure(palette, 3.9, 3.5)
    for x, rate, colour in ((0, base, palette.base), (1, final, palette.tuned)):
        if not rate.known:
            axes.text(x, 2, UNKNOWN, ha="center", fontsize=11, color=palette.ink)
            continue
        value, (low, high) = 100 * rate.value, (100 * end for end in rate.interval)
        axes.bar(x, value, width=0.58, color=colour)
        axes.errorbar(
            x, value, yerr=[[value - low], [high - value]], color=palette.ink, capsize=5, lw=1.3
        )
        axes.text(x, high + 2, f"{value:.0f} %", ha="center", fontsize=11, color=palette.ink)
    axes.set(
        ylabel="success, %", ylim=(0, 112), xlim=(-0.6, 1.6), yticks=range(0, 101, 25),
        xticks=(0, 1), xticklabels=("base", "fine-tuned"),
    )  # fmt: skip
    return _png(figure)


def example_strips(
    episodes: Sequence[np.ndarray],
    titles: Sequence[str],
    levels: Sequence[tuple[int | None, int]],
) -> bytes:
    """Frame strips below each other, each with the predicted and the true level, as JPEG on white.

    Args:
        episodes: `(T, H, W, 3)` uint8 each.
        titles: Above each strip.
        levels: Predicted level, None if unreadable, and true level of each.
    """
    strips = [frame_strip(frames, width=200) for frames in episodes]
    height, width = strips[0].shape[:2]
    figure = Figure(figsize=(9, 9 / 1.16 * len(strips) * (height * 1.16) / width), dpi=DPI)
    grid = figure.subplots(len(strips), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.005, right=0.86, top=0.965, bottom=0.005, hspace=0.14)
    for axes, strip, title, (predicted, true) in zip(grid, strips, titles, levels, strict=True):
        axes.imshow(strip)
        axes.set_axis_off()
        axes.set_title(title, loc="left", fontsize=9, color=LIGHT.ink, pad=3)
        colour = LIGHT.tuned if predicted == true else LIGHT.predicted
        for y, size, text in (
            (0.62, 24, "-" if predicted is None else str(predicted)),
            (0.34, 8, "predicted, 1 to 5"),
            (0.2, 8, f"truth: {true}"),
        ):
            axes.text(
                1.075, y, text, transform=axes.transAxes, ha="center", va="center", fontsize=size,
                color=LIGHT.faint if size == 8 else colour,
            )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", pil_kwargs={"quality": 85})
    return buffer.getvalue()


def _figure(palette: Palette, width: float, height: float) -> tuple[Figure, Axes]:
    # A Figure of our own and no pyplot: nothing global to close, no display wanted.
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.tick_params(colors=palette.faint, labelsize=9)
    axes.xaxis.label.set_color(palette.faint)
    axes.yaxis.label.set_color(palette.faint)
    axes.grid(axis="y", color=palette.grid, lw=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(palette.grid)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, transparent=True)
    return buffer.getvalue()
