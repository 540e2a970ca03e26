"""What works on items in a process or an actor.

A job is a function without arguments that makes the worker: a callable from an item to a result. It runs once per process, so that a
worker may load a model.
"""

from collections.abc import Callable
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Job = Callable[[], Callable[[Item], Result]]


class LazyWorker:
    """Makes its worker for the first item, so that what goes wrong with that is raised as a result.

    Args:
        job: Makes the worker.
    """

    def __init__(self, job: Job[Any, Any]) -> None:
        self._job = job
        self._worker: Callable[[Any], Any] | None = None

    def __call__(self, item: Any) -> Any:
        """Work on an item."""
        if self._worker is None:
            self._worker = self._job()
        return self._worker(item)
