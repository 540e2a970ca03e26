"""What judges behind paid APIs share: one request per clip, several at once, within a budget, and no answer lost."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

from reward_models.net.addresses import check_url, is_own_server
from reward_models.net.budget import Budget, own_server_budget, process_budget
from reward_models.net.credentials import check_key, without
from reward_models.net.outcomes import scores_or_raise
from reward_models.net.retries import Patience
from reward_models.protocol.frames import SampledClip, VideoProtocol, sample_clip
from reward_models.protocol.prompt import prompt_sha256
from roboreward_gym.errors import (
    InvalidSetting,
    RewardModelFailure,
    RoboRewardError,
)
from roboreward_gym.scorer import ScoreOrError
from roboreward_gym.types import Clip, ProgressScore

MAX_OUTPUT_TOKENS = 60_000
"""Most tokens of an answer, thoughts included; what RoboRewardBench allowed reasoning models."""

COMPLETE = frozenset(
    {"stop", "end_turn", "eos", "eos_token", "stop_sequence", "stop_token", "complete", "completed"}
)
TOKEN_LIMIT = frozenset(
    {"length", "max_tokens", "max_output_tokens", "max_completion_tokens", "model_length"}
)
FILTERED = frozenset(
    {"content_filter", "content_filtered", "safety", "refusal", "recitation", "blocklist", "prohibited_content"}
)  # fmt: skip


class AccessRefused(RewardModelFailure):
    """The server refuses every request of ours: a wrong key or model name, or an account without credit."""


@dataclass(frozen=True)
class ApiSettings:
    """How a server is asked."""

    timeout_s: float = 120.0
    """Longest silence of the server in [s]; reasoning models take their time."""
    patience: Patience = Patience()  # noqa: RUF009 - frozen
    """How often a request is sent again."""
    budget: Budget | None = None
    """Limit on requests and cost; that of the process by default."""
    concurrency: int = 4
    """Most requests at the same time."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InvalidSetting(f"concurrency must be at least 1, got {self.concurrency}.")


class ApiJudge(ABC):
    """A model behind an API as a `RewardModel`.

    A subclass makes the client and says what a request and an answer look like.

    Args:
        model: The model's name on the server.
        api_key: The key; it is sent to the server and appears nowhere else.
        base_url: Address of the API.
        protocol: Which frames of a clip are sent.
        settings: How the server is asked.

    Raises:
        InvalidSetting: No model, no key, or an invalid address.
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
        protocol: VideoProtocol,
        settings: ApiSettings,
    ) -> None:
        if not model:
            raise InvalidSetting(f"Name the model on the server, for example {self.example}")
        self.model = model
        self.protocol = protocol
        self._url = check_url(base_url)
        self._key = check_key(api_key, "the key of the API")
        self._settings = settings
        self.concurrency = settings.concurrency
        """Most requests at the same time."""
        own = is_own_server(self._url)
        self._budget = settings.budget or (own_server_budget() if own else process_budget())

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score each clip by a request of its own; same order, same length.

        Raises:
            InvalidClip: The only clip has fewer than two frames, or a task that no prompt can hold.
            RewardModelFailure: The server refused the only clip, or gave no answer for too long.
            BudgetExhausted: The requests or the money of this process were used up before it.
            PartialScores: Some of several clips got no score; every answer that was paid for is in
                its `outcomes`.
        """
        return scores_or_raise(self._outcomes(clips))

    def close(self) -> None:
        """Close the connections; a judge that is closed cannot score."""
        self._client.close()

    def _outcomes(self, clips: Sequence[Clip]) -> list[ScoreOrError]:
        refused: list[AccessRefused] = []

        def outcome(clip: Clip) -> ScoreOrError:
            if refused:  # whatever is asked next would be refused, too
                return refused[0]
            try:
                return self._score(clip)
            except AccessRefused as error:
                refused.append(error)
                return error
            except RoboRewardError as error:
                return error

        if len(clips) < 2:
            return [outcome(clip) for clip in clips]
        with ThreadPoolExecutor(min(self.concurrency, len(clips)), "api-judge") as pool:
            return list(pool.map(outcome, clips))

    def _score(self, clip: Clip) -> ProgressScore:
        sampled = sample_clip(clip, self.protocol)
        body = self._request(self._prepare(sampled))
        return self._read(body, describe(sampled, self.model, self._url))

    @property
    def address(self) -> str:
        """Model and server, for messages and for keys of caches."""
        return f"{self.model} at {self._url}"

    def _request(self, send: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Send a request until it is answered, within budget and patience, and count what the answer cost."""

        def send_within_budget() -> Mapping[str, Any]:
            self._budget.take()
            return send()

        body = self._settings.patience.retry(send_within_budget, self.address)
        self._budget.charge(*self._count_tokens(body))
        return body

    @abstractmethod
    def _prepare(self, clip: SampledClip) -> Callable[[], Mapping[str, Any]]:
        """Make the request about a clip; each call of what is returned sends it once."""

    @abstractmethod
    def _count_tokens(self, body: Mapping[str, Any]) -> tuple[int | None, int | None]:
        """Read the numbers of input and output tokens, thoughts included, off an answer."""

    @abstractmethod
    def _read(self, body: Mapping[str, Any], manifest: Mapping[str, Any]) -> ProgressScore:
        """Read a score off an answer."""

    def _refusal(self, status: int, said: str, advice: str) -> RewardModelFailure:
        """Say that the server refuses a request; access to it, if it would refuse all others too."""
        kind = AccessRefused if status in (401, 402, 403, 404) else RewardModelFailure
        return kind(f"{self.model!r} at {self._url} answers with status {status}: {said} {advice}")

    def _quote(self, text: str) -> str:
        return without(self._key, excerpt(text))


def why_incomplete(finish: object) -> str | None:
    """Say why an answer ended before its end, by the reason that the server gives; None if it did not.

    Servers spell the same reasons differently: "stop" is OpenAI's, "STOP" Gemini's, "end_turn"
    Anthropic's, "eos_token" TGI's. Some give none.

    >>> why_incomplete("max_tokens"), why_incomplete("end_turn"), why_incomplete(None)
    ('cut off by the token limit', None, None)
    """
    name = str(finish).lower()
    if finish is None or name in COMPLETE:
        return None
    if name in TOKEN_LIMIT:
        return "cut off by the token limit"
    if name in FILTERED:
        return f"cut off by a filter ({name})"
    return f"ended early ({name})"


def describe(clip: SampledClip, model: str, server: str) -> dict[str, Any]:
    """Return the manifest of a score: which model was sent which frames."""
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
