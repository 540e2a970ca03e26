"""A pool of workers without processes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class PoolInProcess:
    """Does each piece of work when its result is asked for, here."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __enter__(self) -> "PoolInProcess":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def imap(
        self, work: Callable[[Any], Any], jobs: Iterable[Any], chunksize: int
    ) -> Iterator[Any]:
        return map(work, jobs)

    def imap_unordered(
        self, work: Callable[[Any], Any], jobs: Iterable[Any], chunksize: int = 1
    ) -> Iterator[Any]:
        return map(work, jobs)
