"""What the judges behind paid APIs share: several clips at once, within bounds, and no half results."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, ClassVar, TypeVar

from reward_models.judges.budget import Budget, process_budget
from reward_models.net.addresses import check_url
from reward_models.net.credentials import check_key, without
from reward_models.net.retries import Patience
from reward_models.protocol.frames import Protocol, SampledClip
from reward_models.protocol.prompt import prompt_sha256
from roboreward_gym.errors import InvalidSetting, RewardModelFailure
from roboreward_gym.types import Clip, ProgressScore

STILLS = Protocol(fps=1.0, min_frames=2, max_frames=32)
"""Frames for models that take images: one a second, as RoboRewardBench fed OpenAI's, first and last included."""

MAX_OUTPUT_TOKENS = 60_000
"""Most tokens of an answer, thoughts included; what RoboRewardBench allowed reasoning models."""

TIMEOUT_S = 120.0
"""Longest wait for a sign of life in [s]; reasoning models take their time."""

Answer = TypeVar("Answer")


class ApiJudge(ABC):
    """A model behind a server, asked about each clip by a request of its own.

    A subclass makes the client and says what a question and an answer look like.

    Args:
        model: The model's name on the server.
        api_key: The key; it is sent to the server and appears nowhere else.
        base_url: Address of the API.
        patience: When to ask again.
        budget: Limit on requests and cost; that of the process by default.
        concurrency: Most requests at the same time.

    Raises:
        InvalidSetting: No model, no key, or an address that is none.
    """

    example: ClassVar[str]
    """A name to copy, for messages."""
    _client: Any

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str,
        patience: Patience,
        budget: Budget | None,
        concurrency: int,
    ) -> None:
        if not model:
            raise InvalidSetting(
                f"Expected the name of a model, got none. Name one: {self.example}"
            )
        self.model = model
        self._url = check_url(base_url)
        self._key = check_key(api_key, "the key of the API")
        self._patience = patience
        self._budget = budget or process_budget()
        self._concurrency = concurrency

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Judge each clip by a request of its own; same order, same length.

        Raises:
            InvalidClip: Fewer than two frames.
            RewardModelFailure: The server refused the request, or gave no answer for too long.
            BudgetExhausted: The requests or the money of this process are used up.
        """
        return score_each(self._score, clips, self._concurrency)

    def close(self) -> None:
        """Close the connections; a judge that is closed cannot score."""
        self._client.close()

    @abstractmethod
    def _score(self, clip: Clip) -> ProgressScore:
        """Ask about one clip."""

    def _ask(self, send: Callable[[], Answer]) -> Answer:
        """Send a request until it is answered; each one counts against the budget."""

        def send_within_budget() -> Answer:
            self._budget.take()
            return send()

        return self._patience.ask(send_within_budget, f"{self.model} at {self._url}")

    def _refused(self, status: int, said: str, advice: str) -> RewardModelFailure:
        return RewardModelFailure(
            f"Expected {self.model!r} at {self._url} to answer, got status {status}: {said} {advice}"
        )

    def _quote(self, text: str) -> str:
        return without(self._key, excerpt(text))


def score_each(
    score: Callable[[Clip], ProgressScore], clips: Sequence[Clip], concurrency: int
) -> list[ProgressScore]:
    """Score clips side by side, at most `concurrency` at a time; same order, same length.

    The first failure is raised, and requests that have not begun by then are never sent.
    """
    if len(clips) < 2 or concurrency < 2:
        return [score(clip) for clip in clips]
    with ThreadPoolExecutor(min(concurrency, len(clips)), "judge") as pool:
        futures = [pool.submit(score, clip) for clip in clips]
        wait(futures, return_when=FIRST_EXCEPTION)
        pool.shutdown(wait=False, cancel_futures=True)
        for failed in futures:
            # A cancelled future comes after the failed one, so its own error is the one raised.
            if failed.done() and not failed.cancelled():
                failed.result()
        return [future.result() for future in futures]


def describe(clip: SampledClip, model: str, server: str) -> dict[str, Any]:
    """Return the manifest of a score: who was asked what about which frames."""
    return {
        "model": model,
        "server": server,
        "prompt_sha256": prompt_sha256(),
        "frame_indices": clip.indices.tolist(),
        "frames_missing": list(clip.missing),
        "frames_total": clip.total,
        "fps": float(clip.fps),
        "frame_size": list(clip.frames.shape[1:3]),
    }


def excerpt(text: str, limit: int = 300) -> str:
    """Return the beginning of a server's words, on one line, for a message."""
    words = itertools.islice(text.split(), limit)
    line = " ".join(words)
    return line if len(line) <= limit else f"{line[:limit]}..."


def as_int(value: object) -> int | None:
    """Return a whole number from an answer, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def get(value: object, *path: str | int) -> Any:
    """Return what lies at a path of keys and indices in an answer, or None if the path breaks off."""
    for key in path:
        if isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        elif isinstance(value, Mapping):
            value = value.get(key)
        else:
            return None
    return value
