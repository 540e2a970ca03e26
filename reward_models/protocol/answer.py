"""The two parsers of a reply that a model wrote freely, `ANSWER: <1..5>`, and the scores made from it.

`parse_published` is that of RoboReward's authors, for their benchmark: the first number after "ANSWER:", or else one at the
very start of the reply. `parse_strict` is for rewards: it reads a level only where the authors read the same one, and
never where a reader could doubt it: "ANSWER: 3 or 4", "ANSWER: 4.5" and "ANSWER: 7" are unreadable.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reward_models.protocol.prompt import DIGITS
from roboreward_gym.types import LEVELS, PROBABILITY_TOLERANCE, ProgressScore

# Emphasis and brackets between the colon and the digit: "**ANSWER:** 4", "ANSWER: <4>".
_STATEMENT = re.compile(r"answer:[\s*_<\[(\"'`]*(?P<level>[1-5])?(?P<rest>[^\n]*)", re.IGNORECASE)
_BARE = re.compile(r"\s*(?P<level>[1-5])\s*\.?\s*")
_GOES_ON = re.compile(r"[.,]?\d|[^\W_]|[%/]")

_NUMBER = r"(-?\d+(?:\.\d+)?)"
_PUBLISHED = re.compile(rf"answer:\D*?{_NUMBER}", re.IGNORECASE)
_PUBLISHED_START = re.compile(rf"\s*{_NUMBER}")

NO_PROBABILITIES = "log-probabilities that are none, or leave nothing to the digits"


@dataclass(frozen=True)
class Answer:
    """A level and where its digit stands in the text."""

    level: int
    position: int


@dataclass(frozen=True)
class Token:
    """One token of an answer: its text, and the log-probabilities of what could have stood there."""

    text: str
    alternatives: Mapping[str, float]


def parse_published(text: str) -> int | None:
    """Read a level as the published evaluation does; None if there is none, or it is not one of 1..5.

    >>> parse_published("Answer: 4 because"), parse_published("3"), parse_published("ANSWER: 7")
    (4, 3, None)
    """
    match = _PUBLISHED.search(text) or _PUBLISHED_START.match(text)
    if match is None:
        return None
    number = float(match[1])
    return int(number) if number in LEVELS else None


def parse_strict(text: str) -> Answer | None:
    """Read the one level that a text states beyond doubt, or None.

    >>> parse_strict("The duck lies on the towel. ANSWER: 5")
    Answer(level=5, position=36)
    >>> parse_strict("ANSWER: 3 or 4") is None
    True
    """
    bare = _BARE.fullmatch(text)
    if bare:
        return Answer(int(bare["level"]), bare.start("level"))
    answers = [_read_statement(match) for match in _STATEMENT.finditer(text)]
    levels = {answer.level if answer else None for answer in answers}
    return answers[-1] if len(levels) == 1 else None


def _read_statement(match: re.Match[str]) -> Answer | None:
    rest = match["rest"]
    if match["level"] is None or _GOES_ON.match(rest) or any(c.isdigit() for c in rest):
        return None
    return Answer(int(match["level"]), match.start("level"))


def score_text(text: str, tokens: Sequence[Token], manifest: Mapping[str, Any]) -> ProgressScore:
    """Score a text that a model wrote freely, with probabilities if its tokens are known."""
    answer = parse_strict(text)
    if answer is None:
        reason = "no single level of 1..5 stated" if text.strip() else "an empty answer"
        return unreadable(text, manifest, reason)
    token = _token_at(tokens, answer, text)
    if token is None:
        return ProgressScore(level=answer.level, text=text, manifest=manifest)
    read = digit_probabilities((t.strip(), p) for t, p in token.alternatives.items())
    if read is None:
        return unreadable(text, manifest, NO_PROBABILITIES)
    probabilities, off_format = read
    return ProgressScore(answer.level, probabilities, off_format, text, manifest)


def score_digit(
    token: Token, text: str, manifest: Mapping[str, Any], off_format_limit: float
) -> ProgressScore:
    """Score the one token that follows the forced start of an answer.

    Args:
        token: The token, with its alternatives.
        text: The answer, the forced start included.
        manifest: Goes with the score.
        off_format_limit: Above this probability of anything but a digit, the answer is unreadable.
    """
    read = digit_probabilities(token.alternatives.items())
    if read is None:
        return unreadable(text, manifest, NO_PROBABILITIES)
    probabilities, off_format = read
    if off_format > off_format_limit:
        return unreadable(text, manifest, "rather something else than a digit", off_format)
    level = int(probabilities.argmax()) + 1
    return ProgressScore(level, probabilities, off_format, text, manifest)


def unreadable(
    text: str, manifest: Mapping[str, Any], reason: str, off_format: float = 0.0
) -> ProgressScore:
    """Return the score of an answer without a level; its text and manifest say why it has none.

    Args:
        text: The answer, or the part of it that arrived.
        manifest: Goes with the score.
        reason: Why no level is read.
        off_format: Probability mass outside the digits.
    """
    said = f"{reason}: {text}" if text else reason
    return ProgressScore(None, None, off_format, said, {**manifest, "unreadable": reason})


def digit_probabilities(
    alternatives: Iterable[tuple[str, float]],
) -> tuple[np.ndarray, float] | None:
    """Turn log-probabilities of tokens into those of the five digits.

    Servers list the likeliest tokens only: a digit below them counts as impossible, and its mass as
    off format, so that `off_format` is an upper bound.

    Returns:
        `(5,)` float64 probabilities that sum to 1 and the mass outside the digits, or None if the
        numbers are not log-probabilities or leave nothing to the digits.
    """
    mass = dict.fromkeys(DIGITS, 0.0)
    for text, log_probability in alternatives:
        if math.isnan(log_probability) or log_probability > PROBABILITY_TOLERANCE:
            return None
        if text in mass:
            mass[text] += math.exp(log_probability)
    digits = np.array(list(mass.values()))
    total = float(digits.sum())
    if not 0.0 < total <= 1.0 + PROBABILITY_TOLERANCE:
        return None
    return digits / total, min(max(1.0 - total, 0.0), 1.0)


def _token_at(tokens: Sequence[Token], answer: Answer, text: str) -> Token | None:
    """Return the token that is the digit; None if the tokens are unknown or do not make up the text."""
    if "".join(token.text for token in tokens) != text:
        return None
    start = 0
    for token in tokens:
        end = start + len(token.text)
        if start <= answer.position < end:
            return token if token.text.strip() == str(answer.level) else None
        start = end
    return None
