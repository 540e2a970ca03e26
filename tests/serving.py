"""Run the real server on a free port of loopback, in a thread or a process, with a reward model that costs nothing."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from reward_models.net.retries import Patience
from reward_models.serving.config import ServeConfig, bind
from reward_models.serving.remote import RemoteReward
from reward_models.serving.server import create_app, make_server
from roboreward_gym.errors import InvalidClip
from roboreward_gym.types import Clip, ProgressScore, RewardModel

QUICK = Patience(attempts=4, first_wait_s=0.01, longest_wait_s=0.05, give_up_after_s=20.0)


class HashReward:
    """Scores by a hash of the pixels: another clip has another score, in every bit of it."""

    def __init__(self, act: Callable[[Sequence[Clip]], None] | None = None) -> None:
        self._act = act
        self.batches: list[int] = []
        self.threads: set[int] = set()

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self.batches.append(len(clips))
        self.threads.add(threading.get_ident())
        if self._act is not None:
            self._act(clips)
        return [self.one(clip) for clip in clips]

    def one(self, clip: Clip) -> ProgressScore:
        if len(clip.frames) < 2:
            raise InvalidClip("A clip needs at least 2 frames, got 1.")
        asked = hashlib.sha256(clip.frames.tobytes() + f"{clip.task}{clip.fps!r}".encode())
        parts = np.frombuffer(asked.digest()[:20], "<u4").astype(np.float64) + 1
        p = parts / parts.sum()
        off_format = float(np.float64(asked.digest()[20]) / 3 / 256)
        manifest = {"model": "hash", "frames": list(clip.frames.shape), "fps": clip.fps}
        if clip.indices is not None:
            manifest |= {"indices": clip.indices.tolist(), "num_frames": clip.num_frames}
        level = int(p.argmax()) + 1
        return ProgressScore(level, p, off_format, f"ANSWER: {level} \N{SNOWMAN}", manifest)


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    url: str
    port: int

    def client(self, **settings: object) -> RemoteReward:
        return RemoteReward(self.url, **{"patience": QUICK, "timeout_s": 10.0, **settings})  # type: ignore[arg-type]


@contextmanager
def serving(
    reward_model: RewardModel, token: str | None = None, **settings: object
) -> Iterator[Served]:
    """Serve a reward model until the block ends."""
    config = ServeConfig(**{"port": 0, "shutdown_s": 5.0, **settings})  # type: ignore[arg-type]
    with bind(config) as listener:
        server = make_server(create_app(reward_model, config, token), config)
        listener.listen(64)
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)
        assert server.started
        try:
            yield Served(f"http://127.0.0.1:{port}", port)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


SERVER = ("-m", "reward_models.serving.server", "--port", "0")
"""`roboreward serve` as arguments of Python; those of the command follow."""


@contextmanager
def server_process(*arguments: str, **options: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server in a process of its own.

    Args:
        arguments: Those of Python, such as `SERVER`.
        options: Those of `subprocess.Popen`.

    Yields:
        The process, and the line in which it says where it listens.
    """
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline()


def address_in(line: str) -> str:
    """The address in the line in which a server says where it listens."""
    return line.rsplit("remote:", 1)[1].strip()
