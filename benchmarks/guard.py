"""How many false successes a guard vetoes in saved runs, and how many true ones: `python -m benchmarks.guard RUNS`.

Each saved episode is scored once by the reward model. What it calls a success it is shown again in every way that some guard
looks: shorter endings, other samplings of the frames, and the picture shifted by some pixels. Thresholds are chosen on the episodes with an
even seed of the start, for the fewest false successes with at least 95 % of the true ones kept; the figures are those of the odd seeds.
Scores are kept beside the result of the run, so that a stopped run goes on.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.foundations import record
from experiments.metrics import Rate, success_rate
from experiments.played_episode import PLAYED, PlayedEpisode
from experiments.rescore import score_played
from experiments.run_folder import read_lines
from experiments.workers import prepare
from reward_models.protocol.frames import wanted_indices
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.guard import Guard
from roboreward_gym.registry import load_reward_model
from roboreward_gym.rewards import progress
from roboreward_gym.types import Clip, ProgressScore

RESULTS = Path(__file__).parent / "results" / "guard.json"
EVERY = 3
"""Of the true successes so many are asked about once: their share is known well enough from these."""
FEWEST = 10
"""False successes below which a way has no figures."""
KEPT = 0.95
"""Least share of the true successes that a threshold may keep."""
SHIFTS = ((-4, 0), (4, 0), (-2, 2), (8, 8))
"""Right and down, in [px] of 256 x 192."""
ENDINGS = tuple(f"ending-{cut}" for cut in range(1, 5))
SAMPLING = ("sampling",)
"""Every second frame, and the last."""
OTHERS = ("other-frames",)
"""Without the frames that were shown first, but for the first and the last."""
STARTS = ("start-1", "start-3")
"""The recording begins so many frames later."""
SHIFTED = tuple(f"shift{dx:+d}{dy:+d}" for dx, dy in SHIFTS)
LEVEL, EXPECTED, P5 = 0, 1, 2
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Args:
    """Measure guards on saved runs."""

    runs: tyro.conf.Positional[Path]
    """Folder of run folders; `base/` in it may hold shared evaluations."""
    reward_model: str = "roboreward-nano"
    """Name of the reward model that is guarded."""
    scores: Path = Path("runs/guard.jsonl")
    """What it said, a line for each episode; continued."""
    measure_only: bool = False
    """Score nothing, and measure what is there."""


@dataclass(frozen=True)
class Way:
    """A way to guard: from `(looks, 3)` of level, expected level and P(5) to a number; success is from a threshold on."""

    looks: Sequence[str]
    statistic: Statistic
    threshold: float | None = None
    """None: chosen."""


def _same(looks: Sequence[str]) -> Way:
    """Level 5 in each look."""
    return Way(looks, lambda x: x[:, LEVEL].min(), 5)


def _mean(looks: Sequence[str]) -> Way:
    return Way(looks, lambda x: x[:, P5].mean())


def _least(looks: Sequence[str]) -> Way:
    return Way(looks, lambda x: x[:, P5].min())


WAYS: dict[str, Way] = {
    "p5": _least(()),
    "expected": Way((), lambda x: x[:, EXPECTED].min()),
    **{f"endings={1 + n}": _same(ENDINGS[:n]) for n in (1, 2, 4)},
    "samplings=2": _same(SAMPLING),
    **{f"endings={1 + n}&p5": _least(ENDINGS[:n]) for n in (1, 2, 4)},
    "samplings=2&p5": _least(SAMPLING),
    "other frames": _same(OTHERS),
    "other frames&p5": _least(OTHERS),
    "later starts": _same(STARTS),
    "later starts&p5": _least(STARTS),
    "endings=3, other frames": _same((*ENDINGS[:2], *OTHERS)),
    "endings=3, other frames, later starts&p5": _least((*ENDINGS[:2], *OTHERS, *STARTS)),
    "mean p5 of endings, other frames, later starts": _mean((*ENDINGS, *OTHERS, *STARTS)),
    "shifted pictures": _same(SHIFTED),
    "shifted pictures&p5": _least(SHIFTED),
    "mean p5 of shifted pictures": _mean(SHIFTED),
    "mean p5 of shifted pictures, endings, other frames, later starts": _mean((*SHIFTED, *ENDINGS, *OTHERS, *STARTS)),
}  # fmt: skip


def looks_at(clip: Clip) -> dict[str, Clip]:
    """All that any guard looks at again."""
    cut = Guard(progress, endings=1 + len(ENDINGS)).looks(clip)
    return {
        **dict(zip(ENDINGS, cut, strict=True)),
        OTHERS[0]: _frames(clip, np.setdiff1d(np.arange(len(clip.frames)), _shown(clip))),
        **{name: Clip(clip.frames[int(name[-1]) :], clip.task, clip.fps) for name in STARTS},
        **dict(zip(SAMPLING, Guard(progress, samplings=2).looks(clip), strict=True)),
        **{
            name: Clip(shifted(clip.frames, *by), clip.task, clip.fps)
            for name, by in zip(SHIFTED, SHIFTS, strict=True)
        },
    }


def _shown(clip: Clip) -> np.ndarray:
    return wanted_indices(len(clip.frames), clip.fps)[1:-1]


def _frames(clip: Clip, kept: np.ndarray) -> Clip:
    return Clip(clip.frames[kept], clip.task, clip.fps, kept, len(clip.frames))


def shifted(frames: np.ndarray, right: int, down: int) -> np.ndarray:
    """`(T, H, W, 3)` frames moved by some pixels, with the edge repeated."""
    pad = max(abs(right), abs(down))
    wide = np.pad(frames, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    height, width = frames.shape[1:3]
    return np.ascontiguousarray(
        wide[:, pad - down : pad - down + height, pad - right : pad - right + width]
    )


def score_all(args: Args) -> list[dict[str, Any]]:
    """A row for each different episode: `truth`, `seed` and the numbers of each look."""
    files = sorted(args.runs.glob(f"**/{PLAYED}/**/*.npz"))
    if not files:
        raise InvalidSetting(
            f"There are no saved episodes below {args.runs}. Name a folder of run folders."
        )
    rows = {row["frames_sha256"]: row for row in read_lines(args.scores)}
    known = {file for row in rows.values() for file in row["files"]}
    args.scores.parent.mkdir(parents=True, exist_ok=True)
    with args.scores.open("a") as out:
        for file in tqdm(files, desc="score", unit="ep"):
            name = str(file.relative_to(args.runs))
            if name in known:
                continue
            row = _row(args.reward_model, name, PlayedEpisode.load(file), rows)
            if row is not None:
                rows[row["frames_sha256"]] = row
                out.write(json.dumps(row) + "\n")
                out.flush()
    return list(rows.values())


def _row(
    reward_model: str, name: str, episode: PlayedEpisode, rows: Mapping[str, Any]
) -> dict[str, Any] | None:
    """None for an episode that is there already: runs of one seed share their warm-up."""
    frames_sha256 = hashlib.sha256(np.ascontiguousarray(episode.clip.frames).data).hexdigest()[:16]
    if frames_sha256 in rows:
        return None
    (score,) = score_played(reward_model, [episode])
    row = {
        "frames_sha256": frames_sha256,
        "files": [name],
        "seed": episode.record.seed,
        "truth": episode.record.logged["truth/level"],
        "once": _numbers(score),
    }
    if score.level == 5 and (row["truth"] < 5 or int(frames_sha256, 16) % EVERY == 0):
        looks = looks_at(episode.clip)
        again = load_reward_model(reward_model).score(list(looks.values()))
        row |= dict(zip(looks, map(_numbers, again), strict=True))
    return row


def _numbers(score: ProgressScore) -> list[float]:
    if score.level is None:
        return [0.0, 0.0, 0.0]  # an unreadable look is no success
    return [float(score.level), score.expected, score.success_probability]


def measure(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What each way keeps and vetoes on the odd seeds."""
    claims = [row for row in rows if row["once"][LEVEL] == 5]
    halves = [[row for row in claims if row["seed"] % 2 == odd] for odd in (0, 1)]
    return {
        "episodes": len(rows),
        "called_success": len(claims),
        "false_successes": sum(row["truth"] < 5 for row in claims),
        "false_successes_by_true_level": {
            str(level): sum(row["truth"] == level for row in claims) for level in (1, 2, 3, 4)
        },
        "ways": {name: found for name, way in WAYS.items() if (found := figures(way, *halves))},
    }


def figures(
    way: Way, choose: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Choose the threshold on one half, and count on the other; of the episodes that have all looks of the way."""
    choose, test = (
        [row for row in part if row.keys() >= set(way.looks)] for part in (choose, test)
    )
    if sum(row["truth"] < 5 for row in test) < FEWEST:
        return None
    threshold = way.threshold if way.threshold is not None else _threshold(way, choose)
    passed = [(row["truth"] == 5, _value(way, row) >= threshold) for row in test]
    kept = success_rate(passes for is_true, passes in passed if is_true)
    left = success_rate(passes for is_true, passes in passed if not is_true)
    return {
        "threshold": round(float(threshold), 4),
        "true_kept": _rate(kept),
        "false_left": _rate(left),
        "false_cut": round(left.total / left.successes, 2) if left.successes else None,
    }


def _threshold(way: Way, rows: Sequence[Mapping[str, Any]]) -> float:
    """The highest that keeps enough of the true successes: with it the fewest false ones are left."""
    true = np.sort([_value(way, row) for row in rows if row["truth"] == 5])
    return float(true[int((1 - KEPT) * len(true))])


def _value(way: Way, row: Mapping[str, Any]) -> float:
    return float(way.statistic(np.array([row["once"], *(row[name] for name in way.looks)])))


def _rate(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {
        "share": round(rate.value, 3),
        "of": rate.total,
        "interval": [round(low, 3), round(high, 3)],
    }


def lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """The table in words."""
    yield f"{measured['false_successes']} of {measured['called_success']} successes are false, in {measured['episodes']} episodes"
    for name, found in measured["ways"].items():
        yield (
            f"{name:26s} keeps {100 * found['true_kept']['share']:5.1f} % of the true and leaves "
            f"{100 * found['false_left']['share']:5.1f} % of {found['false_left']['of']} false (cut {found['false_cut']}x)"
        )


def main(args: Args) -> None:
    """Score what is not scored yet, measure, print and keep."""
    prepare(threads=1)
    measured = measure(read_lines(args.scores) if args.measure_only else score_all(args))
    record(RESULTS, **{args.reward_model: measured})
    for line in lines(measured):
        print(line)


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Args, description=__doc__)))
