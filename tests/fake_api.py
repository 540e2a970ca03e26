"""A small HTTP server that plays the APIs of LLM judges on loopback, and every way in which they break."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from roboreward_gym.types import Clip


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    body: object = b""
    """Sent as it is if bytes, else as JSON."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Before the answer."""
    sent: int | None = None
    """Send only so many bytes of the body and close the connection."""
    drip_s: float = 0.0
    """Between single bytes of the body."""
    hang_up: bool = False
    """Close the connection without a word."""
    before: Callable[[], object] = bool
    """Called before the answer, outside of the server's lock."""


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeServer:
    """Answers with the given replies in turn; the last one again and again."""

    def __init__(self, replies: Sequence[Reply] | Callable[[Request], Reply]) -> None:
        self._replies = replies
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.busy = 0
        self.busiest = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def reply_to(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if callable(self._replies):
                return self._replies(request)
            return self._replies[min(len(self.requests), len(self._replies)) - 1]

    def serve(self) -> None:
        self._http.serve_forever(poll_interval=0.01)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def count(self, change: int) -> None:
        with self._lock:
            self.busy += change
            self.busiest = max(self.busiest, self.busy)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

            def _answer(self, body: bytes) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                reply = server.reply_to(Request(self.path, headers, body))
                server.count(+1)
                try:
                    reply.before()
                    time.sleep(reply.delay_s)
                    if reply.hang_up:
                        self.close_connection = True
                    else:
                        self._send(reply)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True
                finally:
                    server.count(-1)

            def _send(self, reply: Reply) -> None:
                body = (
                    reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                )
                self.send_response(reply.status)
                headers = {"content-type": "application/json", "content-length": str(len(body))}
                for name, value in {**headers, **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.drip_s:
                    for i in range(len(body)):
                        self.wfile.write(body[i : i + 1])
                        self.wfile.flush()
                        time.sleep(reply.drip_s)
                    return
                self.wfile.write(body if reply.sent is None else body[: reply.sent])
                self.wfile.flush()
                self.close_connection = self.close_connection or reply.sent is not None

            def log_message(self, format: str, *args: object) -> None:
                """Keep the output of the tests clean."""

        return Handler


@contextmanager
def fake_server(*replies: Reply | Callable[[Request], Reply]) -> Iterator[FakeServer]:
    """Run a server that gives these replies, or those of one function."""
    first = replies[0]
    server = FakeServer(first if not isinstance(first, Reply) else replies)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(timeout=10)


def completion(
    content: str | None, logprobs: object = None, finish_reason: str = "stop", **message: object
) -> dict[str, Any]:
    """An answer of OpenAI's chat API; `logprobs` is a list of `(token, {alternative: log p})`."""
    entries = None
    if isinstance(logprobs, list):
        entries = [
            {
                "token": token,
                "logprob": alternatives.get(token, -9999.0),
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": t, "logprob": p, "bytes": list(t.encode())}
                    for t, p in alternatives.items()
                ],
            }
            for token, alternatives in logprobs
        ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served-model-2026",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None, **message},
                "logprobs": None if entries is None else {"content": entries, "refusal": None},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010},
    }


def api_error(message: str, code: str | None = None) -> dict[str, Any]:
    """An error of OpenAI's API."""
    return {"error": {"message": message, "type": "error", "param": None, "code": code}}


def a_clip(frames: int = 6, size: int = 32, task: str = "open the drawer", seed: int = 0) -> Clip:
    """A clip of noise: no two are alike."""
    rng = np.random.default_rng(seed)
    return Clip(rng.integers(0, 256, (frames, size, size, 3), dtype=np.uint8), task, 5.0)
