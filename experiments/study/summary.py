"""`study.json`: what the finished runs of a study say, cell by cell."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.config import task_and_reward
from experiments.metrics import (
    confusion,
    false_positive_rate,
    mean_absolute_error,
    paired_gain,
)
from experiments.results import METRIC_KEYS
from experiments.run_folder import RunFolderError, read_json, read_lines
from experiments.study.learner_tables import extended
from experiments.study.runs import DEFAULT, StudyRun
from experiments.study.statistics import (
    correlation,
    gain_share,
    iqm_interval,
    mcnemar_p,
    mean_interval,
)
from policies.dsrl.config import DsrlConfig

ORACLE = "oracle"
MAIN = "nano"
"""The reward whose share of the oracle's gain the study is about."""
SAME = ("policy_sha256", "reward_model_sha256", "reward_model", "reward_map", "env_id")
"""What all runs of a cell must have in common."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A finished run: success of both policies from the same starts, and its training.

    Attributes:
        run: Which one.
        seeds: Seeds of the starts that both policies played.
        base: `(starts,)` bool success of the base policy.
        final: `(starts,)` bool success of the policy that was kept.
        config: Its `config.json`.
        record: Its `result.json`.
        training: Lines of its metrics, without those of the validation.
    """

    run: StudyRun
    seeds: tuple[int, ...]
    base: np.ndarray
    final: np.ndarray
    config: dict[str, Any]
    record: dict[str, Any]
    training: list[dict[str, Any]]

    @classmethod
    def load(cls, run: StudyRun) -> "Finished":
        """Read a run folder."""
        before, after = ({o["seed"]: o["success"] for o in read_lines(run.folder / f"{name}.jsonl")} for name in ("base", "final"))  # fmt: skip
        seeds = tuple(sorted(before.keys() & after.keys()))[: run.config.final_episodes]
        lines = read_lines(run.folder / "training" / "metrics.jsonl")
        return cls(
            run,
            seeds,
            np.array([before[seed] for seed in seeds], bool),
            np.array([after[seed] for seed in seeds], bool),
            read_json(run.folder / "config.json"),
            read_json(run.folder / "result.json"),
            [line for line in lines if line["phase"] != "validation"],
        )

    @property
    def gains(self) -> np.ndarray:
        """`(starts,)` difference of success: 1, 0 or -1."""
        return self.final.astype(float) - self.base.astype(float)

    @property
    def counts(self) -> np.ndarray:
        """`(5, 5)` true level (row) against predicted level of the training episodes."""
        return confusion(self._numbers("level"), self._numbers("predicted"))

    def _numbers(self, name: str) -> list[float]:
        values = [line.get(METRIC_KEYS[name]) for line in self.training]
        return [math.nan if value is None else float(value) for value in values]

    def summary(self) -> dict[str, Any]:
        """Its row under `runs` of a cell."""
        gain, interval = paired_gain(self.base.tolist(), self.final.tolist())
        return {
            "seed": self.run.config.seed,
            "folder": self.run.name,
            "starts": len(self.seeds),
            "base": float(self.base.mean()),
            "final": float(self.final.mean()),
            "gain": gain,
            "interval": interval,
            "mcnemar_p": mcnemar_p(self.base.tolist(), self.final.tolist()),
            "kept_fine_tuned": self.record["improved"],
            "false_positive_rate": _known(false_positive_rate(self.counts)),
            "reward_model_mae": _known(mean_absolute_error(self.counts)),
            "minutes": self.record["minutes"],
            "git_commit": self.record["git_commit"],
        }


def learner_of(run: StudyRun) -> str:
    """The learner's name, with the variant if that is more than the choice of the learner."""
    algorithm = run.config.dsrl.algorithm
    return algorithm if run.variant in (DEFAULT, algorithm) else f"{algorithm}+{run.variant}"


def study(runs: Sequence[StudyRun], mae: Mapping[str, float] | None = None) -> dict[str, Any]:
    """All of `study.json`.

    Args:
        runs: Planned ones; those that are not finished are left out and counted.
        mae: Error of reward models on held-out clips by their full names, for `mae_vs_success`.

    Raises:
        RunFolderError: Runs of one cell were made with different weights.
    """
    groups: dict[tuple[str, str, str], list[Finished]] = defaultdict(list)
    for run in runs:
        if run.finished:
            key = (*task_and_reward(run.config.name), learner_of(run))
            groups[key].append(Finished.load(run))
    shares = _shares(groups)
    cells = [_cell(key, mine) for key, mine in groups.items()]
    return {
        "cells": cells,
        "over_tasks": _over_tasks(groups),
        "share_of_oracle_gain": {task: row["share"] for task, row in shares.items()},
        "share_of_oracle_gain_details": shares,
        "mae_vs_success": _mae_vs_success(cells, mae or {}),
        "finished_runs": sum(map(len, groups.values())),
        "planned_runs": len(runs),
    }


def kept(
    before: Mapping[str, Any], made: Mapping[str, Any], mae: Mapping[str, float]
) -> dict[str, Any]:
    """`study.json` with the cells of an earlier one that the present runs do not have, and what was found of them.

    A share of the oracle's gain needs the runs of both: it goes if only one of them was made again.
    """
    cells = extended(before["cells"], made["cells"], ("task", "reward", "learner"))
    earlier = sum(len(cell["runs"]) for cell in cells) - made["finished_runs"]
    known = [point for table in (before, made) for point in table["mae_vs_success"]["checkpoints"]]
    remade = {c["task"] for c in made["cells"] if c["reward"] in (MAIN, ORACLE)}
    shares = {
        name: {task: row for task, row in before[name].items() if task not in remade} | made[name]
        for name in ("share_of_oracle_gain", "share_of_oracle_gain_details")
    }
    return {
        **made,
        "cells": cells,
        "over_tasks": extended(before["over_tasks"], made["over_tasks"], ("reward", "learner")),
        **shares,
        "mae_vs_success": _mae_vs_success(
            cells, {point["reward_model"]: point["mae"] for point in known} | dict(mae)
        ),
        "finished_runs": made["finished_runs"] + earlier,
        "planned_runs": made["planned_runs"] + earlier,
    }


def _gains(mine: Sequence[Finished]) -> np.ndarray:
    """`(starts, seeds)` differences of success, of as many starts as every run has."""
    count = min(len(run.seeds) for run in mine)
    return np.stack([run.gains[:count] for run in mine], 1)


def _cell(key: tuple[str, str, str], mine: Sequence[Finished]) -> dict[str, Any]:
    task, reward, learner = key
    _check_same(mine)
    gains = _gains(mine)
    counts = sum((run.counts for run in mine), np.zeros((5, 5), np.int64))
    final = np.array([[run.final.mean()] for run in mine])
    iqm, iqm_ends = iqm_interval(final) if len(mine) > 1 else (float(final[0, 0]), None)
    return {
        "task": task,
        "reward": reward,
        "learner": learner,
        "seeds": [run.run.config.seed for run in mine],
        "base": [float(run.base.mean()) for run in mine],
        "final": [float(run.final.mean()) for run in mine],
        "gain": float(gains.mean()),
        "interval": mean_interval(gains),
        "final_iqm": iqm,
        "final_iqm_interval": iqm_ends,
        "false_positive_rate": _known(false_positive_rate(counts)),
        "reward_model_mae": _known(mean_absolute_error(counts)),
        "reward_model": mine[0].config["reward_model"],
        "reward_map": mine[0].config["reward_map"],
        "reward_model_sha256": mine[0].config["reward_model_sha256"],
        "runs": [run.summary() for run in mine],
    }


def _check_same(mine: Sequence[Finished]) -> None:
    first = mine[0]
    for run in mine[1:]:
        names = [name for name in SAME if run.config.get(name) != first.config.get(name)]
        if names:
            pairs = "; ".join(f"{n}: {first.config.get(n)!r} and {run.config.get(n)!r}" for n in names)  # fmt: skip
            raise RunFolderError(
                f"{first.run.folder} and {run.run.folder} are runs of one cell with different weights ({pairs}). Move the "
                "older ones away and run the study again."
            )


def _over_tasks(groups: Mapping[tuple[str, str, str], list[Finished]]) -> list[dict[str, Any]]:
    """IQM of success over the tasks, of each reward and learner that played all tasks with the same number of seeds or more."""
    tasks = sorted({task for task, _, _ in groups})
    rows = []
    for reward, learner in dict.fromkeys((reward, learner) for _, reward, learner in groups):
        mine = [groups.get((task, reward, learner), []) for task in tasks]
        count = min(map(len, mine))
        if count > 1 and len(tasks) > 1:
            scores = np.array([[run.final.mean() for run in runs[:count]] for runs in mine]).T
            iqm, interval = iqm_interval(scores)
            rows.append(
                {
                    "reward": reward,
                    "learner": learner,
                    "tasks": tasks,
                    "seeds_per_task": count,
                    "final_iqm": iqm,
                    "interval": interval,
                }
            )
    return rows


def _shares(groups: Mapping[tuple[str, str, str], list[Finished]]) -> dict[str, Any]:
    """Gain of `MAIN` as a share of the oracle's, per task, with the default learner and the seeds that both have."""
    shares: dict[str, Any] = {}
    for task, reward, learner in groups:
        oracle = groups.get((task, ORACLE, learner), [])
        if reward != MAIN or task in shares or not oracle:
            continue
        by_seed = [{run.run.config.seed: run for run in cell} for cell in (groups[task, reward, learner], oracle)]  # fmt: skip
        seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
        if not seeds:
            continue
        ours, theirs = (_gains([runs[seed] for seed in seeds]) for runs in by_seed)
        count = min(len(ours), len(theirs))
        share, interval = gain_share(ours[:count], theirs[:count])
        shares[task] = {
            "share": _known(share),
            "interval": interval,
            "seeds": seeds,
            "learner": learner,
        }
    return shares


def _mae_vs_success(cells: Sequence[Mapping[str, Any]], mae: Mapping[str, float]) -> dict[str, Any]:
    """Error of reward models against success after training with them; a point is one reward model on one task.

    Of each reward model the default learner counts: others learn less or more from the same rewards.
    """
    of_cell = ("reward_model", "task", "reward", "learner", "seeds", "gain", "interval")
    points = [
        {
            **{name: cell[name] for name in of_cell},
            "mae": mae[cell["reward_model"]],
            "final": float(np.mean(cell["final"])),
        }
        for cell in cells
        if cell["reward_model"] in mae and cell["learner"] == DsrlConfig().algorithm
    ]
    by_task: dict[str, Any] = {}
    for task in sorted({str(point["task"]) for point in points}):
        mine_ = [point for point in points if point["task"] == task]
        by_task[task] = _correlation(mine_)
    return {"checkpoints": points, **_correlation(points), "by_task": by_task, "paper_r": 0.83}


def _correlation(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pearson's r of accuracy (minus the error) and success: positive where accurate reward models teach better."""
    r, interval = correlation([-p["mae"] for p in points], [p["final"] for p in points])
    return {"r": _known(r), "interval": [_known(end) for end in interval]}


def _known(value: float) -> float | None:
    """NaN is not JSON."""
    return value if math.isfinite(value) else None
