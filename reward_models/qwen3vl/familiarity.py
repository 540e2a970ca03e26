"""Whether a small checkpoint knows what it is asked about: a file beside its weights describes the world of its training.

Two things are looked at. Words: the share of the task's words, and of its pairs of neighbouring words, that occur in the tasks
of the training. Pictures: how far the vision tower's features of the video lie from those of training videos (Mahalanobis
distance of their mean and spread). Beyond the limits in the file the model abstains: the score has no level.
A model of billions of parameters has no such file and never abstains.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from roboreward_gym.errors import WeightsError

FILE = "familiarity.safetensors"
_WORD = re.compile(r"[^\W_]+")
_START, _END = "<", ">"


@dataclass(frozen=True)
class KnownWords:
    """The language of the training tasks.

    Attributes:
        words: Their words, in lower case.
        pairs: Their pairs of neighbouring words, the start and the end included.
        max_unknown: Largest share of unknown words that a known task may have.
        min_pairs: Smallest share of known pairs that it must have.
    """

    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    max_unknown: float
    min_pairs: float

    def unknown(self, task: str) -> list[str]:
        """Words of the task that are not known."""
        return [word for word in words_of(task) if word not in self.words]

    def shares(self, task: str) -> tuple[float, float]:
        """Share of unknown words and share of known pairs; 1 and 0 for a task without words."""
        words, pairs = words_of(task), pairs_of(task)
        if not words:
            return 1.0, 0.0
        known = sum(pair in self.pairs for pair in pairs)
        return len(self.unknown(task)) / len(words), known / len(pairs)

    def refuses(self, task: str) -> str:
        """Why the task is not known, or nothing."""
        unknown, pairs = self.shares(task)
        if unknown > self.max_unknown:
            words = ", ".join(self.unknown(task)[:5]) or "no words at all"
            return f"it does not know the words: {words}"
        if pairs < self.min_pairs:
            return (
                f"it knows the words, but not this order: {pairs:.0%} of the neighbours are known"
            )
        return ""


def words_of(task: str) -> list[str]:
    """Split a task into lower-case words.

    >>> words_of("Put the duck on the towel.")
    ['put', 'the', 'duck', 'on', 'the', 'towel']
    """
    return _WORD.findall(task.casefold())


def pairs_of(task: str) -> list[tuple[str, str]]:
    """Pairs of neighbouring words, with marks for start and end."""
    return list(itertools.pairwise([_START, *words_of(task), _END]))


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the training was like, and how far from it the model still answers.

    Attributes:
        words: The language of its tasks.
        mean: `(D,)` float32 mean of `describe` over training videos.
        whitening: `(D, D)` float32: a difference times this has unit variance in every direction.
        limit: Largest distance of a known video, in standard deviations per dimension.
    """

    words: KnownWords
    mean: torch.Tensor
    whitening: torch.Tensor
    limit: float

    @classmethod
    def beside(cls, folder: Path) -> "Familiarity | None":
        """Read the file in a checkpoint's folder, if there is one.

        Raises:
            WeightsError: The file is corrupt.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                about: Mapping[str, Any] = json.loads((file.metadata() or {})["familiarity"])
                mean, whitening = file.get_tensor("mean"), file.get_tensor("whitening")
            words = KnownWords(
                frozenset(about["words"]),
                frozenset((first, second) for first, second in about["pairs"]),
                about["max_unknown"],
                about["min_pairs"],
            )
            return cls(words, mean.float(), whitening.float(), about["limit"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{path} is corrupt: {error}. Fetch the checkpoint again."
            ) from error

    def save(self, folder: Path) -> None:
        """Write the file into a checkpoint's folder."""
        about = {
            "words": sorted(self.words.words),
            "pairs": sorted(self.words.pairs),
            "max_unknown": self.words.max_unknown,
            "min_pairs": self.words.min_pairs,
            "limit": self.limit,
        }
        tensors = {"mean": self.mean, "whitening": self.whitening.to(torch.float16)}
        save_file(tensors, folder / FILE, {"familiarity": json.dumps(about)})

    def distance(self, tokens: torch.Tensor) -> float:
        """How far `(N, width)` features of a video lie from the training's."""
        difference = describe(tokens) - self.mean
        whitened = difference @ self.whitening.to(difference.dtype)
        return float(whitened.square().mean().sqrt())

    def check(self, task: str, tokens: torch.Tensor) -> dict[str, Any]:
        """What is known about a question, for the manifest; `refused` says why the model abstains, or is empty.

        Args:
            task: The task.
            tokens: `(N, width)` features of the video.
        """
        distance = self.distance(tokens)
        refused = self.words.refuses(task)
        if not refused and distance > self.limit:
            refused = (
                f"the video is unlike those of its training: distance {distance:.2f}, limit "
                f"{self.limit:.2f}"
            )
        return {
            "refused": refused,
            "unknown_words": self.words.unknown(task),
            "video_distance": round(distance, 4),
            "video_distance_limit": round(self.limit, 4),
        }


def describe(tokens: torch.Tensor) -> torch.Tensor:
    """`(2 * width,)` float32 on the CPU: mean and logarithmic spread of `(N, width)` features over the video."""
    values = tokens.detach().float().cpu()
    return torch.cat([values.mean(0), values.std(0).clamp_min(1e-3).log()])


def known_words(tasks: Iterable[str], max_unknown: float, min_pairs: float) -> KnownWords:
    """Collect the words and pairs of the tasks of a training."""
    tasks = list(tasks)
    return KnownWords(
        frozenset(word for task in tasks for word in words_of(task)),
        frozenset(pair for task in tasks for pair in pairs_of(task)),
        max_unknown,
        min_pairs,
    )
