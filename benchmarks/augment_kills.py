"""Kill an augmentation whose models are behind a server, again and again, and count what is paid for twice.

Every answer of the server holds a number. After each kill the cache is opened and the numbers in it are read: an answer
that was there and is asked for again was paid for twice. An answer that was sent and is in no cache was under way when the
process died; nothing on this side can save it.
"""

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from reward_models.augment.models import AnswerCache

PLAN = {str(level): f"failure {level}" for level in (1, 2, 3, 4)}
OBJECTS = ["duck", "block", "towel", "plate", "left drawer", "right drawer", "gripper"]
TASKS = (
    "Lift the gripper",
    "Move the {0} beside the gripper",
    "Turn the {0} over",
    "Push the {0} gently",
)
DELAY_S = 0.02


class QuietServer(ThreadingHTTPServer):
    """A client that was killed leaves a broken connection: that is what is measured here."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


class PaidServer:
    """Plays every role over OpenAI's chat API, and remembers every answer."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answered: list[str] = []
        """Hash of the request of each answer, in order: its place is the number in the answer."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(DELAY_S)
                reply = server.reply(body)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True

    def reply(self, body: bytes) -> bytes:
        """Answer one request."""
        prompt = json.loads(body)["messages"][0]["content"][0]["text"]
        with self.lock:
            number = len(self.answered)
            self.answered.append(sha256(body).hexdigest())
        text = f"<think>#{number}#</think>\n{_answer(prompt)}"
        message = {"role": "assistant", "content": text, "refusal": None}
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({"model": "fake", "choices": [choice], "usage": usage}).encode()


def _answer(prompt: str) -> str:
    if prompt.startswith("Correct grammar"):
        return prompt.rsplit("Instruction: ", 1)[1]
    if prompt.startswith("A video shows a robot"):
        return json.dumps(PLAN)
    if prompt.startswith("Write one new"):
        level = int(prompt.split("reached exactly level ")[1][0])
        original = prompt.split('fulfils the instruction "')[1].split('"')[0].lower()
        thing = next((o for o in ("duck", "block", "drawer") if o in original), "drawers")
        return TASKS[level - 1].format(thing)
    if "Claim: the video" in prompt:
        return "ANSWER: TRUE"
    seen = {"objects": OBJECTS, "initial": "a table", "actions": "it moves", "final": "a table"}
    return json.dumps({**seen, "done_at_start": []})


@contextmanager
def running() -> Generator[PaidServer, None, None]:
    """Run the server on a thread."""
    server = PaidServer()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def kept_numbers(folder: Path) -> set[int]:
    """Numbers of the answers that a cache holds."""
    cache = AnswerCache(folder)
    texts = [cache.get(key) or "" for key in cache.keys()]  # noqa: SIM118 - no dictionary
    cache.close()
    return {int(text.split("#")[1]) for text in texts}


def kill_and_resume(source: Path, out: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Run until done with `kills` kills in between; what was paid for twice, and what was lost on its way."""
    shutil.rmtree(out, ignore_errors=True)
    rng = random.Random(seed)
    killed = twice = 0
    lost: set[int] = set()
    with running() as server:
        url = f"http://127.0.0.1:{server.http.server_address[1]}/v1"
        roles = ("standardiser", "describer", "planner", "proposer", "verifier")
        command = [
            sys.executable,
            "-m",
            "reward_models.augment.run",
            f"--source=simulator:{source}",
        ]
        command += [f"--out={out}", *(f"--roles.{role}=openai:fake@{url}" for role in roles)]
        while True:
            before = len(server.answered)
            kept = kept_numbers(out / "cache") if (out / "cache").exists() else set()
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            wanted = before + rng.randint(10, 60)
            while killed < kills and process.poll() is None and len(server.answered) < wanted:
                time.sleep(0.002)
            if killed < kills and process.poll() is None:
                time.sleep(rng.uniform(0, 0.05))
                process.kill()
                killed += 1
            status = process.wait()
            requests = server.answered
            paid = {requests[number] for number in kept}
            twice += sum(request in paid for request in requests[before:])
            now = kept_numbers(out / "cache")
            lost |= set(range(before, len(requests))) - now
            if status == 0:
                break
            if status > 0:
                raise SystemExit(f"The augmentation ended with status {status}.")
    return {
        "kills": killed,
        "requests": len(server.answered),
        "resume_paid_twice": twice,
        "answers_under_way_at_a_kill": len(lost),
    }
