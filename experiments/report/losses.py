"""Figures of what the fine-tuner minimises, and of what its critics predict, over training episodes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.report.chart import Chart, Palette, blank, legend_above
from experiments.report.curves import together
from experiments.report.study_folder import Cell

Line = Mapping[str, Any]
NOT_LOSSES = ("episode", "phase", "env_steps", "steps", "reward")
TRUTH_AND_SCORES = ("truth/", "roboreward/", "robot/")
WORDS = {
    "critic_loss": "critic loss",
    "actor_loss": "actor loss",
    "q": "predicted value",
    "entropy": "entropy of the actor",
    "alpha": "weight of the entropy",
}
NOTE = (
    "As the fine-tuner logs them after each training episode, the first point after the warm-up of the critics. The scales differ, so each has "
    "a figure of its own; a loss that falls says nothing about success."
)


def names(lines: Sequence[Line]) -> list[str]:
    """What was logged besides counts, rewards, truth and scores."""
    found = dict.fromkeys(name for line in lines for name in line)
    return [n for n in found if n not in NOT_LOSSES and not n.startswith(TRUTH_AND_SCORES)]


def run_charts(lines: Sequence[Line]) -> list[Chart]:
    """The losses of one run, a figure each; none where nothing was learned yet."""
    return [_chart(name, f"losses-{name}", {"": [lines]}) for name in names(lines)]


def study_charts(cells: Sequence[Cell]) -> list[Chart]:
    """The losses of the cells of one task, a figure each: means over seeds."""
    return [chart for n, part in enumerate(together(cells)) for chart in _charts(part, n)]


def _charts(cells: Sequence[Cell], number: int) -> list[Chart]:
    """Figures of cells that are shown together, the first or later ones of their task."""
    task = cells[0].task
    found = dict.fromkeys(n for cell in cells for run in cell.runs for n in names(run.episodes))
    return [
        _chart(
            name,
            f"losses-{name}-{task}" + (f"-{number + 1}" if number else ""),
            {
                cell.label: [run.episodes for run in cell.runs if name in names(run.episodes)]
                for cell in cells
            },
            f": {task}",
        )
        for name in found
    ]


def _chart(
    name: str, stem: str, series: Mapping[str, Sequence[Sequence[Line]]], task: str = ""
) -> Chart:
    means = {label: _mean(name, runs) for label, runs in series.items()}
    rows = [
        {"series": label, "episode": int(x), "value": float(y)}
        for label, (episodes, values) in means.items()
        for x, y in zip(episodes, values, strict=True)
    ]

    def draw(palette: Palette) -> Figure:
        figure, axes = blank(palette, 4.6, 2.9)
        for n, (label, (episodes, values)) in enumerate(means.items()):
            if len(episodes):
                axes.plot(episodes, values, color=palette.series[n], lw=1.4, label=label)
        axes.set(xlabel="training episodes", ylabel=WORDS.get(name, name))
        if "" not in means:
            legend_above(axes, palette)
        return figure

    return Chart(stem, f"{WORDS.get(name, name)}{task}".capitalize(), draw, rows)


def _mean(name: str, runs: Sequence[Sequence[Line]]) -> tuple[np.ndarray, np.ndarray]:
    """Episodes that some run logged, from 1 on, and the mean over those runs."""
    known: dict[int, list[float]] = {}
    for line in (line for lines in runs for line in lines):
        value = line.get(name)
        if value is not None and math.isfinite(value):
            known.setdefault(int(line["episode"]) + 1, []).append(value)
    episodes = sorted(known)
    return np.array(episodes), np.array([np.mean(known[e]) for e in episodes])
