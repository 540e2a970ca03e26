"""The questions of nano's language stage, with their answers.

Three kinds are mixed: scores (the RoboReward recipe), descriptions of the final state, and locations of named things,
which teach the model to find in the video what the words mean.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np

from reward_models.data.reward_data import Example, RewardData
from reward_models.nano.config import QuestionConfig
from reward_models.protocol.tokens import TURN_END
from reward_models.training.questions import Question, score_question
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import LEVELS

DESCRIBE = "Describe the final state."
LOCATE = "Locate in the final state:"
GRID_CELLS = 40
"""Locations are written as column and row of a grid of this many cells in each direction."""

DESCRIPTION, LOCATION, SCORE = range(3)


class QuestionSampler(Sequence[Question]):
    """Draws the questions of all steps; the same seed and place give the same question.

    Args:
        data: Clips and examples.
        config: What is asked.
        steps: Optimizer steps.
        per_step: Questions in a step.
        seed: Seed of the draws.

    Raises:
        InvalidSetting: Pairs are asked for, but the data have none.
    """

    def __init__(
        self, data: RewardData, config: QuestionConfig, *, steps: int, per_step: int, seed: int
    ) -> None:
        self._data, self._config, self._seed = data, config, seed
        self._steps, self._per_step = steps, per_step
        numbered = enumerate(data.examples)
        self._examples = [(i, e) for i, e in numbered if config.negatives or is_success(e)]
        examples = [example for _, example in self._examples]
        self._probabilities = balanced_probabilities(data, examples, config.balance)
        self._clips = np.unique([example.clip for example in examples])
        self._pairs = _contrasts(self._examples, config.contrast_words)
        if config.contrast_share > 0 and not self._pairs:
            raise InvalidSetting(
                "There is no clip with a task that is done in it and one that is not, so there are no pairs. Leave out "
                "contrast_share, or choose other contrast_words."
            )
        self._drawn: tuple[int, list[Question]] = (-1, [])

    def __len__(self) -> int:
        """Questions of all steps."""
        return self._steps * self._per_step

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> list[Question]: ...
    def __getitem__(self, place: int | slice) -> Question | list[Question]:
        """Return the question at a place."""
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        step, within = divmod(place, self._per_step)
        if self._drawn[0] != step:  # places are asked for one after the other
            self._drawn = (step, self.draw(step))
        return self._drawn[1][within]

    def draw(self, step: int) -> list[Question]:
        """Return the questions of one step."""
        config = self._config
        rng = np.random.default_rng((self._seed, step))
        # Both shares go from their first to their second value in the first half of the steps.
        progress = min(1.0, 2 * step / self._steps)
        describe, locate = (
            first + (second - first) * progress
            for first, second in (config.describe_share, config.locate_share)
        )
        size = self._per_step
        kinds = rng.choice(3, size=size, p=(describe, locate, 1 - describe - locate))
        drawn = rng.choice(len(self._examples), size=size, p=self._probabilities)
        clips = rng.choice(self._clips, size=size)
        paired = self._paired(np.count_nonzero(kinds == SCORE), rng)
        questions = []
        for kind, example, clip in zip(kinds, drawn, clips, strict=True):
            if kind == SCORE:
                questions.append(self._score(*self._examples[paired.pop() if paired else example]))
            elif kind == DESCRIPTION:
                questions.append(self._description(int(clip)))
            else:
                questions.append(self._location(int(clip), rng))
        return questions

    def _paired(self, count: int, rng: np.random.Generator) -> list[int]:
        """Draw pairs for a share of so many score questions; return the places of their examples."""
        pairs = rng.binomial(count // 2, self._config.contrast_share)
        chosen = rng.choice(len(self._pairs), size=pairs) if pairs else ()
        return [int(rng.choice(side)) for place in chosen for side in self._pairs[place]]

    def _score(self, number: int, example: Example) -> Question:
        subset, episode = self._data.subsets[number], self._data.clips[example.clip].episode
        return score_question(
            example.clip, example.task, example.level, subset, f"{episode}#{number}"
        )

    def _description(self, clip: int) -> Question:
        info = self._data.clips[clip]
        return Question(clip, DESCRIBE, f" {info.caption}{TURN_END}", name=info.episode)

    def _location(self, clip: int, rng: np.random.Generator) -> Question:
        dense, names = self._data.dense[clip, -1], self._data.landmarks
        # Only what belongs to the scene is asked for; what is hidden has the answer "hidden".
        known = np.flatnonzero(self._data.dense[clip, :, :, 2].any(0))
        chosen = rng.permutation(known)[: self._config.located]
        located = [f"{_words(names[k])} {_location_words(dense[k])}" for k in chosen]
        text = f"{LOCATE} {' '.join(_words(names[k]) for k in chosen)}"
        answer = f" {' '.join(located)}{TURN_END}"
        return Question(clip, text, answer, name=self._data.clips[clip].episode)


def _contrasts(
    examples: Sequence[tuple[int, Example]], words: Sequence[str]
) -> list[tuple[list[int], list[int]]]:
    """Of each clip in which one task is done and another is not: the places of both in `examples`."""
    by_clip: dict[int, tuple[list[int], list[int]]] = {}
    for place, (_, example) in enumerate(examples):
        if not words or any(word in example.task for word in words):
            sides = by_clip.setdefault(example.clip, ([], []))
            sides[example.level != LEVELS[-1]].append(place)
    return [sides for sides in by_clip.values() if all(sides)]


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
    # A full stop is a token of its own, with a space before it and without.
    return sorted({word.rstrip(".") or word for text in texts for word in text.split()})


def _words(name: str) -> str:
    return name.replace("_", " ")


def _location_words(landmark: np.ndarray) -> str:
    """Column and row as words, two digits each; the value would not fit a word."""
    if landmark[2] == 0:
        return "hidden"
    column, row = (landmark[:2] * GRID_CELLS).astype(int).clip(0, GRID_CELLS - 1)
    return f"{column:02d} {row:02d}"
