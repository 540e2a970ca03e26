"""Second stage of nano's training: the language model learns to score, from cached features of the frozen tower.

Only the assistant's tokens carry loss, and of a score almost only its digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Qwen3VLForConditionalGeneration

from reward_models.data.reward_data import Example
from reward_models.nano.features import FeatureCache
from reward_models.nano.questions import Question, score_question
from reward_models.protocol.inputs import rotary_positions, vision_tokens
from reward_models.protocol.prompt import ANSWER_PREFIX, render_chat
from reward_models.protocol.tokens import TURN_END, PromptTokenizer
from roboreward_gym.types import LEVELS

DIGIT_WEIGHT = 1.0
SCORE_WORDS_WEIGHT = 0.1
"""The digit is all that is read; the words around it only keep plain text generation in shape."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of the model and where its answers are.

    Attributes:
        input_ids: `(B, S)` int64, padded on the right: under causal attention no mask is needed.
        position_ids: `(3, B, S)` int64 of Qwen3-VL's rotary embedding.
        features: `(visual tokens of all rows, width)` float32.
        grid: `(B, 3)` int64.
        answer_positions: `(A, 2)` int64 row and position whose *next* token belongs to an answer.
        targets: `(A,)` int64 that token.
        loss_weights: `(A,)` float32 of its loss.
        is_digit: `(A,)` bool, the digits of scores: one for each score question.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    features: torch.Tensor
    grid: torch.Tensor
    answer_positions: torch.Tensor
    targets: torch.Tensor
    loss_weights: torch.Tensor
    is_digit: torch.Tensor


class ChatEncoder:
    """Writes chats with cached features as token ids, equal to what `InputBuilder` makes from pixels."""

    end_of_turn = TURN_END

    def __init__(self, tokenizer: PromptTokenizer) -> None:
        self._tokenizer = tokenizer
        self._positions: dict[bytes, torch.Tensor] = {}

    @property
    def digits(self) -> tuple[int, ...]:
        """Token ids of the levels 1 to 5."""
        return self._tokenizer.digits

    def encode(
        self, question: str, answer: str, grid: np.ndarray, group_times_s: Sequence[float]
    ) -> tuple[list[int], int]:
        """Return the ids of the whole chat and the number of those before the answer."""
        before, after = render_chat(question)
        encode = self._tokenizer.encode
        t, h, w = grid.tolist()
        ids: list[int] = []
        for time in group_times_s:
            ids += [*encode(f"{before}<{time:.1f} seconds>")]
            ids += vision_tokens((t, h, w), self._tokenizer)
            before = ""
        ids += encode(after)
        return ids + list(encode(answer)), len(ids)

    def positions(self, ids: Sequence[int], grid: np.ndarray) -> torch.Tensor:
        """Return `(3, len(ids))` rotary positions; equal layouts are computed once."""
        tokens = np.asarray(ids)
        key = (tokens == self._tokenizer.video_pad).tobytes() + grid.tobytes()
        if key not in self._positions:
            t, h, w = grid.tolist()
            found = rotary_positions(tokens, (t, h, w), self._tokenizer)
            self._positions[key] = torch.from_numpy(found)
        return self._positions[key]

    def collate(
        self, questions: Sequence[Question], cache: FeatureCache, text_weight: float
    ) -> Batch:
        """Put questions with their answers side by side.

        Args:
            questions: Questions about clips of the cache.
            cache: Features of these clips.
            text_weight: Weight of all words of an answer together, against `DIGIT_WEIGHT`.
        """
        rows, answer_starts = [], []
        for question in questions:
            grid, times = cache.grids[question.clip], cache.group_times_s[question.clip]
            ids, answer_start = self.encode(question.text, question.answer, grid, times)
            rows.append(ids)
            answer_starts.append(answer_start)
        length = max(map(len, rows))
        input_ids = torch.full((len(rows), length), self._tokenizer.turn_end)
        position_ids = torch.zeros((3, len(rows), length), dtype=torch.long)
        positions, targets, weights, digits = [], [], [], []
        for row, (question, ids, first) in enumerate(
            zip(questions, rows, answer_starts, strict=True)
        ):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            position_ids[:, row, : len(ids)] = self.positions(ids, cache.grids[question.clip])
            positions += [(row, position - 1) for position in range(first, len(ids))]
            targets += ids[first:]
            digit = self._is_digit(question, len(ids) - first)
            weights.append(_loss_weights(digit, text_weight))
            digits.append(digit)
        features = np.concatenate([cache.read(question.clip) for question in questions])
        return Batch(
            input_ids=input_ids,
            position_ids=position_ids,
            features=torch.from_numpy(features).float(),
            grid=torch.from_numpy(np.stack([cache.grids[question.clip] for question in questions])),
            answer_positions=torch.tensor(positions),
            targets=torch.tensor(targets),
            loss_weights=torch.from_numpy(np.concatenate(weights)),
            is_digit=torch.from_numpy(np.concatenate(digits)),
        )

    def _is_digit(self, question: Question, tokens: int) -> np.ndarray:
        """`(tokens,)` bool: which token of the answer is the digit of a score."""
        digit = np.zeros(tokens, bool)
        if question.is_score:
            digit[len(self._tokenizer.encode(ANSWER_PREFIX))] = True
        return digit


def _loss_weights(is_digit: np.ndarray, text_weight: float) -> np.ndarray:
    """`(tokens,)` float32 weights of the loss of one answer: its words share `text_weight`."""
    weights = np.full(len(is_digit), text_weight / len(is_digit), np.float32)
    if is_digit.any():
        weights *= SCORE_WORDS_WEIGHT
        weights[is_digit] = DIGIT_WEIGHT
    return weights


def language_loss(
    model: Qwen3VLForConditionalGeneration, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy over the whole vocabulary at the answers; returns it and `(A, vocabulary)` logits.

    The sum over answer tokens of weight times cross-entropy, over the number of questions. The model's vision tower
    must be a `CachedTower`; the rest of the forward pass is the usual one.
    """
    hidden = model.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        pixel_values_videos=batch.features,
        video_grid_thw=batch.grid,
        use_cache=False,
    ).last_hidden_state
    row, position = batch.answer_positions.unbind(1)
    logits = model.lm_head(hidden[row, position])
    loss = F.cross_entropy(logits, batch.targets, reduction="none") * batch.loss_weights
    return loss.sum() / len(batch.input_ids), logits


@torch.inference_mode()
def predict_levels(
    model: Qwen3VLForConditionalGeneration,
    encoder: ChatEncoder,
    cache: FeatureCache,
    examples: Sequence[Example],
    batch_size: int = 64,
) -> np.ndarray:
    """Return the `(len(examples),)` levels that the model would give, from cached features."""
    digits = torch.tensor(encoder.digits)
    levels = []
    for start in range(0, len(examples), batch_size):
        chunk = examples[start : start + batch_size]
        questions = [score_question(e, encoder.end_of_turn) for e in chunk]
        batch = encoder.collate(questions, cache, text_weight=0.5)
        _, logits = language_loss(model, batch)
        levels.append(logits[batch.is_digit][:, digits].argmax(-1).numpy() + LEVELS[0])
    return np.concatenate(levels)
