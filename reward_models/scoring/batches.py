"""Reading recordings and scoring them in batches, in this process or as a worker in another one."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from reward_models.net.budget import share_between
from reward_models.scale.places import in_threads
from reward_models.scoring.inputs import InvalidRequest, Request
from reward_models.scoring.progress import Curve, curve, prefixes
from roboreward_gym._cli import keep_freed_memory
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.registry import load_reward_model
from roboreward_gym.scorer import ScoreOrError, outcomes
from roboreward_gym.types import Clip, RewardModel


@dataclass(frozen=True, eq=False)
class LoadedClip:
    """A request with the clip that was read for it."""

    request: Request
    clip: Clip


@dataclass(frozen=True, eq=False)
class Scored:
    """What became of one request.

    Attributes:
        request: What was asked.
        outcome: The score, or why there is none.
        about: Rate and numbers of frames of the clip; None if the recording could not be read.
        clip: The clip, in the process that scored it only.
        progress: Progress over time, where it was asked for.
    """

    request: Request
    outcome: ScoreOrError
    about: Mapping[str, Any] | None = None
    clip: Clip | None = None
    progress: Curve = ()


@runtime_checkable
class ConcurrentModel(Protocol):
    """A model behind an API that is sent several requests at a time."""

    concurrency: int


def load_model(name: str, concurrency: int | None) -> RewardModel:
    """Load a reward model, with as many requests at a time as wanted.

    Raises:
        InvalidRequest: The model sends no requests.
    """
    model = load_reward_model(name)
    if concurrency is not None:
        if not isinstance(model, ConcurrentModel):
            raise InvalidRequest(f"{name} sends no requests to an API: leave out --concurrency.")
        model.concurrency = concurrency
    return model


class Worker:
    """Reads and scores batches in a process of its own.

    Args:
        model: Name of the reward model.
        concurrency: Requests under way at a time.
        readers: Threads that read.
        processes: How many such processes there are; they share the budget for paid requests.
        points: As of `score_batch`.
    """

    def __init__(
        self, model: str, concurrency: int | None, readers: int, processes: int, points: int = 0
    ) -> None:
        share_between(processes)
        keep_freed_memory()
        self._model = load_model(model, concurrency)
        self._readers = readers
        self._points = points

    def __call__(self, requests: Sequence[Request]) -> list[Scored]:
        """Return what became of each request, without its frames."""
        loaded = next(read_ahead(requests, len(requests), self._readers))
        return [replace(one, clip=None) for one in score_batch(self._model, loaded, self._points)]


def score_batch(
    model: RewardModel,
    loaded: Sequence[LoadedClip | tuple[Request, RoboRewardError]],
    points: int = 0,
) -> list[Scored]:
    """Score what could be read, in one call; with `points` also that many moments of each recording."""
    parts = [
        [*prefixes(item.clip, points), item.clip] if isinstance(item, LoadedClip) else []
        for item in loaded
    ]
    found = iter(outcomes(model, [clip for clips in parts for clip in clips]))
    return [
        _scored(item, clips, list(itertools.islice(found, len(clips))))
        if isinstance(item, LoadedClip)
        else Scored(*item)
        for item, clips in zip(loaded, parts, strict=True)
    ]


def _scored(item: LoadedClip, clips: list[Clip], found: list[ScoreOrError]) -> Scored:
    progress = curve(clips, found) if len(clips) > 1 else ()
    return Scored(item.request, found[-1], _about(item.clip), item.clip, progress)


def _about(clip: Clip) -> dict[str, Any]:
    total = clip.num_frames or len(clip.frames)
    return {"fps": clip.fps, "frames": len(clip.frames), "frames_total": total}


def read_ahead(
    requests: Sequence[Request], batch_size: int, readers: int
) -> Iterator[list[LoadedClip | tuple[Request, RoboRewardError]]]:
    """Yield clips in batches, in order, reading the next ones meanwhile; at most two batches are in memory."""
    reading = in_threads(_read, requests, readers, ahead=batch_size)
    while batch := [take() for take in itertools.islice(reading, batch_size)]:
        yield batch


def _read(request: Request) -> LoadedClip | tuple[Request, RoboRewardError]:
    try:
        return LoadedClip(request, request.source.read().clip(request.task))
    except RoboRewardError as error:
        return request, error
