"""`bench.html`: the numbers of one benchmark run with their intervals, plots and the published figures, in one file."""

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment

from reward_models.bench.published_figures import OVERALL, ROBOREWARD_8B, ROWS

HEADLINES = {
    "macro_mae": ("Macro MAE", "plain mean over subsets; the official number"),
    "mae": ("Micro MAE", "mean over examples"),
    "level_macro_mae": ("Level-macro MAE", "plain mean over true levels"),
    "exact": ("Exact", "share of right levels"),
    "within_one": ("Within one", "share at most one level off"),
    "bias": ("Bias", "mean of predicted minus true level"),
    "kendall_tau_b": ("Kendall's τ-b", "rank correlation"),
    "preference_accuracy": ("Preference accuracy", "pairs of a subset in the right order"),
    "false_positive_rate": ("False-positive rate", "predicted 5, true level below 5"),
    "true_positive_rate": ("True-positive rate", "predicted 5, true level 5"),
    "success_roc_auc": ("ROC-AUC of success", "by the probability of 5"),
    "calibration_error": ("Calibration error", "expected calibration error, 10 bins"),
    "unreadable": ("Unreadable", "share without a level; each costs 4.0"),
    "coverage": ("Coverage", "share of the data that was answered"),
    "latency_ms": ("Latency", "median per clip [ms]"),
    "clips_per_s": ("Throughput", "clips per second of calls"),
    "peak_memory_mb": ("Peak memory", "of the process [MB]"),
    "peak_gpu_memory_mb": ("Peak GPU memory", "of torch [MB]"),
}
"""Key -> name and meaning, in the order of the page."""


def write_page(path: Path, result: Mapping[str, Any]) -> None:
    """Write the page about a result of `roboreward bench`."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    template = files("reward_models.bench").joinpath("page.html").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        result=result,
        rows=[
            (name, meaning, key)
            for key, (name, meaning) in HEADLINES.items()
            if _known(result.get(key))
        ],
        difference=_differences(result),
        leaderboard=_leaderboard(result),
        subsets=_subsets(result),
        official=_is_official(result),
        published_rows=ROWS,
        curve=_curve(result),
    )
    path.write_text(text, encoding="utf-8")


def number(value: float | None) -> str:
    """Three digits after the point, or fewer for what is large; a hyphen for what is not known.

    >>> number(0.66464), number(1234.5), number(None), number(12.0)
    ('0.665', '1,234', '-', '12.0')
    """
    if value is None or math.isnan(value):
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{1 if abs(value) >= 10 else 3}f}"


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _is_official(result: Mapping[str, Any]) -> bool:
    """Whether all rows of the published test split were asked about, so that the numbers may be compared."""
    asked = result["examples"] + result["failed_count"] + result["skipped_count"]
    return asked == ROWS and set(result["mae_by_subset"]) == set(ROBOREWARD_8B)


def _leaderboard(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [{"name": name, "mae": mae, "measured": False} for name, mae in OVERALL.items()]
    rows.append({"name": result["model"], "mae": result["macro_mae"], "measured": True})
    if "against" in result:
        other = result["against"]
        rows.append({"name": other["model"], "mae": other["macro_mae"], "measured": True})
    return sorted(rows, key=lambda row: row["mae"])


def _subsets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    intervals = result.get("intervals", {})
    longest = max([4.0, *result["mae_by_subset"].values()])
    return [
        {
            "name": name,
            "mae": mae,
            "width": 100 * mae / longest,
            "interval": intervals.get(f"mae_by_subset/{name}"),
            "published": ROBOREWARD_8B.get(name),
        }
        for name, mae in sorted(result["mae_by_subset"].items(), key=lambda pair: -pair[1])
    ]


def _differences(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = result.get("difference")
    if not found:
        return []
    rows = []
    for key, (name, _) in HEADLINES.items():
        if key in found and _known(found[key]):
            low, high = found["intervals"].get(key, (math.nan, math.nan))
            rows.append(
                {
                    "name": name,
                    "value": found[key],
                    "interval": (low, high),
                    "apart": low > 0 or high < 0,
                }
            )
    return rows


def _curve(result: Mapping[str, Any]) -> str:
    """Points of the ROC curve in the units of its picture, 0..100 with y down."""
    curve = result.get("success_curve") or {}
    points = zip(
        curve.get("false_positive_rate", ()), curve.get("true_positive_rate", ()), strict=True
    )
    return " ".join(f"{100 * x:.2f},{100 - 100 * y:.2f}" for x, y in points)
