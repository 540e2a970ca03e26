"""Figures over training episodes of a study: true success, and the false-positive rate."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t

from experiments.metrics import Rate, even_width
from experiments.report.chart import Chart, Palette, blank, legend_above
from experiments.report.study_folder import Cell
from experiments.results import METRIC_KEYS

MARKERS = ("o", "s", "^", "D")
STYLES = ("-", "--", "-.", ":")
TOGETHER = len(MARKERS)
"""Cells in one figure: more would hide each other."""
Row = dict[str, Any]


def seed_interval(means: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean over seeds by Student's t, cut to 0..1; it takes two seeds or more."""
    values = np.asarray(means, float)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return max(0.0, float(values.mean() - half)), min(1.0, float(values.mean() + half))


def success_rows(cell: Cell) -> list[Row]:
    """True success of blocks of training episodes: mean and interval over seeds, with one seed Wilson's over episodes."""
    success = cell.column(METRIC_KEYS["success"])
    rows = []
    for part in _blocks(success.shape[1]):
        block = success[:, part]
        known = [seed[np.isfinite(seed)] for seed in block if np.isfinite(seed).any()]
        if not known:
            continue
        means = [float(seed.mean()) for seed in known]
        wilson = Rate(int(known[0].sum()), len(known[0])).interval
        low, high = seed_interval(means) if len(means) > 1 else wilson
        rows.append(_row(cell, part, float(np.mean(means)), low, high, len(means)))
    return rows


def false_positive_rows(cell: Cell) -> list[Row]:
    """Share of the failed episodes of a block that were predicted 5: all seeds together, with Wilson's interval.

    Not per seed: late in training a seed has few failures, or none.
    """
    level, predicted = (cell.column(METRIC_KEYS[name]) for name in ("level", "predicted"))
    rows = []
    for part in _blocks(level.shape[1]):
        failed = (level[:, part] < 5) & np.isfinite(predicted[:, part])
        rate = Rate(int((failed & (predicted[:, part] == 5)).sum()), int(failed.sum()))
        if rate.known:
            row = _row(cell, part, rate.value, *rate.interval, len(level))
            rows.append({**row, "false_positives": rate.successes, "failures": rate.total})
    return rows


def _blocks(count: int) -> list[slice]:
    width = even_width(count)
    return [slice(start, min(start + width, count)) for start in range(0, count, width)]


def _row(cell: Cell, part: slice, value: float, low: float, high: float, seeds: int) -> Row:
    return {
        "task": cell.task, "reward": cell.row["reward"], "learner": cell.row["learner"],
        "first_episode": part.start + 1, "last_episode": part.stop,
        "value": value, "low": low, "high": high, "seeds": seeds,
    }  # fmt: skip


def success_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Curves of true success of one task, with base and final evaluation at both ends."""
    return _charts("success", "True success in training", cells, success_rows, ends=True)


def false_positive_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Curves of the false-positive rate of one task."""
    scored = [cell for cell in cells if cell.runs and cell.has_false_positives]
    return _charts("false-positives", "False-positive rate", scored, false_positive_rows)


def _charts(
    name: str,
    title: str,
    cells: Sequence[Cell],
    rows_of: Callable[[Cell], list[Row]],
    *,
    ends: bool = False,
) -> list[Chart]:
    charts = []
    shown = [(cell, rows) for cell in cells if cell.runs and (rows := rows_of(cell))]
    for start in range(0, len(shown), TOGETHER):
        group = shown[start : start + TOGETHER]
        task, number = group[0][0].task, start // TOGETHER + 1
        stem = f"{name}-{task}" + (f"-{number}" if number > 1 else "")

        def draw(palette: Palette, group: Sequence[tuple[Cell, list[Row]]] = group) -> Figure:
            return _draw(palette, group, title, ends=ends)

        charts.append(Chart(stem, f"{title}: {task}", draw, [r for _, rows in group for r in rows]))
    return charts


def _draw(
    palette: Palette, group: Sequence[tuple[Cell, list[Row]]], title: str, *, ends: bool
) -> Figure:
    figure, axes = blank(palette, 4.6, 3.2)
    last = max(row["last_episode"] for _, rows in group for row in rows)
    for n, (cell, rows) in enumerate(group):
        colour, marker = palette.series[n], MARKERS[n]
        # Moved apart by a little, so that equal curves stay visible beside each other.
        shift = (n - (len(group) - 1) / 2) * 0.012 * last
        x = [(row["first_episode"] - 1 + row["last_episode"]) / 2 + shift for row in rows]
        y, low, high = (np.array([100 * row[k] for row in rows]) for k in ("value", "low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)
        axes.errorbar(
            x, y, yerr=[y - low, high - y], fmt=marker + STYLES[n], color=colour, ms=4, lw=1.5,
            elinewidth=0.8, capsize=1.5, label=cell.label,
        )  # fmt: skip
        if ends:
            for place, phase, face in ((-0.03, "base", "none"), (1.03, "final", colour)):
                value = 100 * float(np.mean(cell.row[phase]))
                axes.plot(place * last + shift, value, marker, ms=7, mfc=face, mec=colour)
    if ends:
        axes.set_xlim(-0.06 * last, 1.06 * last)
    axes.set(xlabel="training episodes", ylabel=f"{title.lower()}, %", ylim=(-3, 103))
    legend_above(axes, palette)
    return figure
