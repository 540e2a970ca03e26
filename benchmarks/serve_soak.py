"""Sixteen clients send `roboreward serve` thousands of requests on loopback: `python -m benchmarks.serve_soak`.

Every score must be bit-exact that of the model in this process, and the server's memory must not grow.
"""

import itertools
import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from reward_models.net.credentials import TOKEN_VARIABLE
from reward_models.serving.remote import RemoteReward
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import Clip, ProgressScore

RESULTS = Path(__file__).parent / "results" / "serve_soak.json"


@dataclass(frozen=True)
class SoakConfig:
    """Which model is served, and how many requests it gets."""

    model: str = "roboreward-nano?abstain=never"
    """Reward model to serve."""
    requests: int = 5000
    """Requests in all."""
    clients: int = 16
    """Clients at the same time."""
    clips: int = 32
    """Distinct clips, of 2 to 8 frames and 32 to 64 pixels."""
    max_s: float = 3600.0
    """Stop earlier after so long, and report what was done by then."""
    seed: int = 0
    """Seed for the clips."""
    out: Path = RESULTS
    """Where to write the result, beside those of other models."""


@dataclass
class Tally:
    """What the clients found."""

    latencies_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_clips(config: SoakConfig) -> list[Clip]:
    """Make clips of noise: no two of them get the same score by chance."""
    rng = np.random.default_rng(config.seed)
    clips = []
    for i in range(config.clips):
        size = int(rng.choice([32, 48, 64]))
        frames = rng.integers(0, 256, (int(rng.integers(2, 9)), size, size, 3), dtype=np.uint8)
        clips.append(Clip(frames, f"put object {i} on the towel", 5.0))
    return clips


def same(got: ProgressScore, want: ProgressScore) -> bool:
    """Whether two scores agree in every bit."""
    p, q = got.probabilities, want.probabilities
    alike = p is q if p is None or q is None else p.tobytes() == q.astype(np.float64).tobytes()
    parts = ("level", "off_format", "text")
    return alike and all(getattr(got, part) == getattr(want, part) for part in parts)


@contextmanager
def serving(model: str, token: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run the server on a free port; yields its process and address."""
    command = [
        sys.executable,
        "-m",
        "reward_models.serving.server",
        "--model",
        model,
        "--port",
        "0",
    ]
    environment = {**os.environ, TOKEN_VARIABLE: token}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", server.stdout.readline())
        if found is None:
            raise SystemExit(f"The server did not start: exit status {server.wait()}")
        try:
            yield server, found[0]
        finally:
            server.terminate()
            server.wait(timeout=60)


def rss_mib(pid: int) -> float:
    """Memory of a process in [MiB]."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def send_requests(
    remote: RemoteReward,
    numbers: Iterator[int],
    clips: list[Clip],
    wanted: list[ProgressScore],
    tally: Tally,
    deadline: float,
) -> None:
    """Have one clip after the other scored until the numbers or the time run out."""
    for number in numbers:
        if time.monotonic() > deadline:
            return
        index = number % len(clips)
        began = time.monotonic()
        try:
            (score,) = remote.score([clips[index]])
        except RoboRewardError as error:
            with tally.lock:
                tally.errors.append(str(error))
            continue
        with tally.lock:
            tally.latencies_s.append(time.monotonic() - began)
            tally.wrong += not same(score, wanted[index])


def soak(config: SoakConfig) -> dict[str, Any]:
    """Run the clients against a fresh server and report."""
    token = secrets.token_hex(16)
    clips = make_clips(config)
    tally = Tally()
    with serving(config.model, token) as (server, url):
        # One clip at a time: what a wrapper in this process would get.
        model = load_reward_model(config.model)
        wanted = [model.score([clip])[0] for clip in clips]
        deadline = time.monotonic() + config.max_s
        numbers = iter(_Shared(config.requests))
        clients = [RemoteReward(url, token=token) for _ in range(config.clients)]
        threads = [
            threading.Thread(
                target=send_requests, args=(c, numbers, clips, wanted, tally, deadline)
            )
            for c in clients
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        memory = watch(server.pid, threads, tally, config.requests)
        spent = time.monotonic() - began
        report = clients[0].health()
        for client in clients:
            client.close()
    warm = memory[len(memory) // 10]
    return {
        "requests": len(tally.latencies_s),
        "clients": config.clients,
        "errors": len(tally.errors),
        "first_error": tally.errors[0] if tally.errors else None,
        "wrong_scores": tally.wrong,
        "seconds": round(spent, 1),
        "requests_per_s": round(len(tally.latencies_s) / spent, 2),
        "latency_p50_ms": round(1000 * statistics.median(tally.latencies_s), 1),
        "latency_p95_ms": round(1000 * float(np.quantile(tally.latencies_s, 0.95)), 1),
        "clips_per_batch": round(report["counts"]["clips"] / report["counts"]["batches"], 2),
        "rss_mib_start": round(memory[0], 1),
        "rss_mib_after_a_tenth": round(warm, 1),
        "rss_mib_end": round(memory[-1], 1),
        "server_exit_status": server.returncode,
    }


class _Shared:
    """Numbers that several threads draw from."""

    def __init__(self, count: int) -> None:
        self._numbers = itertools.count()
        self._count = count

    def __iter__(self) -> "_Shared":
        return self

    def __next__(self) -> int:
        # One call into C: no two threads get the same number.
        number = next(self._numbers)
        if number >= self._count:
            raise StopIteration
        return number


def watch(pid: int, threads: list[threading.Thread], tally: Tally, requests: int) -> list[float]:
    """Sample the memory of the server about a hundred times in equal parts of the work."""
    memory: list[float] = [rss_mib(pid)]
    printed = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.2)
        done = len(tally.latencies_s) + len(tally.errors)
        if done >= len(memory) * requests / 100:
            memory.append(rss_mib(pid))
        if time.monotonic() - printed > 10:
            printed = time.monotonic()
            found = f"{len(tally.errors)} errors, {tally.wrong} wrong"
            print(f"{done} of {requests}: {found}, {memory[-1]:.0f} MiB", flush=True)
    memory.append(rss_mib(pid))
    return memory


def main(config: SoakConfig) -> None:
    """Soak, print and save."""
    result = soak(config)
    saved = json.loads(config.out.read_text(encoding="utf-8")) if config.out.is_file() else {}
    saved[config.model] = result
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(tyro.cli(SoakConfig, description=__doc__))
