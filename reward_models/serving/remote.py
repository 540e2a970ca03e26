"""A reward model on another machine, served by `roboreward serve`: the same scores as in process, and no GPU here."""

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import numpy as np

from reward_models.net.addresses import check_url
from reward_models.net.credentials import TOKEN_VARIABLE, check_key, find_key, without
from reward_models.net.outcomes import scores_or_raise
from reward_models.net.retries import (
    TRANSIENT_STATUS,
    NoAnswer,
    Patience,
    Transient,
    retry_after_s,
)
from reward_models.protocol.frames import VideoProtocol, sample_clip
from reward_models.serving.wire import (
    ENCODINGS,
    MAX_CLIPS,
    MEDIA_TYPE,
    Encoding,
    check_length,
    pack_clips,
    unpack_outcomes,
    unpack_protocol,
)
from roboreward_gym.errors import (
    InvalidClip,
    InvalidMessage,
    InvalidSetting,
    RewardModelFailure,
    RoboRewardError,
    UnknownName,
)
from roboreward_gym.scorer import ScoreOrError
from roboreward_gym.types import Clip, ProgressScore

TENACIOUS = Patience(attempts=1_000, first_wait_s=0.25, longest_wait_s=5.0, give_up_after_s=120.0)
"""An episode on a robot is expensive: two minutes are enough to plug the cable in again or restart the server."""

FIRST_CONTACT = Patience(attempts=3, first_wait_s=0.25, longest_wait_s=1.0, give_up_after_s=3.0)
"""A server that never answered yet is more likely a wrong address: that should show within seconds."""
FIRST_TIMEOUT_S = 5.0
"""Longest time for the first answer in [s]: the server only says which model it serves."""

MAX_ANSWER_BYTES = 1 << 24

REQUEST_HEADER_BYTES = 4096
"""Most bytes of a request's header that belong to no clip."""

# A machine that lost its power says nothing any more: after half a minute the connection counts as lost.
KEEPALIVE = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
for _name, _value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
    if hasattr(socket, _name):  # Linux; other systems have others
        KEEPALIVE.append((socket.IPPROTO_TCP, getattr(socket, _name), _value))


class OtherProtocol(Exception):
    """The server serves another model by now, which looks at other frames."""


class RemoteReward:
    """A reward model behind `roboreward serve` as a `RewardModel`.

    Of a recording only those frames are sent that the served model looks at, as the server tells at
    the first contact. Clips stay here until their score has arrived: when the network or the server goes
    away, the request is sent again until patience ends. Asking twice does no harm, as scoring changes
    nothing.

    Args:
        url: Address of the server, `http://HOST:PORT`.
        token: What the server wants to see; it appears nowhere else.
        timeout_s: Longest time for one answer in [s], the waiting in the server's queue included.
        connect_timeout_s: Longest time to reach the server in [s].
        patience: How long to try, once the server has answered for the first time.
        encoding: `raw`, or `png` for a slow network; neither changes a pixel.
        max_bytes: Most bytes of frames in one request; more clips go in several. The server may take fewer.
        max_clips: Most clips in one request; the server may take fewer.

    Raises:
        InvalidSetting: An invalid address or token.
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
            raise InvalidSetting(
                f"max_clips must be in 1..{MAX_CLIPS}, and max_bytes at least 1; got {max_clips} and {max_bytes}."
            )
        self.url = check_url(url)
        self._token = None if token is None else check_key(token, "the token")
        self._timeout_s = timeout_s
        self._patience = patience
        self._encoding: Encoding = encoding
        self._max_bytes = max_bytes
        self._max_clips = max_clips
        self._server_bytes: float = math.inf
        self._server_clips: float = math.inf
        self._connected = False
        self.protocol: VideoProtocol | None = None
        self._client = httpx.Client(
            base_url=self.url,
            headers={} if token is None else {"authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(timeout_s, connect=connect_timeout_s),
            # Without TLS there is nothing to verify, and loading all certificates takes a while.
            transport=httpx.HTTPTransport(
                verify=self.url.startswith("https:"), socket_options=KEEPALIVE, trust_env=False
            ),
            # The address is meant as it stands: neither a proxy nor another server sees the frames.
            trust_env=False,
            follow_redirects=False,
        )

    def connect(self) -> None:
        """Make sure that a server answers, and learn which frames its model looks at.

        `score` does it by itself the first time.

        Raises:
            RewardModelFailure: Nobody answers within seconds, or something else than our server.
        """
        try:
            report = self.health()
        except NoAnswer as error:
            raise NoAnswer(
                f"No server answers at {self.url}. Check the address, and that `roboreward serve` runs "
                f"there. {error}"
            ) from error
        try:
            self.protocol = unpack_protocol(report.get("protocol"))
            self._server_clips = _limit(report, "max_clips", 1)
            self._server_bytes = _limit(report, "max_mib", 1 << 20)
        except InvalidMessage as error:
            raise RewardModelFailure(
                f"Cannot understand the server at {self.url}: {error}"
            ) from error
        self._connected = True

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Have clips scored; same order, same length.

        Raises:
            InvalidClip: The model cannot score the only clip.
            RewardModelFailure: The server refused the only clip, its model failed, or nothing was heard
                for too long.
            PartialScores: Some of several clips got no score; the others are in its `outcomes`.
        """
        if not clips:
            return []
        if not self._connected:
            self.connect()
        return scores_or_raise(self._outcomes(clips))

    def health(self) -> Mapping[str, Any]:
        """Ask the server for its model, its queue and what it has done.

        Raises:
            RewardModelFailure: No answer, or one that makes no sense.
        """
        patience = self._patience if self._connected else FIRST_CONTACT
        timeout_s = self._timeout_s if self._connected else min(FIRST_TIMEOUT_S, self._timeout_s)

        def send() -> object:
            answer = self._send("GET", "/health", timeout_s=timeout_s)
            try:
                return json.loads(answer)
            except (ValueError, RecursionError) as error:
                raise Transient(f"an answer that is not JSON: {error}") from error

        report = patience.retry(send, self.url)
        if not isinstance(report, dict) or "status" not in report:
            raise RewardModelFailure(
                f"Something else than `roboreward serve` answers at {self.url}. Check the address."
            )
        return report

    def close(self) -> None:
        """Close the connections; a reward model that is closed cannot score."""
        self._client.close()

    def _outcomes(self, clips: Sequence[Clip]) -> list[ScoreOrError]:
        outcomes: dict[int, ScoreOrError] = {}
        wanted: dict[int, Clip] = {}
        for i, clip in enumerate(clips):
            try:
                check_length(clip.task)
                wanted[i] = self._chosen_frames(clip)
            except InvalidClip as error:
                outcomes[i] = error
        silent: NoAnswer | None = None
        for batch in self._batches(wanted):
            whole = [clips[i] for i in batch]
            try:
                # Where nobody answered for two minutes, nobody will for the next batch.
                found = self._score(whole, [wanted[i] for i in batch]) if silent is None else silent
            except RoboRewardError as error:
                found, silent = error, error if isinstance(error, NoAnswer) else None
            each = found if isinstance(found, list) else [found] * len(batch)
            outcomes.update(zip(batch, each, strict=True))
        return [outcomes[i] for i in range(len(clips))]

    def _chosen_frames(self, clip: Clip) -> Clip:
        """Leave only the frames that the served model looks at, with their places in the recording."""
        if self.protocol is None:
            return clip
        chosen = sample_clip(clip, self.protocol)
        return Clip(chosen.frames, clip.task, clip.fps, chosen.indices, chosen.total)

    def _batches(self, clips: Mapping[int, Clip]) -> Iterator[list[int]]:
        batch: list[int] = []
        size, around = 0, REQUEST_HEADER_BYTES
        for i, clip in clips.items():
            pixels, more = clip.frames.nbytes, overhead(clip)
            if batch and (
                size + pixels > self._max_bytes
                or size + pixels + around + more > self._server_bytes
                or len(batch) >= min(self._max_clips, self._server_clips)
            ):
                yield batch
                batch, size, around = [], 0, REQUEST_HEADER_BYTES
            batch.append(i)
            size += pixels
            around += more
        if batch:
            yield batch

    def _score(self, whole: Sequence[Clip], chosen: Sequence[Clip]) -> list[ScoreOrError]:
        """Send the chosen frames; choose again from the whole clips if the server has another model now."""
        for clips in (chosen, None):
            body = pack_clips(
                clips or [self._chosen_frames(clip) for clip in whole],
                self._encoding,
                self.protocol,
            )
            try:
                answer = self._patience.retry(
                    lambda body=body: self._send("POST", "/v1/score", body), self.url
                )
                return unpack_outcomes(answer, len(whole))
            except OtherProtocol:
                self.connect()
            except InvalidMessage as error:
                raise RewardModelFailure(
                    f"The answer of {self.url} holds no scores: {error}"
                ) from error
        raise RewardModelFailure(
            f"The server at {self.url} changes its model all the time: several servers behind one address "
            "must serve the same one."
        )

    def _send(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float | None = None
    ) -> bytes:
        """Send one request and return the body of a good answer."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        headers = {} if body is None else {"content-type": MEDIA_TYPE}
        timeout = httpx.Timeout(
            timeout_s, connect=min(self._client.timeout.connect or timeout_s, timeout_s)
        )
        try:
            with self._client.stream(
                method, path, content=body, headers=headers, timeout=timeout
            ) as response:
                answer = self._read(response, deadline)
        except httpx.HTTPError as error:  # refused and lost connections and time-outs
            said = without(self._token, str(error))
            unanswered = isinstance(error, httpx.ReadTimeout)
            raise Transient(f"{type(error).__name__}: {said}", unanswered=unanswered) from error
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
                    f"The answer of {self.url} has more than {MAX_ANSWER_BYTES} bytes. "
                    "Check that `roboreward serve` listens there."
                )
        return bytes(answer)

    def _explain(self, response: httpx.Response, answer: bytes) -> Exception:
        """Turn an error status into one that is worth another request, or one that says what to do."""
        status = response.status_code
        kind, message = _read_error(answer)
        message = without(self._token, message)
        if kind == "InvalidClip":
            return InvalidClip(message)
        if kind == "OtherProtocol":
            return OtherProtocol(message)
        if kind in ("RewardModelFailure", "TooLarge", "InvalidToken", "InvalidMessage"):
            return RewardModelFailure(f"The server at {self.url} says: {message}")
        if status in TRANSIENT_STATUS:
            after = retry_after_s(response.headers.get("retry-after"))
            return Transient(f"status {status} {message}".strip(), after)
        return RewardModelFailure(
            f"{self.url} answered with status {status} {message}".strip()
            + ". Check that `roboreward serve` listens there."
        )


def overhead(clip: Clip) -> int:
    """Most bytes that a clip takes in a request besides its pixels: its entry in the header, and PNG of noise."""
    indices = None if clip.indices is None else np.asarray(clip.indices).tolist()
    entry = 2 * len(json.dumps([clip.task, indices])) + 512  # it is JSON in a string of JSON
    frames, height = clip.frames.shape[:2]
    return entry + frames * (128 + height) + clip.frames.nbytes // 1000


def _limit(report: Mapping[str, Any], name: str, unit: int) -> float:
    """Read a limit of the server; older ones do not tell theirs."""
    value = report.get(name, math.inf)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidMessage(f"{name} in /health must be a number above 0, got {value!r}.")
    return value * unit


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
    """Make `remote:http://HOST:PORT`, with the token in `ROBOREWARD_TOKEN` if there is one.

    `ROBOREWARD_ENCODING=png` sends smaller requests without changing a pixel.

    Raises:
        InvalidSetting: An invalid address or token.
        RewardModelFailure: No server answers there within seconds.
    """
    encoding = os.environ.get("ROBOREWARD_ENCODING") or "raw"
    if encoding not in ENCODINGS:
        raise UnknownName("encoding", encoding, ENCODINGS)
    remote = RemoteReward(argument, token=find_key(TOKEN_VARIABLE), encoding=encoding)
    try:
        remote.connect()
    except RoboRewardError:
        remote.close()
        raise
    return remote
