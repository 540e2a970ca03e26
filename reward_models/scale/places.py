"""Where many items are worked on, and how many at a time.

Results come in the order of the items, wherever they were made. What a worker raises is raised here, in the
place of its result.
"""

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from reward_models.scale.worker import Item, Job, LazyWorker, Result
from roboreward_gym.errors import InvalidSetting, RoboRewardError


class WorkerDied(RoboRewardError, RuntimeError):
    """A process that shared the work ended by itself."""

    def __init__(self) -> None:
        super().__init__(
            "A worker process was killed or crashed; too little memory is a usual reason. What was finished stays: "
            "the same command goes on from there. Pass fewer --workers if memory is short."
        )


@dataclass(frozen=True)
class Place:
    """Where to work, for command lines."""

    workers: int = 1
    """Processes that share the work, each with a model of its own; on a cluster, actors."""
    ray: str | None = None
    """Work on a Ray cluster: its address, `auto` for the one of this machine, or `local` to start one."""
    gpus_per_worker: float = 0.0
    """GPUs that each worker on a Ray cluster takes; a part of one lets several share it."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InvalidSetting(f"workers must be at least 1, got {self.workers}.")
        if self.gpus_per_worker < 0 or (self.gpus_per_worker and self.ray is None):
            raise InvalidSetting("gpus_per_worker must be at least 0, and needs --ray.")

    @property
    def here(self) -> bool:
        """Whether the work is done in this process."""
        return self.workers == 1 and self.ray is None

    def map(self, job: Job[Item, Result], items: Iterable[Item]) -> Generator[Callable[[], Result]]:
        """Work in other processes; yields for each item a function that returns its result, or raises what the worker raised.

        Args:
            job: Makes a worker. It is sent to the processes, and so are the items and the results.
            items: What to work on, taken as there is room.
        """
        if self.ray is not None:
            from reward_models.scale.ray_data import map_on_ray

            return map_on_ray(job, items, self.ray, self.workers, self.gpus_per_worker)
        return in_processes(job, items, self.workers)


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Callable[[], Result]]:
    """Work in threads of this process; at most `ahead` items are begun whose results were not taken."""
    return _ahead(ThreadPoolExecutor(threads, thread_name_prefix="worker"), work, items, ahead)


def in_processes(
    job: Job[Item, Result], items: Iterable[Item], workers: int
) -> Generator[Callable[[], Result]]:
    """Work in new processes; at most twice as many items as processes are begun.

    Raises:
        WorkerDied: A process ended by itself; also where a result is taken.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(job,))
    with closing(_ahead(pool, _work, items, 2 * workers)) as results:
        try:
            for take in results:
                yield partial(_taken, take)
        except BrokenProcessPool as error:  # an item was to be sent
            raise WorkerDied from error


def _taken(take: Callable[[], Result]) -> Result:
    try:
        return take()
    except BrokenProcessPool as error:
        raise WorkerDied from error


_process: LazyWorker | None = None
"""The worker of a process that `in_processes` began."""


def _begin(job: Job[Any, Any]) -> None:
    global _process
    _process = LazyWorker(job)


def _work(item: Any) -> Any:
    assert _process is not None
    return _process(item)


def _ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], most: int
) -> Generator[Callable[[], Result]]:
    source, waiting = iter(items), deque[Future[Result]]()
    try:
        waiting.extend(pool.submit(work, item) for item in itertools.islice(source, most))
        while waiting:
            yield waiting.popleft().result
            waiting.extend(pool.submit(work, item) for item in itertools.islice(source, 1))
    finally:
        pool.shutdown(cancel_futures=True)
