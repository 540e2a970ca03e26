"""Run folders of a study with known episodes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from experiments.study.runs import StudyRun, planned

STARTS = 40


def made(
    out: Path, cell: str, seed: int, won: int, *, lost: int = 0, weights: str = "a", predicted: int = 5, kept: bool = True
) -> StudyRun:  # fmt: skip
    """A finished run: the base policy succeeds in 10 of 40 starts; the final one loses some of these and wins others.

    Of 20 training episodes 5 are true successes, and all are predicted to have one level, with a probability of success of 0.9.
    """
    (run,) = planned([cell], [seed], out)
    training = run.folder / "training"
    training.mkdir(parents=True)
    base = [start < 10 for start in range(STARTS)]
    final = [lost <= start < 10 + won for start in range(STARTS)]
    for name, successes in (("base", base), ("final", final)):
        lines = [{"seed": 100 + s, "success": ok} for s, ok in enumerate(successes)]
        (run.folder / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    line = {
        "phase": "learning",
        "reward": 1.0,
        "roboreward/level": predicted,
        "roboreward/success_probability": 0.9,
        "critic_loss": 0.5 / (1 + seed),
    }
    lines = [{**line, "episode": n, "truth/level": 5.0 if n < 5 else 3.0, "truth/success": float(n < 5)} for n in range(20)]  # fmt: skip
    lines.append({"phase": "validation", "truth/level": 1.0, "truth/success": 0.0})
    (training / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (training / "decision.json").write_text(json.dumps({"improved": kept}))
    config = {
        **dataclasses.asdict(run.config),
        "policy_sha256": "p",
        "reward_model_sha256": weights,
    }
    (run.folder / "config.json").write_text(json.dumps(config))
    record: dict[str, Any] = {"improved": kept, "minutes": 1.0, "git_commit": "c"}
    (run.folder / "result.json").write_text(json.dumps(record))
    return run
