"""How strong the learner is, and what it owes that to: `learner_strength.json` and `dsrl_ablation.json` of a study.

A run counts as far as it has come, and its seed is left out where it has not come far enough.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config import task_and_reward
from experiments.metrics import success_rate
from experiments.study.runs import DEFAULT, StudyRun

WINDOW = 20
"""Training episodes over which success after a number of episodes is counted."""
COMPARED = ("oracle", "nano")
"""Rewards in the table of strength."""


def strength(runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Success before and after, one number per seed, of the runs with default settings.

    Before: the base policy in its evaluation and in the warm-up. After: the final policy in the validation, and in the evaluation if
    it was kept. All of these have different seeds.
    """
    rows = []
    runs = [run for run in runs if run.trained and run.variant == DEFAULT]
    for name in sorted({run.config.name for run in runs}):
        mine = [run for run in runs if run.config.name == name]
        task, reward = task_and_reward(name)
        if reward not in COMPARED:
            continue
        base = [[*run.successes("warm_up"), *run.evaluated("base")] for run in mine]
        after = [_final(run) for run in mine]
        rows.append(
            {
                "task": task,
                "reward": reward,
                "seeds": [run.config.seed for run in mine],
                "base": [success_rate(successes).value for successes in base],
                "base_episodes": [len(successes) for successes in base],
                "after_100_episodes": [success_rate(successes).value for successes in after],
                "evaluation_episodes": [len(successes) for successes in after],
                "kept": [run.decision["improved"] for run in mine],
            }
        )
    return {"rows": rows}


def _final(run: StudyRun) -> list[bool]:
    """Success of the final policy."""
    evaluated = run.evaluated("final") if run.decision["improved"] else []
    return [*run.successes("validation"), *evaluated]


def ablation(runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Success of the last `WINDOW` training episodes with the true reward, over all seeds of a task and a variant."""
    rows = []
    runs = [run for run in runs if task_and_reward(run.config.name)[1] == "oracle"]
    runs = [run for run in runs if run.successes("learning")]
    for variant, name in sorted({(run.variant, run.config.name) for run in runs}):
        mine = [r for r in runs if (r.variant, r.config.name) == (variant, name)]
        row: dict[str, Any] = {
            "changed": variant,
            "task": task_and_reward(name)[0],
            "seeds": [run.config.seed for run in mine],
        }
        for after in (50, 100, 200):
            learning = [run.successes("warm_up") + run.successes("learning") for run in mine]
            known = [
                s for run in learning if len(run) >= after for s in run[after - WINDOW : after]
            ]
            rate = success_rate(known) if known else None
            row[f"after_{after}"] = None if rate is None else rate.value
            row[f"after_{after}_interval"] = None if rate is None else list(rate.interval)
        rows.append(row)
    return {"window": WINDOW, "rows": rows}


def extended(
    before: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[Mapping[str, Any]]:
    """Rows of an earlier table and new ones, sorted by these columns; a new row takes the place of the earlier one with the same."""
    rows = {tuple(row[name] for name in names): row for row in (*before, *new)}
    return [rows[key] for key in sorted(rows)]
