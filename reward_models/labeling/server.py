"""Let people rate robot episodes on a web page: `roboreward label FOLDER`.

Videos come from a data set (`--source KIND:PATH`), or from a run whose reward model is `human:FOLDER` on this machine or
`human:http://HOST:PORT` on another. People open the printed address, on a phone too, and rate by the keys 1 to 5. `--export` writes
what was rated as a data set in the published RoboReward layout.
"""

import dataclasses
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
import uvicorn
from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from tqdm import tqdm

from reward_models.data.example import Example, Skipped
from reward_models.data.sources import ReadOptions, read_source
from reward_models.labeling.access import TokenRequired
from reward_models.labeling.assignment import Assignment
from reward_models.labeling.export import export
from reward_models.labeling.folder import LabelFolder
from reward_models.net.credentials import TOKEN_VARIABLE
from reward_models.serving.config import bind, read_token
from reward_models.serving.wire import unpack_clips
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidClip, InvalidMessage, InvalidSetting

MAX_REQUEST_BYTES = 256 << 20


@dataclass(frozen=True)
class LabelConfig:
    """Which videos people rate, and where the page is."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of videos and ratings; it is made if it does not exist."""
    source: str | None = None
    """Data set whose videos are put into the folder first: a kind and a path, as docs/data.md lists them."""
    read: tyro.conf.OmitArgPrefixes[ReadOptions] = field(default_factory=ReadOptions)
    """How the data set is read."""
    limit: int | None = None
    """Most videos to take from the data set."""
    export: Path | None = None
    """Write what was rated as a data set into this folder, and show no page."""
    ratings_per_video: int = 1
    """Different people who rate each video."""
    seed: int = 0
    """Seed of the order in which people see the videos of a data set."""
    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own needs a token."""
    port: int = 8322
    """Port; 0 for any free one."""
    token_file: Path | None = None
    """File with the token of people and programs; otherwise `ROBOREWARD_TOKEN`, if set."""

    def __post_init__(self) -> None:
        if self.ratings_per_video < 1 or not 0 <= self.port <= 65535:
            raise InvalidSetting(
                "ratings_per_video must be at least 1, and port in 0..65535; got "
                f"{self.ratings_per_video} and {self.port}."
            )
        if self.limit is not None and self.limit < 1:
            raise InvalidSetting(f"limit must be at least 1, got {self.limit}.")


def create_app(assignment: Assignment, token: str | None = None) -> FastAPI:
    """Make the application: the pages, and for programs `POST /v1/clips`, `GET /v1/ratings` and `GET /health`.

    Args:
        assignment: Folder, and who sees what.
        token: What people and programs need; None to let everybody in.
    """
    # NiceGUI takes a second, which an export need not wait for.
    from reward_models.labeling.page import add_pages

    app, folder = FastAPI(docs_url=None, redoc_url=None, openapi_url=None), assignment.folder

    @app.post("/v1/clips")
    async def put(request: Request) -> Response:
        body = await _read(request)
        if body is None:
            return _refusal(
                413, f"A request may have at most {MAX_REQUEST_BYTES >> 20} MiB. Send fewer clips."
            )
        try:
            clips = (await run_in_threadpool(unpack_clips, body, MAX_REQUEST_BYTES)).clips
            ids = [await run_in_threadpool(folder.add_clip, clip) for clip in clips]
        except InvalidMessage as error:
            return _refusal(400, str(error))
        except InvalidClip as error:
            return _refusal(422, str(error))
        except OSError as error:
            return _refusal(507, str(error))
        return JSONResponse({"ids": ids})

    @app.get("/v1/ratings")
    def ratings(video: Annotated[list[str], Query()]) -> Response:
        try:
            found = folder.ratings_of(video)
        except OSError as error:
            return _refusal(500, str(error))
        rows = {name: [dataclasses.asdict(one) for one in given] for name, given in found.items()}
        return JSONResponse({"ratings": rows, "ratings_per_video": assignment.ratings_per_video})

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {
            "status": "ok",
            "model": "human",
            "videos": len(folder.videos()),
            "ratings": len(folder.ratings()),
        }

    add_pages(app, assignment)
    if token is not None:
        app.add_middleware(TokenRequired, token=token)
    return app


async def _read(request: Request) -> bytes | None:
    chunks, size = [], 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_REQUEST_BYTES:
            return None
    return b"".join(chunks)


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status)


def fill(folder: LabelFolder, config: LabelConfig) -> int:
    """Put the videos of the data set into the folder, and return how many it gave.

    What cannot be read is reported and left out.
    """
    if config.source is None:
        return 0
    count = 0
    with tqdm(unit=" videos", desc="reading", total=config.limit) as bar:
        for item in folder.add_examples(read_source(config.source, config.read)):
            if isinstance(item, Skipped):
                tqdm.write(f"Left out: {item.where}: {item.why}", file=sys.stderr)
            elif isinstance(item, Example):
                count += 1
                bar.update()
            if count == config.limit:
                break
    return count


def main(argv: list[str]) -> int:
    """Show the page until Ctrl-C, or export."""
    config = tyro.cli(LabelConfig, args=argv, prog="roboreward label", description=__doc__)
    folder = LabelFolder(config.folder)
    if config.export is not None:
        rows = export(folder, config.export)
        sys.stdout.write(f"{len(rows)} rated videos are in {config.export}.\n")
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    token = read_token(config)
    with bind(config) as listener:
        fill(folder, config)
        app = create_app(Assignment(folder, config.ratings_per_video, config.seed), token)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        people = f"{url}/?token=$" + TOKEN_VARIABLE if token else url
        listener.listen()  # before anybody is told where
        sys.stdout.write(
            f"People rate at {people}; programs name it human:{url}. Ctrl-C ends it; all ratings are saved.\n"
        )
        sys.stdout.flush()
        uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        ).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
