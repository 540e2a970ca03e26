"""The page of a study: one HTML file that needs no other file and no network, and its figures for a paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.media import data_uri
from experiments.report.before_after import NOTE as PAIR_NOTE
from experiments.report.before_after import pairs
from experiments.report.calibration import calibration_charts
from experiments.report.chart import Chart, save_charts
from experiments.report.comparisons import correlation_words, gain_chart, mae_chart, share_chart
from experiments.report.curves import false_positive_charts, success_charts
from experiments.report.losses import NOTE as LOSSES_NOTE
from experiments.report.losses import study_charts
from experiments.report.mistakes import KINDS, counts, mistakes
from experiments.report.published import SOURCE
from experiments.report.study_folder import Cell, Study
from experiments.report.study_table import config_words, run_rows, table_rows
from experiments.report.template import render, strip_words

REPORT = "report.html"
CURVE_NOTE = (
    "True success of the training episodes, which the learner never sees. Means of ten episodes with 95 % intervals: the wider of Student's t over "
    "seeds and Wilson's over all episodes; with fewer than three seeds the latter alone. Open marks: base policy, filled marks: the policy that was kept, each on the evaluation starts."
)
FALSE_NOTE = (
    "Share of the failed training episodes that the reward model predicted 5. A rise means that the policy learns to fool it. "
    "Ten episodes of all seeds together, with 95 % Wilson intervals; where none failed there is no point."
)
CALIBRATION_NOTE = "Training episodes by predicted probability of level 5, in five bins, against true success, with 95 % Wilson intervals."
SHARE_NOTE = (
    "Gain with roboreward-nano over the gain with the true reward, on the starts and seeds of both, with 95 % bootstrap intervals. Grey: "
    "the oracle's own gain is not clear, so there is no interval."
)


def write_study(study: Study, folder: Path) -> Path:
    """Write `report.html` and `report_figures/` into a folder; returns the page.

    Args:
        study: What is shown.
        folder: Where to.
    """
    sections = _sections(study)
    page = folder / REPORT
    save_charts([chart for section in sections for chart in section["charts"]], page)
    drawn = [{**section, "charts": [c.images() for c in section["charts"]]} for section in sections]
    table = study.table
    context = {
        "title": "Reward models as teachers",
        "refresh_s": 0,
        "lead": f"{table['finished_runs']} of {table['planned_runs']} planned runs are finished.",
        "source": SOURCE,
        "rows": table_rows(study),
        "sections": drawn,
        "pairs": pairs(study.compared),
        "pair_note": PAIR_NOTE,
        "mistakes": _mistakes(study.compared),
        "mistake_note": _mistake_note(study.compared),
        "cells": [_made(cell) for cell in study.cells],
        "missing": sum(not cell.runs for cell in study.cells),
    }
    return render("study.html.j2", context, page)


def _sections(study: Study) -> list[dict[str, Any]]:
    by_task = [study.of_task(task) for task in study.tasks]
    gains = [gain_chart(study.compared)] if study.compared else []
    shares = [share_chart(study.table["share_of_oracle_gain_details"])]
    errors = [mae_chart(study.table["mae_vs_success"])]
    sections = [
        _section("Gain over the base policy", "Difference of success on paired starts, with 95 % intervals over starts and seeds. Grey: the interval includes 0, or the base policy was kept.", gains),
        _section("Success in training", CURVE_NOTE, [c for cells in by_task for c in success_charts(cells)]),
        _section("False-positive rate in training", FALSE_NOTE, [c for cells in by_task for c in false_positive_charts(cells)]),
        _section("Losses", LOSSES_NOTE, [c for cells in by_task for c in study_charts(cells)]),
        _section("Calibration", CALIBRATION_NOTE, [c for cells in by_task for c in calibration_charts(cells)]),
        _section("Share of the oracle's gain", SHARE_NOTE, [c for c in shares if c]),
        _section("Accurate reward models teach better?", correlation_words(study.table["mae_vs_success"]), [c for c in errors if c]),
    ]  # fmt: skip
    return [section for section in sections if section["charts"]]


def _section(title: str, note: str, charts: Sequence[Chart]) -> dict[str, Any]:
    return {"title": title, "note": note, "charts": charts}


def _mistakes(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    shown = []
    for cell in cells:
        for mistake in mistakes(cell):
            video = mistake.video and data_uri(mistake.video, "video/mp4")
            shown.append(
                {"kind": mistake.kind, "strip": strip_words(mistake.strip), "video": video}
            )
    return shown


def _mistake_note(cells: Sequence[Cell]) -> str:
    total = ", ".join(f"{counts(cells, kind)} {kind}s" for kind in KINDS)
    return f"{total} in all training episodes; of each cell up to two of each kind, spread over its runs."


def _made(cell: Cell) -> dict[str, Any]:
    return {"name": f"{cell.task}, {cell.label}", "runs": run_rows(cell), "config": config_words(cell)}  # fmt: skip
