"""The figures of one run, and the frame strips of a reward model at work."""

import io
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.media import frame_strip
from experiments.metrics import UNKNOWN, Rate, even_width
from experiments.report.chart import LIGHT, Chart, Palette, blank, legend_above

DPI = 160


def learning_chart(
    predicted: Sequence[float], truths: Sequence[float], base: Rate, final: Rate
) -> Chart:
    """Predicted and true success over training episodes.

    Args:
        predicted: Predicted level per training episode, 1..5.
        truths: True success per training episode, 0 or 1; NaN where it is hidden.
        base: Evaluated before training.
        final: Evaluated after training.
    """
    successes = [float(level == 5) if math.isfinite(level) else math.nan for level in predicted]
    series = {
        "predicted success (level 5)": binned_rates(successes),
        "true success (only reported)": binned_rates(truths),
    }
    rows = [
        {"series": name, "episodes": end, "value": rate.value, "low": rate.interval[0], "high": rate.interval[1]}
        for name, blocks in series.items()
        for end, rate in blocks
    ]  # fmt: skip

    def draw(palette: Palette) -> Figure:
        figure, axes = blank(palette, 6.4, 3.3)
        count = max(len(predicted), 1)
        _draw_base(axes, palette, base)
        # Moved apart by a little and drawn differently: where the two agree, both can be seen.
        looks = ((-0.006, "s--", palette.predicted), (0.006, "o-", palette.tuned))
        for (name, blocks), (shift, style, colour) in zip(series.items(), looks, strict=True):
            _draw_rates(axes, [(end + shift * count, rate) for end, rate in blocks], style, colour, name)  # fmt: skip
        _draw_rates(axes, [(count * 1.04, final)], "D", palette.tuned, "policy that was kept")
        axes.set(xlabel="training episodes", ylabel="%", ylim=(-3, 103), xlim=(0, count * 1.07))
        legend_above(axes, palette)
        return figure

    return Chart("learning-curve", "Learning curve", draw, rows)


def binned_rates(values: Sequence[float]) -> list[tuple[int, Rate]]:
    """Episodes so far and rate of consecutive blocks; NaN is left out, and so is a block without a number."""
    width = even_width(len(values))
    rates = []
    for start in range(0, len(values), width):
        block = [value for value in values[start : start + width] if math.isfinite(value)]
        if block:
            end = min(start + width, len(values))
            rates.append((end, Rate(int(sum(block)), len(block))))
    return rates


def _draw_base(axes: Axes, palette: Palette, base: Rate) -> None:
    if base.known:
        low, high = (100 * end for end in base.interval)
        axes.axhspan(low, high, color=palette.base, alpha=0.18, lw=0)
        axes.axhline(100 * base.value, color=palette.base, lw=1.4, label="base policy")


def _draw_rates(
    axes: Axes, points: Sequence[tuple[float, Rate]], style: str, colour: str, name: str
) -> None:
    known = [(x, rate) for x, rate in points if rate.known]
    if known:
        x = [place for place, _ in known]
        y = np.array([100 * rate.value for _, rate in known])
        low, high = 100 * np.array([rate.interval for _, rate in known]).T
        # Rounding may put the end of an interval past the value by 1e-15.
        bars = np.maximum([y - low, high - y], 0)
        axes.errorbar(x, y, yerr=bars, fmt=style, ms=4, color=colour, elinewidth=0.8, capsize=2, label=name)  # fmt: skip


def confusion_chart(counts: np.ndarray) -> Chart:
    """True level against predicted level, shaded by the share within each true level."""

    def draw(palette: Palette) -> Figure:
        figure, axes = blank(palette, 3.9, 3.5)
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
        axes.spines["bottom"].set_visible(False)
        return figure

    rows = [
        {"true_level": true + 1, "predicted_level": predicted + 1, "episodes": int(count)}
        for (true, predicted), count in np.ndenumerate(counts)
    ]
    return Chart("confusion", "Reward against truth", draw, rows)


def success_chart(base: Rate, final: Rate) -> Chart:
    """Success before and after with 95 % Wilson intervals."""
    rates = {"base": base, "kept": final}

    def draw(palette: Palette) -> Figure:
        figure, axes = blank(palette, 3.9, 3.5)
        for x, (rate, colour) in enumerate(zip(rates.values(), (palette.base, palette.tuned), strict=True)):  # fmt: skip
            if not rate.known:
                axes.text(x, 2, UNKNOWN, ha="center", fontsize=11, color=palette.ink)
                continue
            value = 100 * rate.value
            axes.bar(x, value, width=0.58, color=colour)
            _draw_rates(axes, [(x, rate)], "none", palette.ink, "")
            axes.text(x, 100 * rate.interval[1] + 2, f"{value:.0f} %", ha="center", fontsize=11, color=palette.ink)  # fmt: skip
        axes.set(
            ylabel="success, %", ylim=(0, 112), xlim=(-0.6, 1.6), yticks=range(0, 101, 25),
            xticks=(0, 1), xticklabels=("base policy", "policy kept"),
        )  # fmt: skip
        return figure

    rows = [
        {"policy": name, "success": r.value, "low": r.interval[0], "high": r.interval[1], "episodes": r.total}
        for name, r in rates.items()
    ]  # fmt: skip
    return Chart("success", "Success, before and after", draw, rows)


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
