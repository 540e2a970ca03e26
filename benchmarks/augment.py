"""What `roboreward augment` is worth on simulated successes: `python -m benchmarks.augment`.

Its labels are compared with the simulator's true levels, per kind and per verifier; the paper had no truth to compare with.
Throughput is measured without any model, and a run whose models are behind a server is killed again and again.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

from benchmarks.augment_kills import kill_and_resume
from benchmarks.foundations import record
from experiments.simulation.published_data import PublishedDataConfig, collect
from experiments.workers import prepare
from reward_models.augment.config import AugmentConfig, RoleNames
from reward_models.augment.pipeline import cuts
from reward_models.augment.run import run
from reward_models.data.truth import EpisodeTruth, read_truths
from reward_models.data.video_file import VideoFormat

RESULTS = Path(__file__).parent / "results" / "augment.json"
GRAMMAR = RoleNames("code", "simulator", "grammar", "grammar", "simulator")
AS_RENDERED = VideoFormat(width=256, height=192, fps=0)
"""Size and rate of the simulator's camera, which roboreward-nano was trained with."""
VERIFIERS = ("accept", "reward-model:roboreward-nano", "simulator")


@dataclass(frozen=True)
class BenchmarkConfig:
    """How much is measured."""

    episodes: int = 100
    """Simulated successes per scene."""
    kills: int = 25
    """How often the run behind a server is killed; 0 keeps the figures of the last time."""
    folder: Path = Path("runs/augment")
    """Where data are kept; the simulated set is made once."""


def agreement(out: Path, truths: Mapping[str, EpisodeTruth]) -> dict[str, Any]:
    """Compare every label of a set with the truth; `rate` is the part that equals it."""
    equal: Counter[str] = Counter()
    total: Counter[str] = Counter()
    unknown = 0
    for line in (out / "audit.jsonl").read_text(encoding="utf-8").splitlines():
        for row in json.loads(line).get("rows", ()):
            truth = truths[row["source_episode"]]
            frames = len(truth.captions)
            counts = {level: count for level, _, count in cuts(frames)}
            count = counts[row["reward"]] if row["kind"] == "truncated" else frames
            true = truth.level(row["task"], count - 1)
            if true is None:
                unknown += 1
                continue
            for name in (row["kind"], f"{row['kind']} {row['reward']}"):
                total[name] += 1
                equal[name] += true == row["reward"]
    by_name = {
        name: {"rate": round(equal[name] / total[name], 4), "labels": total[name]}
        for name in sorted(total)
    }
    return {**by_name, "tasks_without_truth": unknown}


def main() -> None:
    """Command line."""
    config = tyro.cli(BenchmarkConfig, description=__doc__)
    prepare(threads=1)
    source = config.folder / f"simulated-{config.episodes}"
    if not (source / "truth.jsonl").exists():
        shutil.rmtree(source, ignore_errors=True)
        collect(PublishedDataConfig(source, config.episodes, video=AS_RENDERED, workers=1))
    truths = read_truths(source)
    base = AugmentConfig(f"simulator:{source}", Path(), GRAMMAR, video=AS_RENDERED, concurrency=1)
    measured: dict[str, Any] = {
        "episodes": len(truths),
        "label_agreement": {},
        "rejected_by_rule": {},
    }
    for verifier in VERIFIERS:
        out = config.folder / f"out-{verifier.replace(':', '-')}"
        shutil.rmtree(out, ignore_errors=True)
        began, cpu = time.perf_counter(), time.process_time()
        summary = run(replace(base, out=out, roles=replace(GRAMMAR, verifier=verifier)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        measured["label_agreement"][verifier] = agreement(out, truths)
        measured["rejected_by_rule"][verifier] = dict(summary.rejected_by_rule)
        if verifier == "simulator":
            measured["examples"] = summary.examples
            measured["examples_per_s_per_core"] = round(summary.examples / cpu, 1)
            measured["examples_per_s_wall"] = round(summary.examples / seconds, 1)
    if config.kills:
        measured |= kill_and_resume(source, config.folder / "out-kills", config.kills)
    record(RESULTS, **measured)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
