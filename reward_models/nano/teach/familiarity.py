"""What the taught world is like, beside the weights: with it the new reward model abstains elsewhere instead of guessing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reward_models.nano.familiarity import described, fitted
from reward_models.qwen3vl.familiarity import known_words
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.training.questions import Clips

MOST_CLIPS = 1500
"""Clips of each split that are looked at."""


def write_familiarity(
    folder: Path, tasks: Sequence[str], train: Clips, validation: Clips, seed: int
) -> None:
    """Write the file into the model's folder; validation videos set how far from the training's others may lie.

    No other words for the tasks were ever shown, so only tasks that consist of pairs of neighbouring words of
    these are answered.
    """
    model = RoboReward(folder, device="cpu", abstain=False)
    rng = np.random.default_rng((seed, 2))
    seen, known = (
        list(described(model, clips, rng.permutation(len(clips))[:MOST_CLIPS], what).values())
        for clips, what in ((train, "train videos"), (validation, "validation videos"))
    )
    words = known_words(tasks, max_unknown=0.0, min_pairs=1.0)
    fitted(words, seen, known).save(folder)
