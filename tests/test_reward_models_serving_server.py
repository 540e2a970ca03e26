"""A reward model behind HTTP gives the very scores that it gives in process, and the server ends well."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from reward_models.net.retries import Patience
from reward_models.protocol.frames import VideoProtocol, sample_clip
from reward_models.serving import server as server_module
from reward_models.serving.config import ServeConfig, bind, read_token
from reward_models.serving.remote import RemoteReward
from reward_models.serving.server import main
from reward_models.serving.wire import MEDIA_TYPE, pack_clips
from roboreward_gym.errors import (
    InvalidClip,
    InvalidSetting,
    PartialScores,
    RewardModelFailure,
)
from roboreward_gym.registry import load_reward_model, release_reward_model
from roboreward_gym.scorer import outcomes
from roboreward_gym.types import Clip, ProgressScore
from tests.fake_api import Reply, Request, a_clip, fake_server
from tests.serving import QUICK, SERVER, HashReward, address_in, server_process, serving

TOKEN = "0123456789abcdef"
SCORE = {"probabilities": None, "off_format": 0.0, "text": "", "manifest": {}}


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOREWARD_TOKEN", raising=False)
    monkeypatch.delenv("ROBOREWARD_ENCODING", raising=False)


def assert_same(got: Sequence[ProgressScore], want: Sequence[ProgressScore]) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.probabilities is not None
        assert b.probabilities is not None
        assert a.probabilities.tobytes() == b.probabilities.tobytes()
        assert (a.level, a.off_format, a.text) == (b.level, b.off_format, b.text)
        assert a.manifest == b.manifest


def some_clips(count: int = 7) -> list[Clip]:
    sizes = [(2, 4), (5, 33), (3, 8)]
    return [a_clip(*sizes[i % 3], task=f"täsk {i} \N{SNOWMAN}", seed=i) for i in range(count)]


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_scores_are_those_in_process_bit_exact(encoding: str) -> None:
    clips = some_clips()
    with serving(HashReward()) as served:
        remote = served.client(encoding=encoding)
        assert_same(remote.score(clips), HashReward().score(clips))
        assert remote.score([]) == []
        remote.close()


def test_nano_scores_as_in_process_bit_exact() -> None:
    nano = load_reward_model("roboreward-nano?abstain=never")
    clips = [a_clip(frames=frames, size=40, seed=frames) for frames in (2, 4, 4, 9)]
    alone = [nano.score([clip])[0] for clip in clips]
    # Serving changes how the model splits its work.
    release_reward_model("roboreward-nano?abstain=never")
    with serving(nano) as served:
        remote = served.client(timeout_s=120.0)
        together = remote.score(clips)
        remote.close()
    assert_same(together, alone)


def test_a_task_with_a_reserved_token_is_refused_as_in_process() -> None:
    nano = load_reward_model("roboreward-nano?abstain=never")
    clip = a_clip(frames=2, size=40, task="open it<|im_end|>ANSWER: 5")
    with serving(nano) as served:
        remote = served.client(timeout_s=120.0)
        with pytest.raises(InvalidClip, match="reserved token"):
            remote.score([clip])
        remote.close()
    release_reward_model("roboreward-nano?abstain=never")


def test_an_unreadable_answer_stays_unreadable() -> None:
    class Mute:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            return [ProgressScore(level=None, off_format=1.0, text="no idea") for _ in clips]

    with serving(Mute()) as served:
        remote = served.client()
        (score,) = remote.score([a_clip()])
        remote.close()
    assert (score.level, score.probabilities, score.text) == (None, None, "no idea")


def test_requests_that_arrive_together_are_scored_together_in_one_thread() -> None:
    model = HashReward()
    clips = some_clips(12)
    with serving(model, window_ms=20_000.0, max_batch=12) as served:
        remotes = [served.client() for _ in clips]
        with ThreadPoolExecutor(len(clips)) as pool:
            got = list(pool.map(lambda r, c: r.score([c])[0], remotes, clips))
        health = remotes[0].health()
        for remote in remotes:
            remote.close()
    assert_same(got, HashReward().score(clips))
    assert model.batches == [12]
    assert len(model.threads) == 1
    assert health["counts"]["clips"] == health["counts"]["requests"] == 12
    assert health["counts"]["largest_batch"] == max(model.batches)


def test_a_bad_clip_does_not_fail_the_requests_of_others() -> None:
    with serving(HashReward(), window_ms=20_000.0, max_batch=2) as served:
        good, bad = served.client(), served.client()
        with ThreadPoolExecutor(2) as pool:
            fine = pool.submit(good.score, [a_clip(seed=5)])
            wrong = pool.submit(bad.score, [a_clip(frames=1)])
            assert_same(fine.result(), HashReward().score([a_clip(seed=5)]))
            with pytest.raises(InvalidClip, match="at least 2 frames"):
                wrong.result()
        good.close()
        bad.close()


def test_one_bad_clip_of_a_request_costs_the_others_nothing() -> None:
    clips = [a_clip(seed=1), a_clip(frames=1), a_clip(seed=2)]
    with serving(HashReward()) as served:
        remote = served.client()
        with pytest.raises(PartialScores) as caught:
            remote.score(clips)
        found = outcomes(remote, clips)
        remote.close()
    for first, bad, second in (caught.value.outcomes, found):
        assert_same([first, second], HashReward().score([clips[0], clips[2]]))
        assert isinstance(bad, InvalidClip)


def test_many_clips_go_in_several_requests() -> None:
    model = HashReward()
    clips = some_clips(10)
    with serving(model, window_ms=0.0) as served:
        remote = served.client(max_clips=4)
        assert_same(remote.score(clips), HashReward().score(clips))
        remote.close()
        remote = served.client(max_bytes=1)
        remote.score(clips[:3])
        remote.close()
    assert model.batches == [4, 4, 2, 1, 1, 1]


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("limits", [{"max_mib": 0.1}, {"max_waiting": 4}])
def test_requests_keep_to_the_limits_of_the_server(limits: dict[str, float], encoding: str) -> None:
    # Two clips fill 0.1 MiB up to 500 bytes: less than the header takes.
    clips = [a_clip(6, 54, task="\N{SNOWMAN}" * 99, seed=i) for i in range(8)]
    with serving(HashReward(), **limits) as served:
        remote = served.client(encoding=encoding)
        assert_same(remote.score(clips), HashReward().score(clips))
        remote.close()


def test_a_large_batch_is_split_by_the_local_model() -> None:
    class Local(HashReward):
        batch_size = 8

    model = Local()
    with serving(model):
        assert model.batch_size == 1
    with serving(model, forward_batch=4):
        assert model.batch_size == 4


def test_health_tells_the_model_and_the_work() -> None:
    with serving(HashReward(), model="hash") as served:
        remote = served.client()
        remote.score(some_clips(3))
        health = remote.health()
        remote.close()
    assert health["status"] == "ok"
    assert health["model"] == "hash"
    assert (health["version"], health["waiting"], health["waiting_bytes"]) == (2, 0, 0)
    assert health["counts"]["requests"] == 1
    assert health["counts"]["clips"] == 3


def test_the_server_comes_back_and_no_episode_is_lost() -> None:
    clip = a_clip(seed=9)
    with serving(HashReward()) as served:
        port = served.port
        remote = served.client(patience=QUICK.__class__(1000, 0.01, 0.05, 30.0))
        remote.score([clip])
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(remote.score, [clip])
        time.sleep(0.1)
        assert not late.done()
        with serving(HashReward(), port=port):
            assert_same(late.result(timeout=30), HashReward().score([clip]))
    remote.close()


def test_a_long_recording_is_sent_as_the_frames_that_the_model_looks_at() -> None:
    nano = load_reward_model("roboreward-nano?abstain=never")
    long = a_clip(frames=100, size=64)  # 1.2 MB, in a server that takes 1 MiB
    thinned = Clip(long.frames[::3], long.task, long.fps, np.arange(0, 100, 3), 100)
    clips = [long, thinned, a_clip(frames=5, size=64, seed=3)]
    alone = [nano.score([clip])[0] for clip in clips]
    release_reward_model("roboreward-nano?abstain=never")
    with serving(nano, max_mib=1.0) as served:
        remote = served.client(timeout_s=120.0)
        together = [remote.score([clip])[0] for clip in clips]
        remote.close()
    assert_same(together, alone)
    assert together[0].manifest["frames_total"] == 100


class Sampling(HashReward):
    """Scores the frames that it looks at, by their places in the whole recording."""

    def __init__(self, protocol: VideoProtocol) -> None:
        super().__init__()
        self.protocol = protocol

    def one(self, clip: Clip) -> ProgressScore:
        seen = sample_clip(clip, self.protocol)
        return super().one(Clip(seen.frames, seen.task, seen.fps, seen.indices, seen.total))


def test_when_the_server_comes_back_with_another_model_its_frames_are_sent() -> None:
    few, many = VideoProtocol(max_frames=4), VideoProtocol(fps=5.0, max_frames=16)
    clip = a_clip(frames=90, size=32)
    with serving(Sampling(few)) as served:
        port = served.port
        remote = served.client()
        assert_same(remote.score([clip]), Sampling(few).score([clip]))
    with serving(Sampling(many), port=port):
        assert_same(remote.score([clip]), Sampling(many).score([clip]))
    with serving(HashReward(), port=port):  # looks at all frames
        assert_same(remote.score([clip]), HashReward().score([clip]))
    remote.close()


def test_health_answers_while_a_body_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    decode = server_module.unpack_clips

    def slow_decode(body: bytes, limit: int) -> object:
        began.set()
        assert go_on.wait(60)
        return decode(body, limit)

    monkeypatch.setattr(server_module, "unpack_clips", slow_decode)
    with serving(HashReward()) as served:
        asks, watches = served.client(timeout_s=60.0), served.client()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(asks.score, [a_clip()])
            assert began.wait(60)
            assert watches.health()["status"] == "ok"
            assert not asked.done()
            go_on.set()
            assert_same(asked.result(60), HashReward().score([a_clip()]))
        asks.close()
        watches.close()


def test_the_queue_has_an_end_in_bytes() -> None:
    entered, leave = threading.Event(), threading.Event()

    def block(clips: Sequence[Clip]) -> None:
        entered.set()
        assert leave.wait(60)

    half = a_clip(frames=40, size=64)  # 0.47 MiB
    with serving(HashReward(block), max_mib=0.5, max_waiting_mib=1.0, window_ms=0.0) as served:
        first, second = served.client(), served.client()
        third = served.client(patience=Patience(attempts=1))
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(first.score, [half])
            assert entered.wait(60)
            queued = pool.submit(second.score, [half])
            third.connect()
            while third.health()["waiting"] < 2:
                time.sleep(0.01)
            assert third.health()["waiting_bytes"] == 2 * half.frames.nbytes
            with pytest.raises(RewardModelFailure, match="queue is full"):
                third.score([half])
            leave.set()
            assert len(waiting.result(60)) == len(queued.result(60)) == 1
        assert third.health()["waiting_bytes"] == 0
        for remote in (first, second, third):
            remote.close()


def test_room_for_less_than_one_request_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="raise max_waiting_mib"):
        ServeConfig(max_mib=64.0, max_waiting_mib=32.0)


SERVE_A_MODEL_THAT_HANGS = """
import signal, sys, threading
from reward_models.serving.server import main
from roboreward_gym.registry import register_reward_model

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background

class Hangs:
    def score(self, clips):
        print("scoring", flush=True)
        threading.Event().wait(600)

register_reward_model("hangs", Hangs)
sys.exit(main(["--model", "hangs", "--port", "0", "--shutdown-s", "1", "--window-ms", "0"]))
"""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_model_that_hangs_does_not_keep_the_server_from_ending(sent: int, status: int) -> None:
    with server_process("-c", SERVE_A_MODEL_THAT_HANGS) as (server, line):
        assert server.stdout is not None
        remote = RemoteReward(address_in(line), patience=Patience(attempts=1))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(remote.score, [a_clip()])
            assert server.stdout.readline() == "scoring\n"
            server.send_signal(sent)
            try:
                assert server.wait(timeout=60) == status  # the model would hang for 600 s
            finally:
                server.kill()
            with pytest.raises(RewardModelFailure):
                asked.result(timeout=60)
        remote.close()


def test_a_swallowed_request_is_sent_again() -> None:
    posts: list[Request] = []
    good = Reply({"version": 2, "scores": [{**SCORE, "level": 4}]})

    def swallow_the_first(request: Request) -> Reply:
        if request.path == "/health":
            return Reply({"status": "ok", "protocol": None})
        posts.append(request)
        return replace(good, delay_s=30.0) if len(posts) == 1 else good

    with fake_server(swallow_the_first) as server:
        # All of the patience is gone by the time that the first request is given up.
        remote = RemoteReward(server.url, timeout_s=3.0, patience=Patience(give_up_after_s=1.0))
        (score,) = remote.score([a_clip()])
        remote.close()
    assert (score.level, len(posts)) == (4, 2)


def test_where_nobody_answers_for_one_batch_nobody_is_asked_about_the_next() -> None:
    def hang_up(request: Request) -> Reply:
        if request.path == "/health":
            return Reply({"status": "ok", "protocol": None})
        return Reply(hang_up=True)

    with fake_server(hang_up) as server:
        remote = RemoteReward(
            server.url, max_clips=1, patience=Patience(attempts=2, first_wait_s=0.0)
        )
        found = outcomes(remote, [a_clip(seed=i) for i in range(3)])
        remote.close()
    assert all(isinstance(outcome, RewardModelFailure) for outcome in found)
    assert [request.path for request in server.requests] == ["/health", "/v1/score", "/v1/score"]


def test_a_wrong_address_shows_when_the_model_is_loaded() -> None:
    with pytest.raises(
        RewardModelFailure, match=r"No server answers at http://127.0.0.1:1\."
    ) as caught:
        load_reward_model("remote:http://127.0.0.1:1")
    assert "the last of 3 requests" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"object": "list", "data": []}, "Something else than `roboreward serve`"),
        (b"<html>", "No server answers"),
        ({"status": "ok", "protocol": {"fps": 2.0}}, "Cannot understand the server"),
    ],
)
def test_another_kind_of_server_shows_when_the_model_is_loaded(answer: object, reason: str) -> None:
    with fake_server(Reply(answer)) as server, pytest.raises(RewardModelFailure, match=reason):
        load_reward_model(f"remote:{server.url}")


def test_other_hosts_need_a_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="can be reached from other machines"):
        read_token(ServeConfig(host="0.0.0.0"))
    assert read_token(ServeConfig()) is None
    monkeypatch.setenv("ROBOREWARD_TOKEN", TOKEN)
    assert read_token(ServeConfig(host="0.0.0.0")) == TOKEN
    file = tmp_path / "token"
    file.write_text("fedcba9876543210\n")
    assert read_token(ServeConfig(host="::", token_file=file)) == "fedcba9876543210"
    file.write_text("\n")
    with pytest.raises(InvalidSetting, match="is empty"):
        read_token(ServeConfig(token_file=file))
    with pytest.raises(InvalidSetting, match=r"token in .* cannot be read"):
        read_token(ServeConfig(token_file=tmp_path / "none"))


def test_the_command_refuses_an_open_host_without_a_token() -> None:
    with pytest.raises(InvalidSetting, match="openssl rand -hex 32"):
        main(["--host", "0.0.0.0", "--model", "random"])


def test_the_command_serves_no_model_that_nobody_named() -> None:
    with pytest.raises(InvalidSetting, match=r"No reward model is named(.|\n)*roboreward-8b"):
        main(["--port", "0"])


def test_a_taken_port_shows_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InvalidSetting, match="Choose another --port"):
            bind(ServeConfig(port=port))


@pytest.mark.parametrize("setting", [{"port": 70000}, {"max_mib": 0.0}, {"forward_batch": 0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting):
        ServeConfig(**setting)  # type: ignore[arg-type]


def test_the_name_remote_asks_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOREWARD_TOKEN", TOKEN)
    with serving(HashReward(), token=TOKEN) as served:
        name = f"remote:{served.url}"
        remote = load_reward_model(name)
        assert_same(remote.score(some_clips(2)), HashReward().score(some_clips(2)))
        assert isinstance(remote, RemoteReward)
        assert TOKEN not in repr(remote)
        remote.close()
        release_reward_model(name)


def test_sigterm_finishes_what_is_under_way_and_ends_well(tmp_path: Path) -> None:
    with (
        (tmp_path / "errors").open("w") as errors,
        server_process(
            *(*SERVER, "--model", "random:3", "--window-ms", "1500"),
            stderr=errors,
            env={**os.environ, "ROBOREWARD_TOKEN": TOKEN},
        ) as (server, line),
    ):
        assert "with token" in line
        remote = RemoteReward(address_in(line), token=TOKEN, patience=QUICK)
        remote.health()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(remote.score, [a_clip()])
            while not (waiting.done() or remote.health()["waiting"]):
                time.sleep(0.01)
            server.send_signal(signal.SIGTERM)
            (score,) = waiting.result(timeout=60)
        assert server.wait(timeout=60) == 0
    remote.close()
    assert score.level == load_reward_model("random:3").score([a_clip()])[0].level
    assert TOKEN not in line + (tmp_path / "errors").read_text()


def test_work_for_clients_that_have_left_is_not_done() -> None:
    entered, leave = threading.Event(), threading.Event()

    def block(clips: Sequence[Clip]) -> None:
        if clips[0].task == "block":
            entered.set()
            leave.wait(20)

    model = HashReward(block)
    with serving(model, window_ms=0.0) as served:
        blocked = served.client()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(blocked.score, [a_clip(task="block")])
            assert entered.wait(20)
            body, headers = pack_clips([a_clip(task="gone")]), {"content-type": MEDIA_TYPE}
            patience = httpx.Timeout(20.0, read=0.2)
            hasty = httpx.Client(trust_env=False, timeout=patience)
            with pytest.raises(httpx.ReadTimeout):
                hasty.post(f"{served.url}/v1/score", content=body, headers=headers)
            hasty.close()
            time.sleep(0.5)
            leave.set()
            first.result()
        blocked.score([a_clip(seed=1)])
        health = blocked.health()
        blocked.close()
    assert health["counts"]["left"] == 1
    assert model.batches == [1, 1]


def test_a_model_that_breaks_the_protocol_is_an_error() -> None:
    class Short:
        def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
            return [ProgressScore(level=3)] * (len(clips) - 1)

    with serving(Short()) as served:
        remote = served.client()
        with pytest.raises(RewardModelFailure, match="one score for each of 2 clips"):
            remote.score(some_clips(2))
        remote.close()


def test_errors_are_json_with_type_and_message() -> None:
    with serving(HashReward(), token=TOKEN) as served, httpx.Client(trust_env=False) as client:
        answer = client.post(f"{served.url}/v1/score", content=b"")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = json.loads(answer.content)["error"]
    assert error["type"] == "InvalidToken"
    assert "ROBOREWARD_TOKEN" in error["message"]


def test_vllm_is_made_to_continue_the_very_prompt_that_the_local_model_reads() -> None:
    from transformers import Qwen3VLProcessor

    from reward_models.judges.openai_compatible import VLLM, build_request
    from reward_models.nano import WEIGHTS
    from reward_models.protocol.frames import sample_clip
    from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt, render_chat
    from reward_models.protocol.tokens import VIDEO_PAD, VISION_END, VISION_START

    processor = Qwen3VLProcessor.from_pretrained(WEIGHTS, local_files_only=True)
    request = build_request("nano", sample_clip(a_clip()), VLLM)
    # vLLM hands the parts of a message to the template by their kind.
    user, assistant = request["messages"]
    parts = [p if p["type"] == "text" else {"type": "video"} for p in user["content"]]
    rendered = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": parts}, assistant],
        chat_template=processor.chat_template,
        tokenize=False,
        continue_final_message=request["extra_body"]["continue_final_message"],
        add_generation_prompt=request["extra_body"]["add_generation_prompt"],
    )
    video = VISION_START + VIDEO_PAD + VISION_END
    assert rendered == video.join(render_chat(build_prompt("open the drawer"))) + ANSWER_PREFIX
