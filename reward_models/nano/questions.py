"""The questions of nano's language stage, with their answers.

Three kinds are mixed: scores (the RoboReward recipe), descriptions of the final state, and locations of named things,
which teach the model to find in the video what the words mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reward_models.data.reward_data import Example, RewardData
from reward_models.nano.config import LanguageConfig
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt
from roboreward_gym.types import LEVELS

DESCRIBE = "Describe the final state."
LOCATE = "Locate in the final state:"
GRID_CELLS = 40
"""Locations are written as column and row of a grid of this many cells in each direction."""

DESCRIPTION, LOCATION, SCORE = range(3)


@dataclass(frozen=True)
class Question:
    """One question about one clip, with the answer it should get."""

    clip: int
    text: str
    answer: str
    is_score: bool


class QuestionSampler:
    """Draws the questions of each step; the same seed and step give the same questions."""

    def __init__(
        self, data: RewardData, config: LanguageConfig, end_of_turn: str, seed: int
    ) -> None:
        self._data, self._config, self._end, self._seed = data, config, end_of_turn, seed
        self._examples = [e for e in data.examples if config.negatives or is_success(e)]
        self._probabilities = balanced_probabilities(data, self._examples, config.balance)
        self._clips = np.unique([e.clip for e in self._examples])

    def draw(self, step: int) -> list[Question]:
        """Return the questions of one step."""
        config = self._config
        rng = np.random.default_rng((self._seed, step))
        # Both shares go from their first to their second value in the first half of the steps.
        progress = min(1.0, 2 * step / config.steps)
        describe, locate = (
            first + (second - first) * progress
            for first, second in (config.describe_share, config.locate_share)
        )
        kinds = rng.choice(3, size=config.batch_size, p=(describe, locate, 1 - describe - locate))
        drawn = rng.choice(len(self._examples), size=config.batch_size, p=self._probabilities)
        clips = rng.choice(self._clips, size=config.batch_size)
        questions = []
        for kind, example, clip in zip(kinds, drawn, clips, strict=True):
            if kind == SCORE:
                questions.append(score_question(self._examples[example], self._end))
            elif kind == DESCRIPTION:
                questions.append(self._description(int(clip)))
            else:
                questions.append(self._location(int(clip), rng))
        return questions

    def _description(self, clip: int) -> Question:
        answer = f" {self._data.clips[clip].caption}{self._end}"
        return Question(clip, DESCRIBE, answer, is_score=False)

    def _location(self, clip: int, rng: np.random.Generator) -> Question:
        dense, names = self._data.dense[clip, -1], self._data.landmarks
        # Only what belongs to the scene is asked for; what is hidden has the answer "hidden".
        known = np.flatnonzero(self._data.dense[clip, :, :, 2].any(0))
        chosen = rng.permutation(known)[: self._config.located]
        located = [f"{_words(names[k])} {_location_words(dense[k])}" for k in chosen]
        text = f"{LOCATE} {' '.join(_words(names[k]) for k in chosen)}"
        return Question(clip, text, f" {' '.join(located)}{self._end}", is_score=False)


def score_question(example: Example, end_of_turn: str) -> Question:
    """Ask for the score of one example."""
    answer = f"{ANSWER_PREFIX}{example.level}{end_of_turn}"
    return Question(example.clip, build_prompt(example.task), answer, is_score=True)


def is_success(example: Example) -> bool:
    """Whether this is what a data set without negatives would hold."""
    return example.kind == "original" and example.level == LEVELS[-1]


def balanced_probabilities(
    data: RewardData, examples: Sequence[Example], power: float
) -> np.ndarray:
    """Return `(len(examples),)` probabilities that raise rare (scene, kind, level) cells."""
    cells = [(data.clips[e.clip].scene, e.kind, e.level) for e in examples]
    _, cell, counts = np.unique([str(c) for c in cells], return_inverse=True, return_counts=True)
    weights = counts[cell].astype(np.float64) ** -power
    return weights / weights.sum()


def vocabulary(data: RewardData) -> list[str]:
    """Words that deserve a token of their own: those of all tasks, descriptions and landmarks."""
    texts = [e.task for e in data.examples] + [clip.caption for clip in data.clips]
    texts += [_words(name) for name in data.landmarks] + ["hidden"]
    return sorted({word for text in texts for word in text.split()})


def _words(name: str) -> str:
    return name.replace("_", " ")


def _location_words(landmark: np.ndarray) -> str:
    """Column and row as words, two digits each; the value would not fit a word."""
    if landmark[2] == 0:
        return "hidden"
    column, row = (landmark[:2] * GRID_CELLS).astype(int).clip(0, GRID_CELLS - 1)
    return f"{column:02d} {row:02d}"
