"""From questions and what the model sees of their clips to one batch: the inputs of scoring, with answers behind them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from reward_models.protocol.inputs import Grid, chat_tokens, rotary_positions
from reward_models.protocol.prompt import ANSWER_PREFIX
from reward_models.protocol.tokens import PromptTokenizer
from reward_models.training.config import LossConfig
from reward_models.training.errors import InvalidTrainingData
from reward_models.training.questions import Question
from roboreward_gym.errors import WeightsError

NO_TARGET = -100
MODEL_INPUTS = (
    "input_ids",
    "attention_mask",
    "position_ids",
    "pixel_values_videos",
    "video_grid_thw",
)
"""Parts of a batch that go into the model; the others are what its answer is compared with."""


@dataclass(frozen=True, eq=False)
class Visual:
    """What goes into the model's vision half for one clip.

    Attributes:
        grid: Patches: temporal groups, rows, columns.
        group_times_s: Time of each temporal group in [s].
        values: `(patches, 1536)` float32 pixels, or `(patches, features)` of the frozen tower.
    """

    grid: Grid
    group_times_s: tuple[float, ...]
    values: torch.Tensor


@dataclass(frozen=True, eq=False)
class Sample:
    """A question with its clip, and its number in the training set."""

    index: int
    question: Question
    visual: Visual


class Collator:
    """Makes batches, padded on the left as for scoring, so that all answers end at the right edge.

    A batch holds, beside `MODEL_INPUTS`, what belongs to the last K positions, K being the length of the longest answer:
    `targets` `(B, K)` int64, -100 where there is none; `weights` `(B, K)` float32 of the loss of each token but the digit;
    `digit` `(B,)` int64, which of the K is the digit of a score, or -1; `levels` `(B,)` int64 true levels, 0 for no score;
    and `index` `(B,)` int64.

    Args:
        tokenizer: The checkpoint's tokenizer.
        loss: Weights of the parts of an answer.
        max_length: Most tokens of an example.
    """

    def __init__(self, tokenizer: PromptTokenizer, loss: LossConfig, max_length: int) -> None:
        self._tokenizer, self._loss, self._max_length = tokenizer, loss, max_length
        self._prefix = len(tokenizer.encode(ANSWER_PREFIX))

    def __call__(self, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        """Put samples side by side.

        Raises:
            InvalidTrainingData: A sample is longer than the limit.
        """
        rows, answers = zip(*(self._tokens(sample) for sample in samples), strict=True)
        width, kept = max(map(len, rows)), max(map(len, answers))
        ids = np.zeros((len(rows), width), np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        positions = np.zeros((3, len(rows), width), np.int64)
        targets = np.full((len(rows), kept), NO_TARGET, np.int64)
        weights = np.zeros((len(rows), kept), np.float32)
        digits = np.full(len(rows), -1, np.int64)
        for i, (sample, row, answer) in enumerate(zip(samples, rows, answers, strict=True)):
            start, first = width - len(row), kept - len(answer)
            ids[i, start:], mask[i, start:] = row, 1
            positions[:, i, start:] = rotary_positions(
                ids[i, start:], sample.visual.grid, self._tokenizer
            )
            targets[i, first:] = answer
            weights[i, first:] = self._word_weight(sample.question, len(answer))
            if sample.question.level is not None:
                digits[i] = first + self._prefix
                weights[i, digits[i]] = 0.0
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "position_ids": torch.from_numpy(positions),
            "pixel_values_videos": torch.cat([sample.visual.values for sample in samples]),
            "video_grid_thw": torch.tensor([sample.visual.grid for sample in samples]),
            "targets": torch.from_numpy(targets),
            "weights": torch.from_numpy(weights),
            "digit": torch.from_numpy(digits),
            "levels": torch.tensor([sample.question.level or 0 for sample in samples]),
            "index": torch.tensor([sample.index for sample in samples]),
        }

    def _tokens(self, sample: Sample) -> tuple[list[int], list[int]]:
        """Token ids of question and answer, and of the answer alone."""
        question, visual = sample.question, sample.visual
        parts = (question.text, visual.grid, visual.group_times_s, self._tokenizer)
        asked, whole = chat_tokens(*parts), chat_tokens(*parts, question.answer)
        if whole[: len(asked)] != asked:
            raise WeightsError(
                f"The tokenizer joins the start of the answer {question.answer!r} with what stands before "
                "it. Use the tokenizer of a Qwen3-VL."
            )
        if len(whole) > self._max_length:
            raise InvalidTrainingData(
                f"{question.name} has {len(whole)} tokens, more than the limit of {self._max_length}. Shorten "
                "its task, or raise --sft.max-length."
            )
        return whole, whole[len(asked) :]

    def _word_weight(self, question: Question, tokens: int) -> float:
        if question.level is None:
            return self._loss.text / tokens
        return self._loss.words / (tokens - 1)
