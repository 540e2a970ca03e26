"""The table of a study: our cells, beside them what the paper published."""

from typing import Any

import numpy as np

from experiments.metrics import Rate
from experiments.report.published import PUBLISHED
from experiments.report.study_folder import Cell, Study

TRIALS = 20
"""Of each published success rate."""


def table_rows(study: Study) -> list[dict[str, Any]]:
    """Our cells task by task, each task followed by the published cells that we have not run."""
    rows = []
    for task in dict.fromkeys([*study.tasks, *PUBLISHED]):
        mine = study.of_task(task)
        rows += [_row(cell) for cell in mine]
        rewards = {str(cell.row["reward"]) for cell in mine}
        rows += [
            {"task": task, "label": reward, "ours": None, "published": _published(task, reward)}
            for reward in PUBLISHED.get(task, {})
            if reward not in rewards
        ]
    return rows


def _row(cell: Cell) -> dict[str, Any]:
    row = cell.row
    rate = row["false_positive_rate"]
    starts = sorted({run["starts"] for run in row["runs"]})
    return {
        "task": cell.task,
        "label": cell.label,
        "published": _published(cell.task, str(row["reward"])),
        "ours": {
            "base": _percent(row["base"]),
            "final": _percent(row["final"]),
            "gain": cell.gain,
            "false_positives": "-" if rate is None else f"{100 * rate:.1f} %",
            "seeds": f"{len(row['seeds'])} x {' or '.join(map(str, starts))}",
        },
    }


def _percent(values: list[float]) -> str:
    return f"{100 * float(np.mean(values)):.0f} %"


def _published(task: str, reward: str) -> str | None:
    value = PUBLISHED.get(task, {}).get(reward)
    if value is None:
        return None
    low, high = Rate(round(value * TRIALS), TRIALS).interval
    return f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def run_rows(cell: Cell) -> list[dict[str, str]]:
    """One row per run: what came out, and the commit that it was made with."""
    rows = []
    for run in cell.row["runs"]:
        low, high = run["interval"]
        rows.append(
            {
                "run": run["folder"],
                "success": f"{100 * run['base']:.0f} to {100 * run['final']:.0f} %",
                "gain": f"{100 * run['gain']:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]",
                "McNemar p": f"{run['mcnemar_p']:.2g}",
                "kept": "fine-tuned" if run["kept_fine_tuned"] else "base",
                "minutes": f"{run['minutes']:.0f}",
                "commit": str(run["git_commit"])[:12],
            }
        )
    return rows


def config_words(cell: Cell) -> dict[str, str]:
    """The config that the runs of a cell share, name to value."""
    if not cell.runs:
        return {}
    config = {k: v for k, v in cell.runs[0].config.items() if k not in ("seed", "dsrl")}
    learner = cell.runs[0].config.get("dsrl", {})
    return {k: str(v) for k, v in config.items()} | {
        "dsrl": ", ".join(f"{k}={v}" for k, v in learner.items())
    }
