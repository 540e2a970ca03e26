"""Figures over training episodes of a study: true success, and the false-positive rate."""

from collections.abc import Callable, Sequence
from itertools import batched
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t

from experiments.config import TRUTH
from experiments.metrics import Rate
from experiments.report.chart import Chart, Palette, blank, legend_above
from experiments.report.study_folder import Cell
from experiments.results import METRIC_KEYS

MARKERS = ("o", "s", "^", "D")
STYLES = ("-", "--", "-.", ":")
TOGETHER = len(MARKERS)
"""Cells in one figure: more would hide each other."""
BLOCK = 10
"""Training episodes of a point."""
FEWEST_SEEDS = 3
"""Fewest seeds for an interval over seeds."""
Row = dict[str, Any]


def seed_interval(successes: Sequence[np.ndarray]) -> tuple[float, float]:
    """95 % interval of a share over seeds: the wider of Student's t over seeds and Wilson's over all episodes.

    Wilson's alone where there are fewer than three seeds, too few to say how much seeds differ. It is never left out: seeds that agree
    by chance would have an interval without width.

    Args:
        successes: `(episodes,)` 0 or 1 of each seed.
    """
    together = np.concatenate(successes)
    low, high = Rate(int(together.sum()), len(together)).interval
    if len(successes) < FEWEST_SEEDS:
        return low, high
    means = np.array([seed.mean() for seed in successes])
    half = t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return max(0.0, min(low, means.mean() - half)), min(1.0, max(high, means.mean() + half))


def success_rows(cell: Cell) -> list[Row]:
    """True success of blocks of training episodes, with its interval over seeds."""
    success = cell.column(METRIC_KEYS["success"])
    rows = []
    for part in _blocks(success.shape[1]):
        known = [seed[np.isfinite(seed)] for seed in success[:, part] if np.isfinite(seed).any()]
        if known:
            mean = float(np.mean([seed.mean() for seed in known]))
            rows.append(_row(cell, part, mean, *map(float, seed_interval(known)), len(known)))
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
    return [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


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
    """Curves of the false-positive rate of one task; the truth has none."""

    def rows(cell: Cell) -> list[Row]:
        return [] if cell.row["reward_model"] == TRUTH else false_positive_rows(cell)

    return _charts("false-positives", "False-positive rate", cells, rows)


def groups(
    cells: Sequence[Cell], rows_of: Callable[[Cell], list[Row]]
) -> list[list[tuple[int, Cell, list[Row]]]]:
    """Cells that share a figure, with what they look like there and their rows.

    A cell has the same place in all figures of its task, and so the same colour and mark.
    """
    found = []
    for part in together(cells):
        drawn = [(look, cell, rows) for look, cell in enumerate(part) if (rows := rows_of(cell))]
        if drawn:
            found.append(drawn)
    return found


def together(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """The cells that have runs, as many at a time as have colours of their own."""
    return list(batched((cell for cell in cells if cell.runs), TOGETHER))


def _charts(
    name: str,
    title: str,
    cells: Sequence[Cell],
    rows_of: Callable[[Cell], list[Row]],
    *,
    ends: bool = False,
) -> list[Chart]:
    charts = []
    for number, group in enumerate(groups(cells, rows_of)):
        task = group[0][1].task

        def draw(palette: Palette, group: Sequence[tuple[int, Cell, list[Row]]] = group) -> Figure:
            return _draw(palette, group, title, ends=ends)

        stem = f"{name}-{task}" + (f"-{number + 1}" if number else "")
        rows = [row for _, _, mine in group for row in mine]
        charts.append(Chart(stem, f"{title}: {task}", draw, rows))
    return charts


def _draw(
    palette: Palette, group: Sequence[tuple[int, Cell, list[Row]]], title: str, *, ends: bool
) -> Figure:
    figure, axes = blank(palette, 4.6, 3.2)
    last = max(len(run.episodes) for _, cell, _ in group for run in cell.runs)
    for n, (look, cell, rows) in enumerate(group):
        colour, marker = palette.series[look], MARKERS[look]
        # Moved apart by a little, so that equal curves stay visible beside each other.
        shift = (n - (len(group) - 1) / 2) * 0.014 * last
        x = [(row["first_episode"] - 1 + row["last_episode"]) / 2 + shift for row in rows]
        y, low, high = (np.array([100 * row[k] for row in rows]) for k in ("value", "low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.14, lw=0)
        axes.vlines(x, low, high, color=colour, lw=0.9, alpha=0.8)
        axes.plot(x, y, marker + STYLES[look], color=colour, ms=4.5, lw=1.5, label=cell.label)
        if ends:
            for place, phase, face in ((-0.03, "base", "none"), (1.03, "final", colour)):
                value = 100 * float(np.mean(cell.row[phase]))
                axes.plot(place * last + shift, value, marker, ms=7, mfc=face, mec=colour)
    axes.set(xlabel="training episodes", ylabel=f"{title.lower()}, %", ylim=(-3, 103))
    axes.set_xlim(-0.06 * last, 1.06 * last)
    legend_above(axes, palette)
    return figure
