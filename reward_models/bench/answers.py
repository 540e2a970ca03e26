"""Answers of one benchmark run: a line of JSON each, appended as they come, so that a stopped run goes on.

The first line says which model answers which questions. A file of another model, of other questions or of other weights is
refused and left as it is.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.bench.questions import InvalidBenchmark
from reward_models.json_lines import append_row, cut_unfinished_line, parse_row, read_lines
from roboreward_gym.types import ProgressScore

VERSION = 1


@dataclass(frozen=True)
class Answer:
    """The answer of a reward model to one question.

    Attributes:
        key: Key of the question.
        level: 1..5, or None if the answer was unreadable.
        probabilities: Five probabilities, or None.
        off_format: Probability of an answer that is no level.
        seconds: Time of the call, divided by the clips in it, in [s].
        weights: Fingerprint of the weights, if the model gives one.
    """

    key: str
    level: int | None
    probabilities: tuple[float, ...] | None
    off_format: float
    seconds: float
    weights: str = ""

    @classmethod
    def of(cls, key: str, score: ProgressScore, seconds: float) -> "Answer":
        """Keep the parts of a score that metrics need."""
        p = score.probabilities
        return cls(
            key=key,
            level=None if score.level is None else int(score.level),
            probabilities=None if p is None else tuple(float(value) for value in p),
            off_format=float(score.off_format),
            seconds=round(seconds, 6),
            weights=str(score.manifest.get("weights_sha256") or ""),
        )


class AnswerLog:
    """The answers of one model to one list of questions, in a file or in memory only.

    Args:
        path: File to make or to go on with; None keeps the answers in memory.
        model: Name of the reward model.
        questions: Fingerprint of the questions.

    Raises:
        InvalidBenchmark: The file belongs to something else.
    """

    def __init__(self, path: Path | None, model: str, questions: str) -> None:
        self._path = path
        self._header = {"bench": VERSION, "model": model, "questions": questions}
        self.answers: dict[str, Answer] = {}
        self._begun = path is not None and self._read(path)

    def add(self, answer: Answer) -> None:
        """Keep one answer, and write it at once.

        Raises:
            InvalidBenchmark: The weights are not those of the earlier answers.
        """
        self._check_weights(answer)
        self.answers[answer.key] = answer
        if self._path is None:
            return
        if not self._begun:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_row(self._path, self._header)
            self._begun = True
        append_row(self._path, asdict(answer))

    def _check_weights(self, answer: Answer) -> None:
        before = next(iter(self.answers.values()), answer)
        if before.weights != answer.weights:
            raise InvalidBenchmark(
                f"The model {self._header['model']} has other weights now than when {self._path} was begun. Choose "
                "another --out, or delete the file."
            )

    def _read(self, path: Path) -> bool:
        """Take over finished answers, and cut off a last line that a kill left unfinished; False if nothing is there."""
        lines, rest = read_lines(path)
        if not lines and not rest:
            return False
        if not lines or _parse(lines[0]) != self._header:
            self._refuse(path, lines[0] if lines else rest)
        for line in lines[1:]:
            row = _parse(line)
            if row is None or "key" not in row:
                raise InvalidBenchmark(
                    f"{path} is damaged: {line[:80]!r} is no answer. Delete the file, or choose another --out."
                )
            p = row["probabilities"]
            row["probabilities"] = None if p is None else tuple(p)
            answer = Answer(**row)
            self._check_weights(answer)
            self.answers[answer.key] = answer
        cut_unfinished_line(path)
        return True

    def _refuse(self, path: Path, line: bytes) -> None:
        header = _parse(line) or {}
        differs = [key for key in self._header if header.get(key) != self._header[key]]
        raise InvalidBenchmark(
            f"{path} holds something else: {' and '.join(differs)} differ. It was left as it is. Choose another "
            "--out, or delete the file to begin again."
        )


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        return parse_row(line)
    except ValueError:
        return None


def arrays(answers: list[Answer]) -> tuple[np.ndarray, np.ndarray]:
    """Levels `(N,)` float64, NaN where unreadable, and probabilities `(N, 5)`, NaN rows where there are none."""
    levels = np.array([np.nan if a.level is None else a.level for a in answers], np.float64)
    none = (np.nan,) * 5
    return levels, np.array([a.probabilities or none for a in answers], np.float64).reshape(-1, 5)
