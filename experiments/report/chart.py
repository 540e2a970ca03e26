"""A figure with its numbers: drawn for light and dark pages, and written as PDF, SVG and CSV for a paper."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.media import data_uri

LONG_LABEL = 28
"""Characters of a label above which two do not fit beside each other."""


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; `series` are for rewards side by side."""

    ink: str
    faint: str
    grid: str
    base: str
    tuned: str
    predicted: str
    map: str
    series: tuple[str, ...]


LIGHT = Palette(
    "#1f2328", "#6b7280", "#e5e7eb", "#8b93a1", "#0f766e", "#c2570c", "Blues",
    ("#0f766e", "#c2570c", "#3457c8", "#9333a8"),
)  # fmt: skip
DARK = Palette(
    "#e6e8eb", "#9aa3af", "#343a43", "#8b93a1", "#2dd4bf", "#fb923c", "cividis",
    ("#2dd4bf", "#fb923c", "#8aa8ff", "#e08cf5"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Chart:
    """One figure.

    Attributes:
        name: Stem of its files.
        title: What it shows, for the page and for readers without sight.
        draw: Draws it in the colours of a theme.
        rows: The numbers in it, one row of the CSV each.
    """

    name: str
    title: str
    draw: Callable[[Palette], Figure]
    rows: Sequence[Mapping[str, Any]]

    def images(self) -> dict[str, str]:
        """The figure as `data:` addresses of both themes."""
        return {
            "title": self.title,
            "light": data_uri(self._bytes(LIGHT, "svg"), "image/svg+xml"),
            "dark": data_uri(self._bytes(DARK, "svg"), "image/svg+xml"),
        }

    def save(self, folder: Path) -> None:
        """Write `<name>.pdf`, `<name>.svg` and `<name>.csv`."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("pdf", "svg"):
            (folder / f"{self.name}.{kind}").write_bytes(self._bytes(LIGHT, kind))
        fields = list(dict.fromkeys(name for row in self.rows for name in row))
        with (folder / f"{self.name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows(self.rows)

    def _bytes(self, palette: Palette, kind: str) -> bytes:
        buffer = io.BytesIO()
        # The same numbers make the same file: no date, no random identifiers.
        date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
        with mpl.rc_context({"svg.hashsalt": self.name, "pdf.fonttype": 42}):
            self.draw(palette).savefig(buffer, format=kind, transparent=True, metadata=date)
        return buffer.getvalue()


def save_charts(charts: Iterable[Chart], page: Path) -> Path:
    """Write the files of all figures into a folder beside the page; returns the folder."""
    folder = page.with_name(f"{page.stem}_figures")
    for chart in charts:
        chart.save(folder)
    return folder


def blank(palette: Palette, width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure in the colours of a theme; size in [in]."""
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


def legend_above(axes: Axes, palette: Palette, columns: int = 2) -> None:
    """The names of the lines, above the plot, where they cover nothing; none without a line."""
    labels = axes.get_legend_handles_labels()[1]
    if not labels:
        return
    if max(map(len, labels)) > LONG_LABEL:
        columns = 1
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, fontsize=8,
        labelcolor=palette.ink,
    )  # fmt: skip
