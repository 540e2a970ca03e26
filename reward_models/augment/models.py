"""Models behind the roles: text, and perhaps an episode, in; text out. Every answer that was paid for is kept."""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import diskcache
from diskcache.core import MODE_PICKLE
from filelock import FileLock

from reward_models.augment.roles import Episode
from reward_models.data.example import InvalidSource
from reward_models.data.video_file import OutputError


@dataclass(frozen=True, eq=False)
class Question:
    """What a model is asked.

    Attributes:
        prompt: The text.
        episode: What it looks at; None for questions about text.
        attempt: Number of the try; a repeated question is answered from the cache, another try is not.
    """

    prompt: str
    episode: Episode | None = None
    attempt: int = 0


class ChatModel(Protocol):
    """Answers questions."""

    @property
    def name(self) -> str:
        """What answers depend on: model, server, settings."""
        ...

    def ask(self, question: Question) -> str:
        """Answer.

        Raises:
            RewardModelFailure: It refuses, or there is no answer.
            BudgetExhausted: It may not be asked any more.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class TextDisk(diskcache.Disk):
    """Stores text and refuses to unpickle: a cache that somebody else wrote must not run code here."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:  # noqa: FBT001 - diskcache's
        """Read a value."""
        if mode == MODE_PICKLE:
            raise InvalidSource("The cache holds a pickled value, which is not ours. Delete it.")
        return super().fetch(mode, filename, value, read)


class AnswerCache:
    """Answers on disk by the content of the question, committed before they are used.

    Args:
        folder: Folder of the cache.

    Raises:
        OutputError: It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._cache = diskcache.Cache(
                str(folder), disk=TextDisk, eviction_policy="none", disk_min_file_size=2**20
            )
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"The cache {folder} cannot be written: {error}.") from error
        self._locks = folder / "locks"
        self._locks.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._being_asked: dict[str, threading.Lock] = {}

    def get(self, key: str) -> str | None:
        """Return the answer to a question, or None."""
        found = self._cache.get(key)
        return found if isinstance(found, str) else None

    @contextmanager
    def alone(self, key: str) -> Generator[None, None, None]:
        """Let one thread of one process at a time ask a question: the others find its answer."""
        with self._lock:
            waiting = self._being_asked.setdefault(key, threading.Lock())
        # The system opens the lock of a process that is killed.
        with waiting, FileLock(self._locks / f"{key[:2]}.lock", thread_local=False):
            yield

    def put(self, key: str, answer: str) -> None:
        """Keep an answer.

        Raises:
            OutputError: There is no room.
        """
        try:
            self._cache.set(key, answer)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"The answer cannot be kept: {error}. Make room.") from error

    def keys(self) -> set[str]:
        """All questions that have an answer."""
        return {str(key) for key in self._cache}

    def close(self) -> None:
        """Close the file."""
        self._cache.close()


@dataclass(frozen=True, eq=False)
class CachedModel:
    """A model that is asked each question once.

    Attributes:
        model: Who is asked.
        cache: Where answers are kept.
    """

    model: ChatModel
    cache: AnswerCache

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    def ask(self, question: Question) -> str:
        """Answer from the cache, or ask and keep the answer."""
        key = key_of(self.name, question)
        with self.cache.alone(key):
            answer = self.cache.get(key)
            if answer is None:
                # Half of a character, as a server may send it, cannot be kept.
                answer = self.model.ask(question).encode(errors="replace").decode()
                self.cache.put(key, answer)
            return answer

    def close(self) -> None:
        """Close the model; the cache belongs to who made it."""
        self.model.close()


def key_of(model: str, question: Question) -> str:
    """Return the SHA-256 of everything that an answer depends on."""
    parts: Mapping[str, Any] = {
        "model": model,
        "prompt": question.prompt,
        "video": None if question.episode is None else question.episode.digest,
        "attempt": question.attempt,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
