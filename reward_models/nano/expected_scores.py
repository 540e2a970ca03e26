"""Scores of two small clips that lie beside shipped weights: `python -m reward_models.nano.expected_scores [FOLDER]`.

`roboreward doctor` scores the same clips again: a library that computes otherwise shows there, and not in an experiment.
"""

import json
import math
import sys
from pathlib import Path

from reward_models.qwen3vl.reference import EXAMPLES
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.types import Clip

FILE = "expected_scores.json"
TASKS = ("put the duck on the towel", "open the left drawer")
"""Tasks of the two clips, which nano knows."""


def example_probabilities(model: RoboReward) -> list[list[float]]:
    """Return the probabilities of the five levels for each clip, NaN where an answer is unreadable."""
    clips = [
        Clip(example.frames, task, example.fps)
        for example, task in zip(EXAMPLES, TASKS, strict=True)
    ]
    # The clips are noise, which a model that knows its world says nothing about: here the arithmetic is compared.
    abstain, model.abstain = model.abstain, False
    try:
        rows = [score.probabilities for score in model.score(clips)]
    finally:
        model.abstain = abstain
    return [[math.nan] * 5 if row is None else row.tolist() for row in rows]


def largest_difference(model: RoboReward) -> float | None:
    """Compare a model's scores with those beside its weights; None if there are none."""
    path = model.folder / FILE
    if not path.is_file():
        return None
    expected = json.loads(path.read_text("utf-8"))["probabilities"]
    differences = [
        abs(ours - theirs)
        for row, known in zip(example_probabilities(model), expected, strict=True)
        for ours, theirs in zip(row, known, strict=True)
    ]
    return math.nan if any(map(math.isnan, differences)) else max(differences)


def write_expected_scores(folder: Path) -> None:
    """Score the clips with the weights of a folder, in float32 on the CPU, and write the file."""
    model = RoboReward(folder, device="cpu")
    rows = [[round(value, 7) for value in row] for row in example_probabilities(model)]
    text = json.dumps({"probabilities": rows}, indent=1)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    from reward_models.nano import WEIGHTS

    write_expected_scores(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
