"""Requests that arrive together are scored together, by one reward model in one thread."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from reward_models.serving.room import QueueFull
from roboreward_gym.errors import InvalidMessage, InvalidSetting, RewardModelFailure
from roboreward_gym.scorer import ScoreOrError, outcomes
from roboreward_gym.types import Clip, ProgressScore, RewardModel

IsGone = Callable[[], Awaitable[bool]]
"""Whether whoever asked has gone away in the meantime."""


@dataclass(eq=False)
class _Job:
    clips: Sequence[Clip]
    is_gone: IsGone
    outcomes: asyncio.Future[list[ScoreOrError]]
    arrived: float = field(default_factory=time.monotonic)


@dataclass
class Counts:
    """What a batcher has done so far."""

    requests: int = 0
    """Requests taken in."""
    clips: int = 0
    """Clips scored."""
    batches: int = 0
    """Batches that were scored."""
    largest_batch: int = 0
    """Most clips in one batch."""
    failed: int = 0
    """Clips that got no score."""
    left: int = 0
    """Requests that nobody waited for any more when their turn came."""


class Batcher:
    """Gathers the clips of several requests into one call of the reward model.

    Args:
        model: Called in one thread only, one call at a time.
        window_s: How long to wait for more clips after the first, in [s].
        max_batch: Most clips in one call, unless one request has more.
        max_waiting: Most clips that wait or are being scored.

    Raises:
        InvalidSetting: A number out of range.
    """

    def __init__(
        self, model: RewardModel, *, window_s: float, max_batch: int, max_waiting: int
    ) -> None:
        if not window_s >= 0 or max_batch < 1 or max_waiting < 1:
            raise InvalidSetting(
                "window_s must be at least 0 s, max_batch and max_waiting at least 1, got "
                f"{window_s}, {max_batch} and {max_waiting}."
            )
        self._model = model
        self._window_s = window_s
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "reward-model")
        self._call: Future[list[ScoreOrError]] | None = None
        self._worker: asyncio.Task[None] | None = None
        self.waiting = 0
        self.counts = Counts()

    async def __aenter__(self) -> "Batcher":
        """Start to score."""
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; whoever still waits is told so. A call of the model that is under way cannot be stopped."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def busy(self) -> bool:
        """Whether the model is being called."""
        return self._call is not None and not self._call.done()

    @property
    def alive(self) -> bool:
        """Whether requests get answers."""
        return self._worker is not None and not self._worker.done()

    async def score(self, clips: Sequence[Clip], is_gone: IsGone) -> list[ScoreOrError]:
        """Score the clips of one request: for each its score, or why it has none; same order.

        Raises:
            QueueFull: Too many clips are waiting.
            InvalidMessage: More clips than could ever wait.
            RewardModelFailure: The batcher stopped.
        """
        if len(clips) > self._max_waiting:
            raise InvalidMessage(
                f"A request may have at most {self._max_waiting} clips, got {len(clips)}. Send fewer."
            )
        if self.waiting + len(clips) > self._max_waiting:
            raise QueueFull
        assert self._worker is not None, "use the batcher as a context manager"
        job = _Job(clips, is_gone, asyncio.get_running_loop().create_future())
        self.waiting += len(clips)
        self.counts.requests += 1
        self._jobs.append(job)
        self._arrived.set()
        try:
            # If the worker ends first, nobody else would ever answer.
            await asyncio.wait({job.outcomes, self._worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= len(clips)
        if not job.outcomes.done():
            job.outcomes.cancel()
            raise RewardModelFailure("The server is stopping. Score again when it is back.")
        return job.outcomes.result()

    async def _work(self) -> None:
        while True:
            jobs = [job for job in await self._gather() if not await self._has_left(job)]
            if jobs:
                await self._score_together(jobs)

    async def _gather(self) -> list[_Job]:
        """Wait for one request, and then for others until the window closes or the batch is full."""
        while not self._jobs:
            self._arrived.clear()
            await self._arrived.wait()
        while sum(len(job.clips) for job in self._jobs) < self._max_batch:
            self._arrived.clear()
            left_s = self._jobs[0].arrived + self._window_s - time.monotonic()
            try:
                await asyncio.wait_for(self._arrived.wait(), left_s)
            except asyncio.TimeoutError:
                break
        jobs = [self._jobs.popleft()]
        clips = len(jobs[0].clips)
        while self._jobs and clips + len(self._jobs[0].clips) <= self._max_batch:
            jobs.append(self._jobs.popleft())
            clips += len(jobs[-1].clips)
        return jobs

    async def _has_left(self, job: _Job) -> bool:
        left = job.outcomes.done() or await job.is_gone()
        self.counts.left += left
        if left:
            job.outcomes.cancel()
        return left

    async def _score_together(self, jobs: Sequence[_Job]) -> None:
        clips = [clip for job in jobs for clip in job.clips]
        self._call = self._thread.submit(outcomes, self._model, clips)
        waiting = asyncio.wrap_future(self._call)
        try:
            await asyncio.wait([waiting])
        finally:
            waiting.cancel()  # when the server stops: the thread then finds nobody to tell, and ends quietly
        bug = self._call.exception()
        found = iter([] if bug else self._call.result())
        for job in jobs:
            mine = list(itertools.islice(found, len(job.clips)))
            if job.outcomes.done():
                continue
            if bug is not None:
                job.outcomes.set_exception(bug)
            else:
                job.outcomes.set_result(mine)
        scored = 0 if bug else sum(isinstance(o, ProgressScore) for o in self._call.result())
        self.counts.batches += bug is None
        self.counts.clips += scored
        self.counts.failed += len(clips) - scored
        self.counts.largest_batch = max(self.counts.largest_batch, len(clips))
