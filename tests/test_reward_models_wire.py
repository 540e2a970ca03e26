"""The format between client and server: exact in both directions, and suspicious of every byte."""

import json
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from reward_models.serving.wire import (
    MAX_CLIPS,
    Encoding,
    pack_clips,
    pack_scores,
    unpack_clips,
    unpack_scores,
)
from roboreward_gym.errors import InvalidClip, InvalidMessage, InvalidScore
from roboreward_gym.types import Clip, ProgressScore
from tests.fake_api import a_clip

LIMIT = 1 << 20


def message(header: object, frames: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + frames


def entry(frames: bytes = bytes(24), **changes: object) -> dict[str, Any]:
    known = {"task": "t", "fps": 5.0, "shape": [2, 2, 2, 3], "bytes": len(frames)}
    return {**known, "crc32": zlib.crc32(frames), **changes}


def header(*entries: object, **changes: object) -> dict[str, Any]:
    return {"version": 1, "encoding": "raw", "clips": list(entries), **changes}


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_clips_survive_the_journey(encoding: Encoding) -> None:
    clips = [
        a_clip(3, 7, "töp the \N{SNOWMAN}", 1),
        Clip(a_clip(4, 9).frames[::2, ::-1], "reversed", 1 / 3),
        Clip(np.zeros((1, 1, 1, 3), np.uint8), "one pixel", 1e-3),
    ]
    for got, want in zip(unpack_clips(pack_clips(clips, encoding), LIMIT), clips, strict=True):
        np.testing.assert_array_equal(got.frames, want.frames)
        assert got.frames.flags.writeable
        assert (got.task, got.fps) == (want.task, want.fps)


def test_scores_survive_the_journey_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    scores = [ProgressScore(level=None, off_format=1.0, text="?")]
    for _ in range(200):
        p = rng.dirichlet(np.full(5, 0.05))
        scores.append(
            ProgressScore(int(p.argmax()) + 1, p, float(rng.random()), "ä", {"a": [1, 0.1]})
        )
    for got, want in zip(unpack_scores(pack_scores(scores), len(scores)), scores, strict=True):
        if want.probabilities is None:
            assert got.probabilities is None
        else:
            assert got.probabilities is not None
            assert got.probabilities.tobytes() == want.probabilities.tobytes()
        assert (got.level, got.off_format, got.text) == (want.level, want.off_format, want.text)
        assert got.manifest == want.manifest


GOOD = entry()
BAD_MESSAGES = {
    "nothing": b"",
    "three bytes": b"abc",
    "header longer than the message": struct.pack("<I", 1000) + b"{}",
    "header of four gigabytes": struct.pack("<I", 0xFFFFFFFF) + b"{}",
    "header that is no JSON": message(b"{"),
    "header that is no text": message(b"\xff\xfe"),
    "header nested too deeply": message(b"[" * 200_000),
    "header that is a list": message([]),
    "another version": message(header(GOOD, version=2), bytes(24)),
    "no version": message({"encoding": "raw", "clips": [GOOD]}, bytes(24)),
    "another encoding": message(header(GOOD, encoding="pickle"), bytes(24)),
    "no clips": message(header()),
    "too many clips": message(header(*[GOOD] * (MAX_CLIPS + 1)), bytes(24 * (MAX_CLIPS + 1))),
    "clips that are a number": message(header(clips=3)),
    "a clip that is a text": message(header("clip")),
    "a shape with four channels": message(header(entry(shape=[2, 2, 2, 4])), bytes(24)),
    "a shape of two numbers": message(header(entry(shape=[8, 3])), bytes(24)),
    "a shape with a fraction": message(header(entry(shape=[2.0, 2, 2, 3])), bytes(24)),
    "a shape with a negative number": message(header(entry(shape=[-2, -2, 2, 3])), bytes(24)),
    "a shape with a zero": message(header(entry(shape=[0, 2, 2, 3])), bytes(24)),
    "a shape that asks for terabytes": message(
        header(entry(shape=[10**6, 10**3, 10**3, 3])), bytes(24)
    ),
    "a shape larger than the frames": message(header(entry(shape=[3, 2, 2, 3])), bytes(24)),
    "a shape smaller than the frames": message(header(entry(shape=[1, 2, 2, 3])), bytes(24)),
    "frames cut off": message(header(GOOD), bytes(23)),
    "frames and more": message(header(GOOD), bytes(25)),
    "negative bytes": message(header(entry(bytes=-24), entry(bytes=48)), bytes(24)),
    "one bit turned": message(header(GOOD), bytes(23) + b"\x01"),
    "no task": message(header({k: v for k, v in GOOD.items() if k != "task"}), bytes(24)),
    "a task that is a number": message(header(entry(task=3)), bytes(24)),
    "a frame rate that is a text": message(header(entry(fps="5")), bytes(24)),
    "a PNG that is none": message(
        header(entry(b"\x04\0\0\0abcd", encoding="png"), encoding="png"), b"\x04\0\0\0abcd"
    ),
    "a PNG cut off": message(header(entry(b"\x09\0\0\0abcd"), encoding="png"), b"\x09\0\0\0abcd"),
    "half a length": message(header(entry(b"\x09\0"), encoding="png"), b"\x09\0"),
    "no PNG at all": message(header(entry(b""), encoding="png")),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_a_bad_message_is_refused(case: str) -> None:
    with pytest.raises(InvalidMessage, match="Expected"):
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
    ],
)
def test_a_clip_that_is_none_is_refused_as_in_process(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidClip, match="Expected"):
        unpack_clips(message(header(entry(**changes)), bytes(24)), LIMIT)


def test_a_picture_is_not_decoded_before_its_size_is_known() -> None:
    packed = pack_clips([a_clip(2, 64)], "png")
    size = struct.unpack_from("<I", packed)[0]
    lying = json.loads(packed[4 : 4 + size])
    lying["clips"][0]["shape"] = [2, 2, 2, 3]
    with pytest.raises(InvalidMessage, match=r"\(2, 2\) pixels .* got RGB of \(64, 64\)"):
        unpack_clips(message(lying, packed[4 + size :]), LIMIT)


def test_more_pixels_than_allowed_are_refused() -> None:
    with pytest.raises(InvalidMessage, match="at most 1000 bytes"):
        unpack_clips(pack_clips([a_clip(2, 64)], "png"), 1000)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg"])
def test_random_damage_never_passes_as_another_clip(encoding: Encoding) -> None:
    rng = random.Random(1)
    clip = a_clip(2, 8)
    whole = pack_clips([clip], encoding)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            (got,) = unpack_clips(
                damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])], LIMIT
            )
        except (InvalidMessage, InvalidClip):
            continue
        # The header has no checksum: a command with another letter is another command.
        if encoding != "jpeg":
            np.testing.assert_array_equal(got.frames, clip.frames)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"version": 2, "scores": []}',
        b'{"version": 1, "scores": []}',
        b'{"version": 1, "scores": 5}',
        b'{"version": 1, "scores": [4]}',
        b'{"version": 1, "scores": [{"level": 4}]}',
    ],
)
def test_an_answer_without_scores_is_refused(answer: bytes) -> None:
    with pytest.raises(InvalidMessage, match="Expected"):
        unpack_scores(answer, 1)


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
    body = json.dumps({"version": 1, "scores": [{**score, **changes}]}).encode()
    with pytest.raises(InvalidMessage, match="Expected"):
        unpack_scores(body, 1)


def test_a_manifest_that_cannot_travel_is_an_error() -> None:
    with pytest.raises(InvalidScore, match="plain numbers"):
        pack_scores([ProgressScore(level=3, manifest={"model": object()})])
    with pytest.raises(InvalidScore, match="plain numbers"):
        pack_scores([ProgressScore(level=3, manifest={"loss": float("nan")})])
