"""Every way in which a model behind a server can fail ends in an error or an unreadable score, never in a number.

The lists below are the list: docs/faults.md shows them, and a test holds the two together.
"""

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.judges.api_judge import ApiSettings
from reward_models.judges.openai_compatible import OPENAI, VLLM, Dialect, OpenAICompatibleJudge
from reward_models.net.budget import Budget
from reward_models.net.retries import Patience
from reward_models.serving import remote as remote_module
from reward_models.serving.remote import RemoteReward
from reward_models.serving.wire import MEDIA_TYPE, pack_clips
from roboreward_gym.errors import BudgetExhausted, InvalidClip, RewardModelFailure
from roboreward_gym.scorer import Scorer
from roboreward_gym.types import Clip, ProgressScore
from tests.fake_api import Reply, Request, a_clip, api_error, completion, fake_server
from tests.serving import SERVER, HashReward, Served, address_in, server_process, serving

DOCS = Path(__file__).resolve().parents[1] / "docs" / "faults.md"
TWICE = Patience(attempts=2, first_wait_s=0.001, longest_wait_s=0.002, give_up_after_s=30.0)
TOKEN = "0123456789abcdef"

SENT_AGAIN = "sent again, then `RewardModelFailure`"
FAILS = "`RewardModelFailure` at once"
UNREADABLE = "unreadable: level None"
BUDGET = "`BudgetExhausted`, nothing is sent"
INVALID_CLIP = "`InvalidClip`"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, and what must come of it."""

    name: str
    outcome: str
    reply: Any
    dialect: Dialect = OPENAI
    budget: Callable[[], Budget] = Budget


def text(answer: str | None, **message: object) -> Reply:
    return Reply(completion(answer, **message))  # type: ignore[arg-type]


def token(text: str, alternatives: dict[str, Any]) -> Reply:
    return Reply(completion(text, [(text, alternatives)]))


def status(code: int, message: str = "no", error: str | None = None, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(api_error(message, error), status=code, headers=named)


def usd(limit: float) -> Callable[[], Budget]:
    return lambda: Budget(max_cost_usd=limit, usd_per_million_tokens=(1.0, 1.0))


HTML = {"content-type": "text/html"}
PAGE = b"<html><body>Please log in</body></html>"

API_FAULTS = [
    Fault("no answer in time", SENT_AGAIN, Reply(completion("ANSWER: 5"), delay_s=0.6)),
    Fault("connection refused", SENT_AGAIN, None),
    Fault("connection closed without an answer", SENT_AGAIN, Reply(hang_up=True)),
    Fault("answer cut off by a lost connection", SENT_AGAIN, Reply(completion("ANSWER: 5"), sent=60)),
    Fault("429, too many requests", SENT_AGAIN, status(429, retry_after="0.01")),
    Fault("429, come back in an hour", FAILS, status(429, retry_after="3600")),
    Fault("429, no credit left", FAILS, status(429, "quota", "insufficient_quota")),
    Fault("408, request timeout", SENT_AGAIN, status(408)),
    Fault("500, internal error", SENT_AGAIN, status(500)),
    Fault("502 from a proxy, a page of HTML", SENT_AGAIN, Reply(PAGE, status=502, headers=HTML)),
    Fault("503, overloaded", SENT_AGAIN, status(503)),
    Fault("400, bad request", FAILS, status(400)),
    Fault("401, wrong key", FAILS, status(401)),
    Fault("403, key without permission", FAILS, status(403)),
    Fault("404, unknown model", FAILS, status(404, "The model `a-model` does not exist", "model_not_found")),
    Fault("413, request too large", FAILS, status(413)),
    Fault("200 with a page of HTML", SENT_AGAIN, Reply(PAGE, headers=HTML)),
    Fault("200 with nothing in it", SENT_AGAIN, Reply(b"")),
    Fault("truncated JSON", SENT_AGAIN, Reply(json.dumps(completion("ANSWER: 5")).encode()[:-9])),
    Fault("JSON of another kind", SENT_AGAIN, Reply([1, 2, 3])),
    Fault("empty choices", SENT_AGAIN, Reply(completion("x") | {"choices": []})),
    Fault("choices that are a text", SENT_AGAIN, Reply({"choices": "ANSWER: 5"})),
    Fault("a choice without a message", SENT_AGAIN, Reply({"choices": [{"index": 0}]})),
    Fault("a refusal", UNREADABLE, text("ANSWER: 5", refusal="I cannot judge robots.")),
    Fault("content is null", UNREADABLE, text(None)),
    Fault("content is a list without text", UNREADABLE, Reply({"choices": [{"message": {"content": [5]}}]})),
    Fault("thoughts without an answer", UNREADABLE, text(None, reasoning_content="ANSWER: 5")),
    Fault("an empty answer", UNREADABLE, text("")),
    Fault("words only", UNREADABLE, text("The robot did well.")),
    Fault("two numbers", UNREADABLE, text("ANSWER: 4 or 5")),
    Fault("two answers", UNREADABLE, text("ANSWER: 2\nANSWER: 5")),
    Fault("level 0", UNREADABLE, text("ANSWER: 0")),
    Fault("level 7", UNREADABLE, text("ANSWER: 7")),
    Fault("level 4.5", UNREADABLE, text("ANSWER: 4.5")),
    Fault("a percentage", UNREADABLE, text("ANSWER: 5%")),
    Fault("the prompt repeated", UNREADABLE, text("in the format: ANSWER: <score>")),
    Fault("cut off by the token limit", UNREADABLE, text("ANSWER: 5", finish_reason="length")),
    Fault("cut off by a filter", UNREADABLE, text("ANSWER: 5", finish_reason="content_filter")),
    Fault("ended for a reason that nobody knows", UNREADABLE, text("ANSWER: 5", finish_reason="abort")),
    Fault("log-probability NaN", UNREADABLE, token("5", {"5": math.nan}), VLLM),
    Fault("log-probability above 0", UNREADABLE, token("5", {"5": 0.7}), VLLM),
    Fault("log-probabilities of more than 1 in all", UNREADABLE, token("5", {"5": -0.1, "4": -0.1}), VLLM),
    Fault("log-probability that is a text", UNREADABLE, token("5", {"5": "high"}), VLLM),
    Fault("no digit among the likely tokens", UNREADABLE, token("The", {"The": -0.01}), VLLM),
    Fault("a word more likely than all digits", UNREADABLE, token("5", {"5": -1.2, "The": -0.4}), VLLM),
    Fault("a server that ignores the forced start", UNREADABLE, token("ANSWER", {"ANSWER": -0.01}), VLLM),
    Fault("requests used up", BUDGET, text("ANSWER: 5"), budget=lambda: Budget(max_requests=0)),
    Fault("money used up", BUDGET, text("ANSWER: 5"), budget=usd(0.0)),
]  # fmt: skip


def scores(*entries: dict[str, Any], version: int = 2) -> Reply:
    whole = {"level": 5, "probabilities": None, "off_format": 0.0, "text": "", "manifest": {}}
    return Reply({"version": version, "scores": [{**whole, **entry} for entry in entries]})


def said(code: int, kind: str) -> Reply:
    return Reply({"error": {"type": kind, "message": "so it is"}}, status=code)


REMOTE_FAULTS = [
    Fault("no answer in time", SENT_AGAIN, Reply(b"", delay_s=0.6)),
    Fault("an answer that drips in", SENT_AGAIN, Reply(scores({}).body, drip_s=0.05)),
    Fault("connection refused", SENT_AGAIN, None),
    Fault("connection closed without an answer", SENT_AGAIN, Reply(hang_up=True)),
    Fault("answer cut off by a lost connection", SENT_AGAIN, Reply(scores({}).body, sent=30)),
    Fault("500 from a proxy", SENT_AGAIN, Reply(PAGE, status=500, headers=HTML)),
    Fault("503, queue full", SENT_AGAIN, Reply(said(503, "QueueFull").body, 503, {"retry-after": "0.01"})),
    Fault("503, come back in an hour", FAILS, Reply(b"", 503, {"retry-after": "3600"})),
    Fault("error that is not JSON", SENT_AGAIN, Reply(b"{", status=503)),
    Fault("401, wrong token", FAILS, said(401, "InvalidToken")),
    Fault("404, another server", FAILS, Reply(PAGE, status=404, headers=HTML)),
    Fault("413, request too large", FAILS, said(413, "TooLarge")),
    Fault("a redirect to another server", FAILS, Reply(b"", 307, {"location": "http://127.0.0.1:9/"})),
    Fault("the model failed", FAILS, said(500, "RewardModelFailure")),
    Fault("the model refuses the clip", INVALID_CLIP, said(422, "InvalidClip")),
    Fault("200 with a page of HTML", FAILS, Reply(PAGE, headers=HTML)),
    Fault("truncated JSON", FAILS, Reply(json.dumps(scores({}).body).encode()[:-5])),
    Fault("another version of the format", FAILS, scores({}, version=1)),
    Fault("no score", FAILS, scores()),
    Fault("two scores for one clip", FAILS, scores({}, {})),
    Fault("level 0", FAILS, scores({"level": 0})),
    Fault("level 7", FAILS, scores({"level": 7})),
    Fault("probabilities NaN", FAILS, scores({"probabilities": [math.nan] * 5})),
    Fault("probabilities of more than 1 in all", FAILS, scores({"probabilities": [0.9] * 5})),
    Fault("an answer without end", FAILS, Reply(b" " * 5000)),
    Fault("level None", UNREADABLE, scores({"level": None})),
]  # fmt: skip


def outcome_of(score: Callable[[], list[ProgressScore]], requests: list[Any]) -> str:
    """Put what happened in the words of the lists."""
    try:
        (only,) = score()
    except BudgetExhausted:
        return BUDGET if not requests else "sent, then `BudgetExhausted`"
    except InvalidClip:
        return INVALID_CLIP
    except RewardModelFailure as failure:
        return SENT_AGAIN if "last of 2 requests" in str(failure) else FAILS
    return UNREADABLE if only.level is None else f"SILENT REWARD {only.level}"


@pytest.mark.parametrize("fault", API_FAULTS, ids=lambda fault: fault.name)
def test_an_api_that_fails_gives_no_reward(fault: Fault) -> None:
    with fake_server(fault.reply or Reply()) as server:
        url = server.url if fault.reply else "http://127.0.0.1:1"
        judge = OpenAICompatibleJudge(
            "a-model", api_key=TOKEN, base_url=f"{url}/v1", dialect=fault.dialect,
            settings=ApiSettings(
                timeout_s=0.3 if "in time" in fault.name else 20.0,
                patience=TWICE, budget=fault.budget(),
            ),
        )  # fmt: skip
        assert outcome_of(lambda: judge.score([a_clip()]), server.requests) == fault.outcome
        judge.close()
    if fault.outcome == SENT_AGAIN and fault.reply:
        assert len(server.requests) == 2


def after_contact(reply: Reply) -> Callable[[Request], Reply]:
    """Tell clients that there is a server, and then fail."""
    about = Reply({"status": "ok", "protocol": None})
    return lambda request: about if request.path == "/health" else reply


@pytest.mark.parametrize("fault", REMOTE_FAULTS, ids=lambda fault: fault.name)
def test_a_server_that_fails_gives_no_reward(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "MAX_ANSWER_BYTES", 4000)
    monkeypatch.setattr(remote_module, "FIRST_CONTACT", TWICE)
    slow = fault.name in ("no answer in time", "an answer that drips in")
    with fake_server(after_contact(fault.reply or Reply())) as server:
        url = server.url if fault.reply else "http://127.0.0.1:1"
        remote = RemoteReward(url, timeout_s=0.3 if slow else 20.0, patience=TWICE, token=TOKEN)
        assert outcome_of(lambda: remote.score([a_clip()]), server.requests) == fault.outcome
        remote.close()


@pytest.mark.parametrize("policy", ["raise", "nan"])
def test_a_failing_server_reaches_the_wrapper_as_a_failure(policy: str) -> None:
    with fake_server(after_contact(Reply(hang_up=True))) as server:
        remote = RemoteReward(server.url, patience=TWICE)
        scorer = Scorer(remote, policy)
        (result,) = scorer.submit([a_clip()]).result()
        if policy == "raise":
            assert isinstance(result, RewardModelFailure)
        else:
            assert isinstance(result, ProgressScore)
            assert math.isnan(result.expected)
        remote.close()


def test_a_server_that_is_killed_in_the_middle_is_a_failure() -> None:
    with server_process(*SERVER, "--model", "random", "--window-ms", "60000") as (server, line):
        remote = RemoteReward(address_in(line), patience=TWICE)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(remote.score, [a_clip()])
            while not remote.health()["waiting"]:
                time.sleep(0.01)
            server.kill()
            with pytest.raises(RewardModelFailure, match="last of 2 requests"):
                asked.result(timeout=60)
    remote.close()


def http(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = "/v1/score",
    length: int | None = None,
    **headers: str | None,
) -> bytes:
    """One request, byte for byte; a header that is None is left out."""
    known = {"host": "x", "authorization": f"Bearer {TOKEN}", "content_type": MEDIA_TYPE}
    known |= {"content_length": str(len(body) if length is None else length), "connection": "close"}
    lines = [f"{method} {path} HTTP/1.1"]
    for name, value in {**known, **headers}.items():
        if value is not None:
            lines.append(f"{name.replace('_', '-')}: {value}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def lying(**changes: object) -> bytes:
    """A message whose header says something else about its clip."""
    packed = pack_clips([a_clip()])
    size = int.from_bytes(packed[:8], "little")
    header = json.loads(packed[8 : 8 + size])
    clips = json.loads(header["__metadata__"]["clips"])
    header["__metadata__"]["clips"] = json.dumps([clips[0] | changes])
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + packed[8 + size :]


GOOD = pack_clips([a_clip()])
CHUNKED = {"content_length": None, "transfer_encoding": "chunked"}
ENDLESS = b"".join(b"8000\r\n" + bytes(0x8000) + b"\r\n" for _ in range(40))
NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"

SERVE_FAULTS = [
    Fault("no token", "status 401", http(GOOD, authorization=None)),
    Fault("wrong token", "status 401", http(GOOD, authorization="Bearer 0123456789abcdeg")),
    Fault("half a token", "status 401", http(GOOD, authorization="Bearer 01234567")),
    Fault("token in another scheme", "status 401", http(GOOD, authorization=f"Basic {TOKEN}")),
    Fault("health without a token", "status 401", http(method="GET", path="/health", authorization=None)),
    Fault("another path", "status 404", http(GOOD, path="/v2/score")),
    Fault("another method", "status 405", http(method="GET")),
    Fault("wrong content type", "status 415", http(GOOD, content_type="application/json")),
    Fault("no content type", "status 415", http(GOOD, content_type=None)),
    Fault("a body that says it is too large", "status 413", http(GOOD, length=10**9)),
    Fault("a body that turns out too large", "status 413", http(ENDLESS, **CHUNKED)),
    Fault("a body that stops half-way", "status 408", http(GOOD[:50], length=len(GOOD))),
    Fault("no body", "status 400", http(b"")),
    Fault("a NumPy file with objects", "status 400", http(NPY)),
    Fault("a corrupt header", "status 400", http(GOOD[:8] + b"x" + GOOD[9:])),
    Fault("a corrupt frame", "status 400", http(GOOD[:-1] + bytes([GOOD[-1] ^ 1]))),
    Fault("frames cut off", "status 400", http(GOOD[:-10])),
    Fault("a shape that lies", "status 400", http(lying(shape=[6, 32, 33, 3]))),
    Fault("a shape of a terabyte", "status 400", http(lying(shape=[10**6, 10**3, 10**3, 3]))),
    Fault("a frame rate of 0", "status 422", http(lying(fps=0.0))),
    Fault("an empty task", "status 422", http(lying(task=" "))),
    Fault("a single frame", "status 422", http(pack_clips([a_clip(frames=1)]))),
    Fault("the model raises", "status 500", http(pack_clips([a_clip(task="raise")]))),
    Fault("the model has a bug", "status 500", http(pack_clips([a_clip(task="bug")]))),
    Fault("the model gives NaN", "status 500", http(pack_clips([a_clip(task="nan")]))),
    Fault("bytes that are not HTTP", "status 400", b"\x16\x03\x01\x02\x00hello\r\n\r\n"),
]  # fmt: skip


def misbehave(clips: Sequence[Clip]) -> None:
    for clip in clips:
        if clip.task == "raise":
            raise RuntimeError("out of memory")
        if clip.task == "bug":
            raise TypeError("unsupported operand")
        if clip.task == "nan":
            ProgressScore(level=3, probabilities=np.full(5, np.nan))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(
        HashReward(misbehave), token=TOKEN, window_ms=0.0, max_mib=1.0, body_timeout_s=0.5
    ) as served:
        yield served


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[RemoteReward]:
    remote = served.client(token=TOKEN)
    yield remote
    remote.close()


def exchange(port: int, sent: bytes) -> bytes:
    """Send bytes as they are and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        # A request that is refused before all of it is sent: the answer is there already.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


@pytest.mark.parametrize("fault", SERVE_FAULTS, ids=lambda fault: fault.name)
def test_a_bad_request_is_refused_and_the_next_one_scored(
    served: Served, client: RemoteReward, fault: Fault
) -> None:
    answer = exchange(served.port, fault.reply)
    assert answer.startswith(f"HTTP/1.1 {fault.outcome.removeprefix('status ')} ".encode()), answer
    assert b'"scores"' not in answer
    assert TOKEN.encode() not in answer
    (score,) = client.score([a_clip()])
    assert score.level == HashReward().one(a_clip()).level


@pytest.mark.parametrize("sent", [b"", b"POST /v1/sc", http(GOOD)[:100], http(GOOD)[:-5]])
def test_a_client_that_hangs_up_harms_nobody(
    served: Served, client: RemoteReward, sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(sent)
    assert len(client.score([a_clip()])) == 1


def test_a_full_queue_asks_clients_to_come_back() -> None:
    entered, leave = threading.Event(), threading.Event()

    def block(clips: Sequence[Clip]) -> None:
        entered.set()
        leave.wait(60)

    with serving(HashReward(block), max_waiting=2, window_ms=0.0) as served:
        first = served.client()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(first.score, [a_clip(seed=1), a_clip(seed=2)])
            assert entered.wait(60)
            full = exchange(served.port, http(pack_clips([a_clip()])))
            never = exchange(served.port, http(pack_clips([a_clip()] * 3)))
            leave.set()
            assert len(waiting.result()) == 2
        first.close()
    assert full.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in full
    assert never.startswith(b"HTTP/1.1 400 ")
    assert b"at most 2 clips" in never


def test_there_are_enough_faults_and_none_is_silent() -> None:
    outcomes = [fault.outcome for fault in API_FAULTS + REMOTE_FAULTS + SERVE_FAULTS]
    assert len(outcomes) >= 30
    others = set(outcomes) - {SENT_AGAIN, FAILS, UNREADABLE, BUDGET, INVALID_CLIP}
    assert all(outcome.startswith(("status 4", "status 5")) for outcome in others)


def table(faults: Sequence[Fault]) -> str:
    rows = ["| what goes wrong | what comes of it |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| {fault.name} | {fault.outcome} |" for fault in faults)])


def test_the_documented_lists_are_these() -> None:
    documented = DOCS.read_text(encoding="utf-8")
    for faults in (API_FAULTS, REMOTE_FAULTS, SERVE_FAULTS):
        assert table(faults) in documented, f"docs/faults.md should contain:\n{table(faults)}"
