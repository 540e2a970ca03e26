"""Figures that compare the cells of a study: gains, share of the oracle's gain, error against success."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.report.chart import Chart, Palette, blank, legend_above
from experiments.report.curves import MARKERS
from experiments.report.study_folder import Cell


def gain_chart(cells: Sequence[Cell]) -> Chart:
    """Gain of each cell with its paired interval, grey when that includes 0."""
    rows: list[dict[str, Any]] = [
        {
            "task": cell.task, "reward": cell.row["reward"], "learner": cell.row["learner"],
            "seeds": len(cell.row["seeds"]),
            "base": float(np.mean(cell.row["base"])), "final": float(np.mean(cell.row["final"])),
            "gain": cell.row["gain"], "low": cell.row["interval"][0], "high": cell.row["interval"][1],
            "false_positive_rate": cell.row["false_positive_rate"],
            "kept_fine_tuned": sum(cell.gain.kept),
        }
        for cell in cells
    ]  # fmt: skip

    def draw(palette: Palette) -> Figure:
        colours = {"gain": palette.tuned, "loss": palette.predicted, "unclear": palette.base}
        names = [f"{cell.task}\n{cell.label}" for cell in cells]
        spans = [(row["gain"], row["low"], row["high"]) for row in rows]
        return _spans(palette, names, spans, [colours[cell.gain.kind] for cell in cells], "gain in success, points", 0)  # fmt: skip

    return Chart("gains", "Gain over the base policy, 95 % paired intervals", draw, rows)


def share_chart(details: Mapping[str, Any]) -> Chart | None:
    """Gain of nano as a share of the oracle's; None without a share."""
    rows: list[dict[str, Any]] = []
    for task, row in details.items():
        if row["share"] is not None:
            low, high = row["interval"] or (None, None)
            rows.append({"task": task, "share": row["share"], "low": low, "high": high, "seeds": len(row["seeds"])})  # fmt: skip

    def draw(palette: Palette) -> Figure:
        spans = [(row["share"], row["low"], row["high"]) for row in rows]
        colours = [palette.tuned if row["low"] is not None else palette.base for row in rows]
        return _spans(palette, [row["task"] for row in rows], spans, colours, "share of the oracle's gain, %", 100)  # fmt: skip

    return Chart("share-of-oracle-gain", "Share of the oracle's gain", draw, rows) if rows else None


def _spans(
    palette: Palette,
    names: Sequence[str],
    spans: Sequence[tuple[float, float | None, float | None]],
    colours: Sequence[str],
    label: str,
    mark: float,
) -> Figure:
    figure, axes = blank(palette, 4.6, 0.9 + 0.5 * len(names))
    axes.axvline(mark, color=palette.faint, lw=1, ls=":")
    for y, ((value, low, high), colour) in enumerate(zip(spans, colours, strict=True)):
        axes.plot(100 * value, y, "o", color=colour, ms=6)
        if low is not None and high is not None:
            axes.plot([100 * low, 100 * high], [y, y], color=colour, lw=2)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0, colors=palette.ink)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=palette.grid, lw=0.8)
    return figure


def mae_chart(found: Mapping[str, Any]) -> Chart | None:
    """Success against the error of the reward model, a point each; None without points."""
    points = found["checkpoints"]

    def draw(palette: Palette) -> Figure:
        figure, axes = blank(palette, 4.6, 3.4)
        for n, task in enumerate(dict.fromkeys(point["task"] for point in points)):
            mine = [point for point in points if point["task"] == task]
            x, y = ([point[k] for point in mine] for k in ("mae", "final"))
            base = [point["final"] - point["gain"] for point in mine]
            ends = np.array([[b + e for e in p["interval"]] for b, p in zip(base, mine, strict=True)])  # fmt: skip
            bars = np.abs(ends.T - y) * 100
            axes.errorbar(x, 100 * np.array(y), yerr=bars, fmt=MARKERS[n % len(MARKERS)], color=palette.series[n % 4], ms=6, capsize=2, label=task)  # fmt: skip
        axes.set(xlabel="error of the reward model on held-out clips, levels", ylabel="success after training, %")  # fmt: skip
        axes.set_ylim(-3, 103)
        legend_above(axes, palette)
        return figure

    rows = [{**point, "low": point["interval"][0], "high": point["interval"][1]} for point in points]  # fmt: skip
    for row in rows:
        row.pop("interval")
    return Chart("mae-vs-success", "Error of the reward model against success", draw, rows) if points else None  # fmt: skip


def correlation_words(found: Mapping[str, Any]) -> str:
    """Pearson's r of accuracy and success of `mae_vs_success`, beside the paper's."""
    rows = {"all tasks": found, **found["by_task"]}
    known = [
        f"{name} r = {row['r']:.2f} [{row['interval'][0]:.2f}, {row['interval'][1]:.2f}]"
        for name, row in rows.items()
        if row["r"] is not None
    ]
    return f"Accuracy and success: {'; '.join(known) or 'too few points for r'}. Published: r = {found['paper_r']:.2f}."
