"""Calibration: how often an episode was a success, of those with a given probability of success."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.config import TRUTH
from experiments.metrics import Rate
from experiments.report.chart import Chart, Palette, blank, legend_above
from experiments.report.curves import MARKERS, groups
from experiments.report.study_folder import Cell
from experiments.results import METRIC_KEYS

PROBABILITY = "roboreward/success_probability"
EDGES = np.linspace(0, 1, 6)
"""Bins of the predicted probability."""


def calibration_rows(cell: Cell) -> list[dict[str, Any]]:
    """Per bin of P(5): mean probability, share of true successes, Wilson's interval; none without probabilities."""
    if not cell.runs or cell.row["reward_model"] == TRUTH:
        return []
    probability, success = (cell.column(k).ravel() for k in (PROBABILITY, METRIC_KEYS["success"]))
    known = np.isfinite(probability) & np.isfinite(success)
    probability, success = probability[known], success[known]
    bins = np.digitize(probability, EDGES[1:-1])
    rows = []
    for n in np.unique(bins):
        inside = bins == n
        rate = Rate(int(success[inside].sum()), int(inside.sum()))
        low, high = rate.interval
        rows.append(
            {
                "task": cell.task, "reward": cell.row["reward"], "learner": cell.row["learner"],
                "from": float(EDGES[n]), "to": float(EDGES[n + 1]),
                "mean_probability": float(probability[inside].mean()),
                "success": rate.value, "low": low, "high": high, "episodes": rate.total,
            }
        )  # fmt: skip
    return rows


def calibration_charts(cells: Sequence[Cell]) -> list[Chart]:
    """Reliability diagrams of one task."""
    charts = []
    for number, group in enumerate(groups(cells, calibration_rows)):
        task = group[0][1].task

        def draw(palette: Palette, group: Sequence[tuple[int, Cell, Any]] = group) -> Figure:
            return _draw(palette, group)

        stem = f"calibration-{task}" + (f"-{number + 1}" if number else "")
        rows = [row for _, _, mine in group for row in mine]
        charts.append(Chart(stem, f"Calibration: {task}", draw, rows))
    return charts


def _draw(palette: Palette, group: Sequence[tuple[int, Cell, Any]]) -> Figure:
    figure, axes = blank(palette, 4.6, 3.6)
    axes.plot([0, 1], [0, 100], ":", color=palette.faint, lw=1.2, label="perfect")
    for n, (look, cell, rows) in enumerate(group):
        shift = (n - (len(group) - 1) / 2) * 0.015
        x = np.array([row["mean_probability"] for row in rows]) + shift
        y, low, high = (
            np.array([100 * row[k] for row in rows]) for k in ("success", "low", "high")
        )
        axes.errorbar(
            x, y, yerr=np.maximum([y - low, high - y], 0), fmt=MARKERS[look], ms=6, capsize=3,
            color=palette.series[look], label=cell.label,
        )  # fmt: skip
        for place, height, row in zip(x, y, rows, strict=True):
            right = place < 0.85
            axes.annotate(
                f"n = {row['episodes']}", (place, height), (7 if right else -7, -3 if height > 8 else 4),
                textcoords="offset points", fontsize=7.5, color=palette.faint, ha="left" if right else "right",
            )  # fmt: skip
    axes.set(xlabel="predicted probability of level 5", ylabel="true success, %", xlim=(-0.04, 1.04), ylim=(-4, 104))  # fmt: skip
    legend_above(axes, palette)
    return figure
