"""A judge on another machine, served by `roboreward serve`: the same scores as in process, and no GPU here."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import httpx

from reward_models.net.addresses import check_url
from reward_models.net.credentials import check_key, find_key, without
from reward_models.net.retries import TRANSIENT_STATUS, Patience, Transient, retry_after_s
from reward_models.serving.wire import (
    ENCODINGS,
    MAX_CLIPS,
    MAX_TASK_CHARACTERS,
    MEDIA_TYPE,
    Encoding,
    pack_clips,
    unpack_scores,
)
from roboreward_gym.errors import (
    InvalidClip,
    InvalidMessage,
    InvalidSetting,
    RewardModelFailure,
    UnknownName,
)
from roboreward_gym.types import Clip, ProgressScore

TOKEN_VARIABLE = "ROBOREWARD_TOKEN"

TENACIOUS = Patience(attempts=1_000, first_wait_s=0.25, longest_wait_s=5.0, give_up_after_s=120.0)
"""An episode of a robot is dear: two minutes are enough to plug the cable in again or restart the server."""

MAX_ANSWER_BYTES = 1 << 24


class RemoteReward:
    """A judge behind `roboreward serve` as a `RewardModel`.

    Clips stay here until their score has arrived: when the network or the server goes away, the
    request is sent again until patience ends. Asking twice does no harm, as a score changes nothing.

    Args:
        url: Address of the server, `http://HOST:PORT`.
        token: What the server wants to see; it appears nowhere else.
        timeout_s: Longest time for one answer in [s], the waiting in the server's queue included.
        connect_timeout_s: Longest time to reach the server in [s].
        patience: How long to try.
        encoding: `raw`, or `png` for a slow network; `jpeg` changes pixels, and therefore scores.
        max_bytes: Most bytes of frames in one request; more clips go in several.
        max_clips: Most clips in one request.

    Raises:
        InvalidSetting: An address or a token that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 120.0,
        connect_timeout_s: float = 5.0,
        patience: Patience = TENACIOUS,
        encoding: Encoding = "raw",
        max_bytes: int = 32 << 20,
        max_clips: int = 32,
    ) -> None:
        if encoding not in ENCODINGS:
            raise UnknownName("encoding", encoding, ENCODINGS)
        if not 1 <= max_clips <= MAX_CLIPS or max_bytes < 1:
            raise InvalidSetting(f"Expected 1 to {MAX_CLIPS} clips at a time, got {max_clips}.")
        self.url = check_url(url)
        self._token = None if token is None else check_key(token, "the token")
        self._timeout_s = timeout_s
        self._patience = patience
        self._encoding: Encoding = encoding
        self._max_bytes = max_bytes
        self._max_clips = max_clips
        self._client = httpx.Client(
            base_url=self.url,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            # The address is meant as it stands: neither a proxy nor another server sees the frames.
            trust_env=False,
            # Without TLS there is nothing to verify, and loading all certificates takes a while.
            verify=self.url.startswith("https:"),
            follow_redirects=False,
        )

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Have clips judged; same order, same length.

        Raises:
            InvalidClip: The judge cannot judge such a clip.
            RewardModelFailure: The server refused, its judge failed, or nothing was heard for too long.
        """
        for clip in clips:
            if len(clip.task) > MAX_TASK_CHARACTERS:
                raise InvalidClip(
                    f"Expected a command of at most {MAX_TASK_CHARACTERS} characters, got "
                    f"{len(clip.task)}. Shorten it."
                )
        scores: list[ProgressScore] = []
        for batch in self._batches(clips):
            ask = partial(self._score, pack_clips(batch, self._encoding), len(batch))
            scores += self._patience.retry(ask, self.url)
        return scores

    def health(self) -> Mapping[str, Any]:
        """Ask the server for its model, its queue and what it has done.

        Raises:
            RewardModelFailure: No answer, or one that makes no sense.
        """
        report = self._patience.retry(lambda: self._json(self._send("GET", "/health")), self.url)
        if not isinstance(report, dict):
            raise RewardModelFailure(f"Expected a report from {self.url}, got other JSON.")
        return report

    def close(self) -> None:
        """Close the connections; a judge that is closed cannot score."""
        self._client.close()

    def _batches(self, clips: Sequence[Clip]) -> Iterator[list[Clip]]:
        batch: list[Clip] = []
        for clip in clips:
            size = sum(c.frames.nbytes for c in [*batch, clip])
            if batch and (size > self._max_bytes or len(batch) == self._max_clips):
                yield batch
                batch = []
            batch.append(clip)
        if batch:
            yield batch

    def _score(self, body: bytes, clips: int) -> list[ProgressScore]:
        answer = self._send("POST", "/v1/score", body)
        try:
            return unpack_scores(answer, clips)
        except InvalidMessage as error:
            raise RewardModelFailure(
                f"Expected scores from {self.url}, got something else: {error}"
            ) from error

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send one request and return the body of a good answer."""
        deadline = time.monotonic() + self._timeout_s
        headers = {} if body is None else {"content-type": MEDIA_TYPE}
        try:
            with self._client.stream(method, path, content=body, headers=headers) as response:
                answer = self._read(response, deadline)
        except httpx.HTTPError as error:  # refused and lost connections and time-outs
            said = without(self._token, str(error))
            raise Transient(f"{type(error).__name__}: {said}") from error
        if response.status_code != 200:
            raise self._explain(response, answer)
        return answer

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        answer = bytearray()
        for chunk in response.iter_bytes():
            answer += chunk
            if time.monotonic() > deadline:
                raise Transient(f"a part of an answer in {self._timeout_s} s")
            if len(answer) > MAX_ANSWER_BYTES:
                raise RewardModelFailure(
                    f"Expected an answer of at most {MAX_ANSWER_BYTES} bytes from {self.url}, got "
                    "more. Check that a judge listens there."
                )
        return bytes(answer)

    def _explain(self, response: httpx.Response, answer: bytes) -> Exception:
        """Turn an error status into one that is worth another request, or one that says what to do."""
        status = response.status_code
        kind, message = _read_error(answer)
        message = without(self._token, message)
        if kind == "InvalidClip":
            return InvalidClip(message)
        if kind in ("RewardModelFailure", "TooLarge", "InvalidToken", "InvalidMessage"):
            return RewardModelFailure(f"The server at {self.url} says: {message}")
        if status in TRANSIENT_STATUS:
            after = retry_after_s(response.headers.get("retry-after"))
            return Transient(f"status {status} {message}".strip(), after)
        return RewardModelFailure(
            f"Expected a score from {self.url}, got status {status} {message}".strip()
            + ". Check that `roboreward serve` listens there."
        )

    def _json(self, answer: bytes) -> object:
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise Transient(f"an answer that is no JSON: {error}") from error


def _read_error(answer: bytes) -> tuple[str, str]:
    """Read the kind and the message of an error; empty if something else than our server wrote it."""
    try:
        error = json.loads(answer)
    except (ValueError, RecursionError):
        return "", ""
    match error:
        case {"error": {"type": str(kind), "message": str(message)}}:
            return kind, message
    return "", ""


def load(argument: str) -> RemoteReward:
    """Make the judge `remote:http://HOST:PORT`, with the token in `ROBOREWARD_TOKEN` if there is one.

    `ROBOREWARD_ENCODING=png` sends smaller requests without changing a pixel.

    Raises:
        InvalidSetting: An address or a token that is none.
    """
    encoding = os.environ.get("ROBOREWARD_ENCODING") or "raw"
    if encoding not in ENCODINGS:
        raise UnknownName("encoding", encoding, ENCODINGS)
    return RemoteReward(argument, token=find_key(TOKEN_VARIABLE), encoding=encoding)
