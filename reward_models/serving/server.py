"""Serve a reward model to other machines over HTTP: `roboreward serve --model roboreward-8b`.

The model runs in one thread of one process, and clips of requests that arrive together are scored together. The format
of the messages is `reward_models.serving.wire`; the client is `reward_models.serving.remote`, and its name `remote:http://HOST:PORT`.
docs/serving.md says how to run this, and when to take vLLM instead.
"""

import asyncio
import dataclasses
import hmac
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

import tyro
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from reward_models.model_options import options_into_name
from reward_models.net.credentials import TOKEN_VARIABLE
from reward_models.protocol import frames
from reward_models.serving.batcher import Batcher
from reward_models.serving.config import ServeConfig, bind, read_token
from reward_models.serving.room import QueueFull, Room
from reward_models.serving.wire import (
    MAX_CLIPS,
    MEDIA_TYPE,
    VERSION,
    pack_error,
    pack_outcomes,
    pack_protocol,
    unpack_clips,
)
from roboreward_gym._cli import INTERRUPTED, run_program
from roboreward_gym.errors import InvalidClip, InvalidMessage, RoboRewardError
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import RewardModel

logger = logging.getLogger(__name__)


@runtime_checkable
class BatchedModel(Protocol):
    """A local model that splits what it is asked into forward passes."""

    batch_size: int


@runtime_checkable
class SamplingModel(Protocol):
    """A model that looks at few frames of a clip, whose choice depends on the clip's length and rate only."""

    protocol: frames.VideoProtocol


class _Refusal(Exception):
    """A request that is answered with an error before anything is scored."""

    def __init__(self, status: int, message: str, *, kind: str = "InvalidMessage") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


def create_app(model: RewardModel, config: ServeConfig, token: str | None = None) -> FastAPI:
    """Make the application: `POST /v1/score` and `GET /health`.

    Args:
        model: What scores.
        config: Limits.
        token: What clients must send as a bearer token; None to let everybody ask.
    """
    if isinstance(model, BatchedModel):
        model.batch_size = config.forward_batch
    service = Service(model, config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with service.batcher:
            yield
        service.decoder.shutdown(wait=False)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service

    @app.post("/v1/score")
    async def score(request: Request) -> Response:
        return await _answer(request, token, lambda: service.score(request))

    @app.get("/health")
    async def health(request: Request) -> Response:
        return await _answer(request, token, service.health)

    return app


class Service:
    """A reward model with its queue, and the two things that clients may ask.

    Args:
        model: What scores.
        config: Limits.
    """

    def __init__(self, model: RewardModel, config: ServeConfig) -> None:
        self.batcher = Batcher(
            model,
            window_s=config.window_ms / 1000,
            max_batch=config.max_batch,
            max_waiting=config.max_waiting,
        )
        self.room = Room(int(config.max_waiting_mib * (1 << 20)))
        # A thread of its own: while a large body is decoded, the event loop answers others. One request at
        # a time, so that what decoding takes besides the room is bounded by that of one request.
        self.decoder = ThreadPoolExecutor(1, "decoder")
        self._config = config
        self._protocol = model.protocol if isinstance(model, SamplingModel) else None
        self._began = time.monotonic()

    async def health(self) -> Response:
        """Answer with the model, the frames that it looks at, the queue and what was done."""
        alive = self.batcher.alive
        status = {
            "status": "ok" if alive else "stopped",
            "model": self._config.model,
            "version": VERSION,
            "protocol": pack_protocol(self._protocol),
            "waiting": self.batcher.waiting,
            "waiting_bytes": self.room.used,
            "counts": dataclasses.asdict(self.batcher.counts),
            "max_bytes": self._config.max_bytes,
            "max_mib": self._config.max_mib,
            "max_clips": min(MAX_CLIPS, self._config.max_waiting),
            "up_s": round(time.monotonic() - self._began, 1),
        }
        return _json(200 if alive else 503, status)

    async def score(self, request: Request) -> Response:
        """Answer with a score for each clip, or why it has none; with an error if the only one has none."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != MEDIA_TYPE:
            raise _Refusal(415, f"The content type must be {MEDIA_TYPE}, got {content_type!r}.")
        limit = self._config.max_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise _Refusal(413, _too_large(limit, declared), kind="TooLarge")
        with self.room.hold(int(declared) if declared.isdecimal() else limit) as held:
            body = await self._receive(request)
            loop = asyncio.get_running_loop()
            asked = await loop.run_in_executor(self.decoder, unpack_clips, body, limit)
            del body
            if asked.protocol not in (None, self._protocol):
                message = (
                    "The client chose frames for another model. Ask for /health, and send again."
                )
                return _error(409, "OtherProtocol", message)
            held.resize(sum(clip.frames.nbytes for clip in asked.clips))
            found = await self.batcher.score(asked.clips, request.is_disconnected)
        if len(found) == 1 and isinstance(found[0], RoboRewardError):
            raise found[0]
        return Response(pack_outcomes(found), media_type="application/json")

    async def _receive(self, request: Request) -> bytes:
        """Read the body of a request."""
        timeout_s = self._config.body_timeout_s
        try:
            return await asyncio.wait_for(_read(request, self._config.max_bytes), timeout_s)
        except asyncio.TimeoutError:
            message = f"Only a part of the request arrived within {timeout_s} s. Send it again."
            raise _Refusal(408, message) from None
        except ClientDisconnect:
            raise _Refusal(400, "Only a part of the request arrived. Send it again.") from None


async def _answer(request: Request, token: str | None, act: Callable[[], Any]) -> Response:
    """Let in who has the token, and turn what goes wrong into an explicit answer."""
    try:
        _check_token(request, token)
        return await act()
    except _Refusal as refusal:
        # The rest of the request was not read: this connection is of no more use.
        headers = {"connection": "close"}
        if refusal.status == 401:
            headers["www-authenticate"] = "Bearer"
        return _error(refusal.status, refusal.kind, str(refusal), headers)
    except QueueFull:
        message = "The queue is full. Send the request again in a second."
        return _error(503, "QueueFull", message, {"retry-after": "1"})
    except InvalidMessage as error:
        return _error(400, "InvalidMessage", str(error))
    except RoboRewardError as error:
        if isinstance(error, InvalidClip):
            return _json(422, pack_error(error))
        logger.warning("No score: %s", error)
        return _json(500, pack_error(error))


def _check_token(request: Request, token: str | None) -> None:
    if token is None:
        return
    sent = request.headers.get("authorization", "")
    # In constant time: the time of the answer does not tell how much of a guess was right.
    if not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
        raise _Refusal(
            401,
            f"The request carries {'the wrong' if sent else 'no'} token. "
            f"Set {TOKEN_VARIABLE} to the token that the server was started with.",
            kind="InvalidToken",
        )


async def _read(request: Request, limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise _Refusal(413, _too_large(limit, "more"), kind="TooLarge")
    return b"".join(chunks)


def _too_large(limit: int, got: str) -> str:
    return (
        f"A request may have at most {limit} bytes, got {got}. Send fewer clips at a time, or start "
        "the server with a larger --max-mib."
    )


def _error(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return _json(status, {"error": {"type": kind, "message": message}}, headers)


def _json(status: int, content: object, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, headers, media_type="application/json")


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or Ctrl-C; requests under way have `shutdown_s` to be finished."""
    config = options_into_name(
        tyro.cli(ServeConfig, args=argv, prog="roboreward serve", description=__doc__)
    )
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    token = read_token(config)
    # The port first: a large model takes minutes to load, and a taken port should show at once.
    with bind(config) as listener:
        app = create_app(load_reward_model(config.model), config, token)
        listener.listen(config.max_connections)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        sys.stdout.write(
            f"Serving {config.model} on {url} {'with' if token else 'without'} token; "
            f"clients name it remote:{url}\n"
        )
        sys.stdout.flush()
        # uvicorn raises the signal again when it has finished; SIGTERM is how a service ends well.
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            make_server(app, config).run(sockets=[listener])
        except KeyboardInterrupt:
            _leave_if_busy(app, INTERRUPTED)
            raise
        _leave_if_busy(app, 0)
    return 0


def _leave_if_busy(app: FastAPI, status: int) -> None:
    """End the process at once while the model computes: a thread cannot be stopped, only waited for."""
    if app.state.service.batcher.busy:
        logger.warning("The model still computes after --shutdown-s; what it computes is dropped.")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)


def make_server(app: FastAPI, config: ServeConfig) -> uvicorn.Server:
    """Return the server that runs the application."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="on",
            limit_concurrency=config.max_connections,
            timeout_graceful_shutdown=math.ceil(config.shutdown_s),
            server_header=False,
            http="h11",
            ws="none",
        )
    )


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
