"""The format between client and server: exact in both directions, and suspicious of every byte."""

import json
import random
import zlib
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from reward_models.protocol.frames import ROBOREWARD_PROTOCOL
from reward_models.serving.wire import (
    MAX_CLIPS,
    Encoding,
    pack_clips,
    pack_outcomes,
    unpack_clips,
    unpack_outcomes,
    unpack_protocol,
)
from roboreward_gym.errors import InvalidClip, InvalidMessage, InvalidScore, RewardModelFailure
from roboreward_gym.types import Clip, ProgressScore
from tests.fake_api import a_clip

LIMIT = 1 << 20


def message(header: object, frames: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + frames


def entry(frames: bytes = bytes(24), **changes: object) -> dict[str, Any]:
    known = {"task": "t", "fps": 5.0, "shape": [2, 2, 2, 3], "indices": None, "num_frames": None}
    return {**known, "crc32": zlib.crc32(frames), **changes}


def tensor(size: int = 24, start: int = 0, **changes: object) -> dict[str, Any]:
    shape = [2, 2, 2, 3] if size == 24 else [size]
    return {"dtype": "U8", "shape": shape, "data_offsets": [start, start + size], **changes}


def header(clips: object, *tensors: object, **changes: object) -> dict[str, Any]:
    known = {"version": "2", "encoding": "raw", "protocol": "null", "clips": json.dumps(clips)}
    named = {str(i): tensor for i, tensor in enumerate(tensors)}
    return {"__metadata__": {**known, **changes}, **named}


def one(clip: dict[str, Any] | None = None, of: object = None, **changes: object) -> dict[str, Any]:
    return header([clip or entry()], of or tensor(), **changes)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_clips_survive_the_journey(encoding: Encoding) -> None:
    clips = [
        a_clip(3, 7, "töp the \N{SNOWMAN}", 1),
        Clip(a_clip(4, 9).frames[::2, ::-1], "reversed", 1 / 3),
        Clip(np.zeros((1, 1, 1, 3), np.uint8), "one pixel", 1e-3),
        Clip(a_clip(3, 8).frames, "thinned", 5.0, np.array([0, 40, 99]), 100),
    ]
    request = unpack_clips(pack_clips(clips, encoding, ROBOREWARD_PROTOCOL), LIMIT)
    assert request.protocol == ROBOREWARD_PROTOCOL
    for got, want in zip(request.clips, clips, strict=True):
        np.testing.assert_array_equal(got.frames, want.frames)
        assert got.frames.flags.writeable
        assert (got.task, got.fps, got.num_frames) == (want.task, want.fps, want.num_frames)
        np.testing.assert_array_equal(got.indices, want.indices)


def test_a_request_is_a_safetensors_file_that_others_can_read() -> None:
    clips = [a_clip(2, 8, seed=1), a_clip(3, 8, seed=2)]
    tensors = load_safetensors(pack_clips(clips))
    np.testing.assert_array_equal(tensors["0"], clips[0].frames)
    np.testing.assert_array_equal(tensors["1"], clips[1].frames)


def test_outcomes_survive_the_journey_bit_exact() -> None:
    rng = np.random.default_rng(0)
    scores = [ProgressScore(level=None, off_format=1.0, text="?")]
    for _ in range(200):
        p = rng.dirichlet(np.full(5, 0.05))
        scores.append(
            ProgressScore(int(p.argmax()) + 1, p, float(rng.random()), "ä", {"a": [1, 0.1]})
        )
    sent = [*scores, InvalidClip("too short"), RewardModelFailure("no memory")]
    *got_scores, invalid, failed = unpack_outcomes(pack_outcomes(sent), len(sent))
    assert isinstance(invalid, InvalidClip)
    assert str(invalid) == "too short"
    assert isinstance(failed, RewardModelFailure)
    assert "no memory" in str(failed)
    for got, want in zip(got_scores, scores, strict=True):
        assert isinstance(got, ProgressScore)
        if want.probabilities is None:
            assert got.probabilities is None
        else:
            assert got.probabilities is not None
            assert got.probabilities.tobytes() == want.probabilities.tobytes()
        assert (got.level, got.off_format, got.text) == (want.level, want.off_format, want.text)
        assert got.manifest == want.manifest


TERABYTE = [10**6, 10**3, 10**3, 3]
BAD_PNG = entry(b"abcd")
BAD_MESSAGES = {
    "nothing": b"",
    "three bytes": b"abc",
    "header longer than the message": (1000).to_bytes(8, "little") + b"{}",
    "header of exabytes": b"\xff" * 8 + b"{}",
    "header that is not JSON": message(b"{"),
    "header that is not text": message(b"\xff\xfe"),
    "header nested too deeply": message(b"[" * 200_000),
    "header that is a list": message([]),
    "no metadata": message({"0": tensor()}, bytes(24)),
    "another version": message(one(version="1"), bytes(24)),
    "another encoding": message(one(encoding="pickle"), bytes(24)),
    "no clips": message(header([])),
    "too many clips": message(
        header([entry()] * (MAX_CLIPS + 1), *[tensor()] * (MAX_CLIPS + 1)), bytes(24)
    ),
    "clips that are a number": message(header(3)),
    "clips that are not JSON": message(one() | {"__metadata__": one()["__metadata__"] | {"clips": "["}}),
    "a clip that is a text": message(header(["clip"], tensor()), bytes(24)),
    "a clip without a tensor": message(header([entry()])),
    "a tensor without a clip": message(header([entry()], tensor(), tensor(start=24)), bytes(48)),
    "a tensor of floats": message(one(of=tensor(dtype="F32", shape=[6])), bytes(24)),
    "a tensor of a kind that NumPy has not": message(one(of=tensor(dtype="BF16", shape=[12])), bytes(24)),
    "a tensor that is a text": message(one(of="0"), bytes(24)),
    "two tensors in one place": message(header([entry()] * 2, tensor(), tensor()), bytes(24)),
    "a shape with four channels": message(one(entry(shape=[2, 2, 2, 4])), bytes(24)),
    "a shape of two numbers": message(one(entry(shape=[8, 3])), bytes(24)),
    "a shape with a fraction": message(one(entry(shape=[2.0, 2, 2, 3])), bytes(24)),
    "a shape with a negative number": message(one(entry(shape=[-2, -2, 2, 3])), bytes(24)),
    "a shape with a zero": message(one(entry(shape=[0, 2, 2, 3])), bytes(24)),
    "a shape that asks for terabytes": message(one(entry(shape=TERABYTE)), bytes(24)),
    "a tensor that asks for terabytes": message(one(of=tensor(shape=TERABYTE)), bytes(24)),
    "a shape larger than the frames": message(one(entry(shape=[3, 2, 2, 3])), bytes(24)),
    "frames cut off": message(one(), bytes(23)),
    "frames and more": message(one(), bytes(25)),
    "one bit turned": message(one(), bytes(23) + b"\x01"),
    "no task": message(one({k: v for k, v in entry().items() if k != "task"}), bytes(24)),
    "a task that is a number": message(one(entry(task=3)), bytes(24)),
    "a frame rate that is a text": message(one(entry(fps="5")), bytes(24)),
    "indices that are texts": message(one(entry(indices=["0", "1"], num_frames=2)), bytes(24)),
    "indices that are true": message(one(entry(indices=[False, True], num_frames=2)), bytes(24)),
    "indices beyond 64 bits": message(one(entry(indices=[0, 2**70], num_frames=2**70 + 1)), bytes(24)),
    "a choice of frames that is none": message(one(protocol="[2]"), bytes(24)),
    "a PNG that is none": message(one(BAD_PNG, tensor(4), encoding="png"), b"abcd"),
    "an empty PNG": message(one(entry(b""), tensor(0, shape=[0]), encoding="png")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_bad_message_is_refused(case: str) -> None:
    with pytest.raises(InvalidMessage):
        unpack_clips(BAD_MESSAGES[case], LIMIT)


@pytest.mark.parametrize(
    "changes",
    [
        {"task": " "},
        {"task": "x" * 5000},
        {"fps": 0},
        {"fps": float("nan")},
        {"fps": float("inf")},
        {"fps": 10**30},
        {"indices": [0, 1]},
        {"indices": [1, 0], "num_frames": 1},
        {"indices": [0, 5], "num_frames": 9},
    ],
)
def test_a_clip_that_is_none_is_refused_as_in_process(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidClip):
        unpack_clips(message(one(entry(**changes)), bytes(24)), LIMIT)


@pytest.mark.parametrize(
    "protocol",
    [
        {},
        {"fps": 2.0},
        {**vars(ROBOREWARD_PROTOCOL), "fps": 0.0},
        {**vars(ROBOREWARD_PROTOCOL), "fps": float("nan")},
        {**vars(ROBOREWARD_PROTOCOL), "max_frames": 0},
        {**vars(ROBOREWARD_PROTOCOL), "max_frames": "8"},
        {**vars(ROBOREWARD_PROTOCOL), "extra": 1},
    ],
)
def test_a_choice_of_frames_that_is_none_is_refused(protocol: object) -> None:
    with pytest.raises(InvalidMessage, match="choice of frames"):
        unpack_protocol(protocol)


def lying_shape(packed: bytes, shape: list[int]) -> bytes:
    size = int.from_bytes(packed[:8], "little")
    lying = json.loads(packed[8 : 8 + size])
    clips = json.loads(lying["__metadata__"]["clips"])
    clips[0]["shape"] = shape
    lying["__metadata__"]["clips"] = json.dumps(clips)
    return message(lying, packed[8 + size :])


def test_a_picture_is_not_decoded_before_its_size_is_known() -> None:
    lying = lying_shape(pack_clips([a_clip(2, 64)], "png"), [2, 2, 2, 3])
    with pytest.raises(
        InvalidMessage, match=r"2 frames of \(2, 2\) pixels .* it is RGB of \(128, 64\)"
    ):
        unpack_clips(lying, LIMIT)


def test_more_pixels_than_allowed_are_refused() -> None:
    with pytest.raises(InvalidMessage, match="more than 1000 bytes"):
        unpack_clips(pack_clips([a_clip(2, 64)], "png"), 1000)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_random_damage_never_passes_as_other_pixels(encoding: Encoding) -> None:
    rng = random.Random(1)
    clip = a_clip(2, 8)
    whole = pack_clips([clip], encoding)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        length = rng.choice([len(damaged), rng.randrange(len(damaged))])
        try:
            (got,) = unpack_clips(bytes(damaged[:length]), LIMIT).clips
        except (InvalidMessage, InvalidClip):
            continue
        # The header has no checksum: a task with another letter is another task.
        np.testing.assert_array_equal(got.frames, clip.frames)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"version": 9, "scores": []}',
        b'{"version": 2, "scores": []}',
        b'{"version": 2, "scores": 5}',
        b'{"version": 2, "scores": [4]}',
        b'{"version": 2, "scores": [{"level": 4}]}',
        b'{"version": 2, "scores": [{"error": "no"}]}',
    ],
)
def test_an_answer_without_scores_is_refused(answer: bytes) -> None:
    with pytest.raises(InvalidMessage):
        unpack_outcomes(answer, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"level": 0},
        {"level": 7},
        {"level": 3.5},
        {"level": "4"},
        {"level": True},
        {"probabilities": [1.0]},
        {"probabilities": [0.2, 0.2, 0.2, 0.2, 0.9]},
        {"probabilities": [float("nan")] * 5},
        {"probabilities": ["a"] * 5},
        {"probabilities": {"4": 1.0}},
        {"off_format": 2.0},
        {"off_format": float("nan")},
        {"off_format": None},
        {"text": None},
        {"manifest": []},
    ],
)
def test_a_score_that_is_none_is_refused(changes: dict[str, object]) -> None:
    score = {"level": 4, "probabilities": None, "off_format": 0.0, "text": "", "manifest": {}}
    body = json.dumps({"version": 2, "scores": [{**score, **changes}]}).encode()
    with pytest.raises(InvalidMessage):
        unpack_outcomes(body, 1)


def test_a_manifest_that_cannot_travel_is_an_error() -> None:
    with pytest.raises(InvalidScore, match="plain numbers"):
        pack_outcomes([ProgressScore(level=3, manifest={"model": object()})])
    with pytest.raises(InvalidScore, match="plain numbers"):
        pack_outcomes([ProgressScore(level=3, manifest={"loss": float("nan")})])
