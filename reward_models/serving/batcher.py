"""Requests that arrive together are scored together, by one judge in one thread."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from roboreward_gym.errors import InvalidMessage, InvalidSetting, RewardModelFailure
from roboreward_gym.judging import JUDGE_ERRORS
from roboreward_gym.types import Clip, ProgressScore, RewardModel

IsGone = Callable[[], Awaitable[bool]]
"""Whether whoever asked has gone away in the meantime."""


class QueueFull(Exception):
    """More clips are waiting than the server takes."""


@dataclass(eq=False)
class _Job:
    clips: Sequence[Clip]
    is_gone: IsGone
    scores: asyncio.Future[list[ProgressScore]]
    arrived: float = field(default_factory=time.monotonic)


@dataclass
class Counts:
    """What a batcher has done so far."""

    requests: int = 0
    """Requests taken in."""
    clips: int = 0
    """Clips scored."""
    batches: int = 0
    """Calls of the judge that gave scores."""
    largest_batch: int = 0
    """Most clips in one call."""
    failed: int = 0
    """Requests that the judge failed on."""
    left: int = 0
    """Requests that nobody waited for any more when their turn came."""


class Batcher:
    """Gathers the clips of several requests into one call of the judge.

    Args:
        judge: Called in one thread only, one call at a time.
        window_s: How long to wait for more clips after the first, in [s].
        max_batch: Most clips in one call, unless one request has more.
        max_waiting: Most clips that wait or are being scored.

    Raises:
        InvalidSetting: A number out of range.
    """

    def __init__(
        self, judge: RewardModel, *, window_s: float, max_batch: int, max_waiting: int
    ) -> None:
        if not window_s >= 0 or max_batch < 1 or max_waiting < 1:
            raise InvalidSetting(
                "Expected a window of at least 0 s and room for at least 1 clip, got "
                f"{window_s}, {max_batch} and {max_waiting}."
            )
        self._judge = judge
        self._window_s = window_s
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "judge")
        self._worker: asyncio.Task[None] | None = None
        self.waiting = 0
        self.counts = Counts()

    async def __aenter__(self) -> "Batcher":
        """Start to score."""
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; whoever still waits is told so."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        self._thread.shutdown(wait=True, cancel_futures=True)

    @property
    def alive(self) -> bool:
        """Whether requests get answers."""
        return self._worker is not None and not self._worker.done()

    async def score(self, clips: Sequence[Clip], is_gone: IsGone) -> list[ProgressScore]:
        """Score the clips of one request, as `judge.score` would: same order, same length.

        Raises:
            QueueFull: Too many clips are waiting.
            InvalidMessage: More clips than could ever wait.
            RewardModelFailure: The judge answered with something other than scores, or the batcher stopped.
        """
        if len(clips) > self._max_waiting:
            raise InvalidMessage(
                f"Expected at most {self._max_waiting} clips at a time, got {len(clips)}. Send fewer."
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
            await asyncio.wait({job.scores, self._worker}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= len(clips)
        if not job.scores.done():
            job.scores.cancel()
            raise RewardModelFailure("Expected a score, got a server that is stopping. Ask again.")
        return job.scores.result()

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
        left = job.scores.done() or await job.is_gone()
        self.counts.left += left
        if left:
            job.scores.cancel()
        return left

    async def _score_together(self, jobs: Sequence[_Job]) -> None:
        outcome = await self._call([clip for job in jobs for clip in job.clips])
        if isinstance(outcome, JUDGE_ERRORS) and len(jobs) > 1:
            # One bad clip must not fail the requests of others.
            for job in jobs:
                await self._score_together([job])
            return
        if isinstance(outcome, BaseException):
            self.counts.failed += len(jobs)
            for job in jobs:
                if not job.scores.done():
                    job.scores.set_exception(outcome)
            return
        start = 0
        for job in jobs:
            if not job.scores.done():
                job.scores.set_result(outcome[start : start + len(job.clips)])
            start += len(job.clips)

    async def _call(self, clips: list[Clip]) -> list[ProgressScore] | BaseException:
        """Call the judge in its thread and return its scores, or what it raised."""
        call = asyncio.get_running_loop().run_in_executor(self._thread, self._judge.score, clips)
        await asyncio.wait([call])
        error = call.exception()
        if error is not None:
            return error
        scores = call.result()
        whole = isinstance(scores, list) and len(scores) == len(clips)
        if not whole or not all(isinstance(score, ProgressScore) for score in scores):
            return RewardModelFailure(
                f"Expected {len(clips)} scores for {len(clips)} clips from the judge, got "
                f"{type(scores).__name__}."
            )
        self.counts.batches += 1
        self.counts.clips += len(clips)
        self.counts.largest_batch = max(self.counts.largest_batch, len(clips))
        return scores
