"""Stage two of nano's training: the language model learns to judge, from cached features of the frozen tower.

Three kinds of answers are mixed: scores (the RoboReward recipe), descriptions of the final state, and places of named
things, which teach it to find in the video what the words mean. Only the assistant's tokens carry loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.data.reward_data import Example, RewardData
from reward_models.nano.features import FeatureCache
from reward_models.protocol.frames import MERGE
from reward_models.protocol.inputs import digit_tokens, render_chat
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt
from roboreward_gym.types import LEVELS

DESCRIBE = "Describe the final state."
LOCATE = "Locate in the final state:"
PLACES = 40
"""Places are spoken as column and row of a grid of this many cells in each direction."""

VIDEO = 2
"""Qwen3-VL's token type of a visual token of a video."""


@dataclass(frozen=True)
class LanguageConfig:
    """How the language model is trained."""

    steps: int = 2_500
    """Optimizer steps."""
    batch_size: int = 32
    """Questions in a step."""
    learning_rate: float = 8e-4
    """Peak; falls to zero along a cosine."""
    warmup: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.05
    """Of AdamW."""
    describe_share: tuple[float, float] = (0.3, 0.05)
    """Part of the questions that ask for a description: at the start, and from half-way on."""
    locate_share: tuple[float, float] = (0.4, 0.05)
    """Part of the questions that ask for places, likewise."""
    located: int = 3
    """Landmarks in one question for places."""
    text_weight: float = 0.5
    """Weight of the loss of words against that of digits of scores."""
    balance: float = 0.5
    """0 draws examples as they are, 1 makes every (scene, kind, level) equally frequent."""
    negatives: bool = True
    """Off: only successes with their own command, for the ablation."""


@dataclass(frozen=True)
class Turn:
    """One question about one clip, with the answer it should get."""

    clip: int
    question: str
    answer: str
    scored: bool


@dataclass(frozen=True, eq=False)
class Batch:
    """Inputs of the model and where its answers are.

    Attributes:
        input_ids: `(B, S)` int64, padded on the right: under causal attention no mask is needed.
        position_ids: `(3, B, S)` int64 of Qwen3-VL's rotary embedding.
        features: `(visual tokens of all rows, width)` float32.
        grid: `(B, 3)` int64.
        at: `(A, 2)` int64 row and position whose *next* token is an answer.
        target: `(A,)` int64 that token.
        weight: `(A,)` float32 of its loss.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    features: torch.Tensor
    grid: torch.Tensor
    at: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor


class ChatEncoder:
    """Writes chats with cached features as token ids, equal to what the processor makes from pixels."""

    def __init__(self, processor: Qwen3VLProcessor, model: Qwen3VLForConditionalGeneration) -> None:
        self._processor = processor
        self._model = model
        self._video = processor.video_token
        self._encode = lru_cache(maxsize=None)(
            lambda text: tuple(processor.tokenizer.encode(text, add_special_tokens=False))
        )
        self._chat = lru_cache(maxsize=None)(lambda question: render_chat(processor, question))
        self._positions: dict[bytes, torch.Tensor] = {}
        self.end = processor.tokenizer.eos_token
        self.pad_id = processor.tokenizer.pad_token_id

    def encode(
        self, question: str, answer: str, grid: np.ndarray, group_times_s: Sequence[float]
    ) -> tuple[list[int], int]:
        """Return the ids of the whole chat and the number of those before the answer."""
        start, end = self._processor.vision_start_token, self._processor.vision_end_token
        before, after = self._chat(question).split(f"{start}{self._video}{end}")
        tokens = int(grid[1] * grid[2]) // MERGE**2
        ids: list[int] = []
        for time in group_times_s:
            ids += self._encode(f"{before}<{time:.1f} seconds>{start}")
            ids += [self._processor.video_token_id] * tokens
            before = end
        ids += self._encode(before + after)
        return ids + list(self._encode(answer)), len(ids)

    def positions(self, ids: Sequence[int], grid: np.ndarray) -> torch.Tensor:
        """Return `(3, len(ids))` rotary positions; equal layouts are computed once."""
        types = (np.asarray(ids) == self._processor.video_token_id).astype(np.int32) * VIDEO
        key = types.tobytes() + grid.tobytes()
        if key not in self._positions:
            self._positions[key] = self._model.model.get_rope_index(
                torch.tensor([ids]),
                mm_token_type_ids=torch.from_numpy(types)[None],
                video_grid_thw=torch.from_numpy(grid)[None].clone(),
            )[0][:, 0]
        return self._positions[key]

    def collate(self, turns: Sequence[Turn], cache: FeatureCache, text_weight: float) -> Batch:
        """Put turns side by side."""
        rows, firsts = [], []
        for turn in turns:
            ids, first = self.encode(
                turn.question, turn.answer, cache.grids[turn.clip], cache.group_times_s[turn.clip]
            )
            rows.append(ids)
            firsts.append(first)
        length = max(map(len, rows))
        input_ids = torch.full((len(rows), length), self.pad_id)
        position_ids = torch.zeros((3, len(rows), length), dtype=torch.long)
        at, target, weight = [], [], []
        # The digit is all that is read; the words around it only keep plain text generation in shape.
        digit_at = len(self._encode(ANSWER_PREFIX))
        for row, (turn, ids, first) in enumerate(zip(turns, rows, firsts, strict=True)):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            position_ids[:, row, : len(ids)] = self.positions(ids, cache.grids[turn.clip])
            answer = len(ids) - first
            at += [(row, first - 1 + i) for i in range(answer)]
            target += ids[first:]
            words = np.full(answer, text_weight / answer, np.float32)
            if turn.scored:
                words *= 0.1
                words[digit_at] = 1.0
            weight.append(words)
        features = np.concatenate([cache.read(turn.clip) for turn in turns])
        return Batch(
            input_ids=input_ids,
            position_ids=position_ids,
            features=torch.from_numpy(features).float(),
            grid=torch.from_numpy(np.stack([cache.grids[turn.clip] for turn in turns])),
            at=torch.tensor(at),
            target=torch.tensor(target),
            weight=torch.from_numpy(np.concatenate(weight)),
        )


class TurnSampler:
    """Draws the questions of each step; the same seed and step give the same questions."""

    def __init__(self, data: RewardData, config: LanguageConfig, end: str, seed: int) -> None:
        self._data, self._config, self._end, self._seed = data, config, end, seed
        self._examples = [e for e in data.examples if config.negatives or is_success(e)]
        self._chances = balanced_chances(data, self._examples, config.balance)
        self._clips = np.unique([e.clip for e in self._examples])

    def draw(self, step: int) -> list[Turn]:
        """Return the questions of one step."""
        config = self._config
        rng = np.random.default_rng((self._seed, step))
        late = min(1.0, 2 * step / config.steps)
        describe, locate = (
            a + (b - a) * late for a, b in (config.describe_share, config.locate_share)
        )
        kinds = rng.choice(3, size=config.batch_size, p=(describe, locate, 1 - describe - locate))
        drawn = rng.choice(len(self._examples), size=config.batch_size, p=self._chances)
        clips = rng.choice(self._clips, size=config.batch_size)
        make: tuple[Callable[[int], Turn], ...] = (
            self._describe,
            lambda clip: self._locate(clip, rng),
        )
        return [
            score_turn(self._examples[example], self._end) if kind == 2 else make[kind](int(clip))
            for kind, example, clip in zip(kinds, drawn, clips, strict=True)
        ]

    def _describe(self, clip: int) -> Turn:
        return Turn(clip, DESCRIBE, f" {self._data.clips[clip].caption}{self._end}", scored=False)

    def _locate(self, clip: int, rng: np.random.Generator) -> Turn:
        dense, names = self._data.dense[clip, -1], self._data.landmarks
        # Only what belongs to the scene can be asked for; what is hidden is answered with a word.
        known = np.flatnonzero(self._data.dense[clip, :, :, 2].any(0))
        asked = rng.permutation(known)[: self._config.located]
        places = [f"{_words(names[k])} {_place(dense[k])}" for k in asked]
        question = f"{LOCATE} {' '.join(_words(names[k]) for k in asked)}"
        return Turn(clip, question, f" {' '.join(places)}{self._end}", scored=False)


def score_turn(example: Example, end: str) -> Turn:
    """Ask for the score of one example."""
    answer = f"{ANSWER_PREFIX}{example.level}{end}"
    return Turn(example.clip, build_prompt(example.task), answer, scored=True)


def is_success(example: Example) -> bool:
    """Whether this is what a data set without negatives would hold."""
    return example.kind == "original" and example.level == LEVELS[-1]


def balanced_chances(data: RewardData, examples: Sequence[Example], power: float) -> np.ndarray:
    """Return `(len(examples),)` chances that raise rare (scene, kind, level) cells."""
    cells = [(data.clips[e.clip].scene, e.kind, e.level) for e in examples]
    _, cell, counts = np.unique([str(c) for c in cells], return_inverse=True, return_counts=True)
    chances = counts[cell].astype(np.float64) ** -power
    return chances / chances.sum()


def language_loss(
    model: Qwen3VLForConditionalGeneration, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy over the whole vocabulary at the answers; returns it and `(A, vocabulary)` logits.

    The model's vision tower must be a `CachedTower`; the rest of the forward pass is the usual one.
    """
    hidden = model.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        pixel_values_videos=batch.features,
        video_grid_thw=batch.grid,
        use_cache=False,
    ).last_hidden_state
    logits = model.lm_head(hidden[batch.at[:, 0], batch.at[:, 1]])
    loss = F.cross_entropy(logits, batch.target, reduction="none") * batch.weight
    return loss.sum() / len(batch.input_ids), logits


@torch.inference_mode()
def predict(
    model: Qwen3VLForConditionalGeneration,
    encoder: ChatEncoder,
    cache: FeatureCache,
    examples: Sequence[Example],
    processor: Qwen3VLProcessor,
    batch_size: int = 64,
) -> np.ndarray:
    """Return the `(len(examples),)` levels that the model would give, from cached features."""
    digits = torch.tensor(digit_tokens(processor))
    levels = []
    for start in range(0, len(examples), batch_size):
        turns = [score_turn(e, encoder.end) for e in examples[start : start + batch_size]]
        batch = encoder.collate(turns, cache, text_weight=1.0)
        _, logits = language_loss(model, batch)
        # Of the answer's tokens, the digit alone has full weight.
        levels.append(logits[batch.weight == 1.0][:, digits].argmax(-1).numpy() + LEVELS[0])
    return np.concatenate(levels)


def vocabulary(data: RewardData) -> list[str]:
    """Words that deserve a token of their own: those of all commands, descriptions and landmarks."""
    texts = [e.task for e in data.examples] + [clip.caption for clip in data.clips]
    texts += [_words(name) for name in data.landmarks] + ["hidden"]
    return sorted({word for text in texts for word in text.split()})


def _words(name: str) -> str:
    return name.replace("_", " ")


def _place(landmark: np.ndarray) -> str:
    """Column and row as words, two digits each; the value would not fit a word."""
    if landmark[2] == 0:
        return "hidden"
    column, row = (landmark[:2] * PLACES).astype(int).clip(0, PLACES - 1)
    return f"{column:02d} {row:02d}"
