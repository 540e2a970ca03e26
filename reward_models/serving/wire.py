"""Clips and scores as bytes between a client and the server of a judge: version 1 of the format.

A request is one binary message::

    4 bytes      length of the header, unsigned, little endian
    the header   JSON: {"version": 1, "encoding": "raw", "clips": [{"task": ..., "fps": ...,
                        "shape": [T, H, W, 3], "bytes": n, "crc32": c}, ...]}
    the frames   those of the first clip, of the second, ..., n bytes each

`raw` is the uint8 pixels in C order: the server's judge sees exactly what a judge in this process would. `png` is
smaller and changes no pixel either. `jpeg` changes pixels, and therefore scores. In both, each frame is its length
(4 bytes, as above) and its file. An answer is JSON; the floats in it keep every bit.
"""

import io
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from roboreward_gym.errors import InvalidClip, InvalidMessage, InvalidScore
from roboreward_gym.types import Clip, ProgressScore

VERSION = 1
MEDIA_TYPE = "application/vnd.roboreward.clips"
MAX_HEADER_BYTES = 1 << 20
MAX_CLIPS = 256
MAX_TASK_CHARACTERS = 4000
MAX_FPS = 1e6
JPEG_QUALITY = 95

Encoding = Literal["raw", "png", "jpeg"]
ENCODINGS: tuple[Encoding, ...] = ("raw", "png", "jpeg")

_LENGTH = struct.Struct("<I")


def pack_clips(clips: Sequence[Clip], encoding: Encoding = "raw") -> bytes:
    """Turn clips into the body of a request."""
    blocks = [_pack_frames(clip.frames, encoding) for clip in clips]
    header = {
        "version": VERSION,
        "encoding": encoding,
        "clips": [
            {
                "task": clip.task,
                "fps": float(clip.fps),
                "shape": list(clip.frames.shape),
                "bytes": len(block),
                "crc32": zlib.crc32(block),
            }
            for clip, block in zip(clips, blocks, strict=True)
        ],
    }
    text = json.dumps(header).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *blocks])


def unpack_clips(body: bytes | bytearray, max_pixel_bytes: int) -> list[Clip]:
    """Read the body of a request.

    Args:
        body: The message.
        max_pixel_bytes: Most bytes of decoded frames; a small file can hold a huge picture.

    Raises:
        InvalidMessage: The bytes do not follow the format.
        InvalidClip: They do, but a clip in them is none.
    """
    header, rest = _unpack_header(memoryview(body))
    entries = header["clips"]
    if sum(math.prod(entry["shape"]) for entry in entries) > max_pixel_bytes:
        raise InvalidMessage(
            f"Expected frames of at most {max_pixel_bytes} bytes, got more. Send fewer at a time."
        )
    if len(rest) != sum(entry["bytes"] for entry in entries):
        raise InvalidMessage(
            f"Expected {sum(entry['bytes'] for entry in entries)} bytes of frames, as the header "
            f"says, got {len(rest)}. The message was cut off or its header is wrong."
        )
    clips = []
    start = 0
    for entry in entries:
        block = rest[start : start + entry["bytes"]]
        start += entry["bytes"]
        if zlib.crc32(block) != entry["crc32"]:
            raise InvalidMessage(
                "Expected frames with the checksum of the header, got others. Send them again."
            )
        frames = _unpack_frames(block, tuple(entry["shape"]), header["encoding"])
        clips.append(Clip(frames, entry["task"], entry["fps"]))
    return clips


def pack_scores(scores: Sequence[ProgressScore]) -> bytes:
    """Turn scores into the body of an answer.

    Raises:
        InvalidScore: A manifest holds something that JSON cannot.
    """
    message = {"version": VERSION, "scores": [_pack_score(score) for score in scores]}
    try:
        return json.dumps(message, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidScore(
            f"Expected a score that JSON can hold, got: {error}. "
            "Put plain numbers, texts and lists into its manifest."
        ) from error


def unpack_scores(body: bytes, clips: int) -> list[ProgressScore]:
    """Read the body of an answer about so many clips.

    Raises:
        InvalidMessage: The bytes do not follow the format, or hold another number of scores.
    """
    message = _json(body)
    match message:
        case {"version": int(version)} if version != VERSION:
            raise InvalidMessage(
                f"Expected an answer in version {VERSION} of the format, got version {version}. "
                "Install the same version of roboreward-gym on both machines."
            )
        case {"version": int(), "scores": list(entries)} if len(entries) == clips:
            return [_unpack_score(entry) for entry in entries]
        case {"scores": list(entries)}:
            raise InvalidMessage(f"Expected {clips} scores, got {len(entries)}.")
    raise InvalidMessage("Expected an answer with scores, got other JSON.")


def _pack_score(score: ProgressScore) -> dict[str, Any]:
    p = score.probabilities
    return {
        "level": None if score.level is None else int(score.level),
        "probabilities": None if p is None else [float(x) for x in p],
        "off_format": float(score.off_format),
        "text": score.text,
        "manifest": dict(score.manifest),
    }


def _unpack_score(entry: Any) -> ProgressScore:
    match entry:
        case {
            "level": level,
            "probabilities": probabilities,
            "off_format": int() | float() as off_format,
            "text": str(text),
            "manifest": dict(manifest),
        }:
            try:
                p = None if probabilities is None else np.array(probabilities, dtype=np.float64)
                return ProgressScore(level, p, float(off_format), text, manifest)
            except (InvalidScore, TypeError, ValueError) as error:
                raise InvalidMessage(f"Expected a score, got: {error}") from error
    raise InvalidMessage("Expected a score with level, probabilities and text, got other JSON.")


def _pack_frames(frames: np.ndarray, encoding: Encoding) -> bytes:
    if encoding == "raw":
        return np.ascontiguousarray(frames).tobytes()
    from PIL import Image  # only for these encodings

    options = {"compress_level": 4} if encoding == "png" else {"quality": JPEG_QUALITY}
    parts = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, encoding.upper(), **options)
        parts += [_LENGTH.pack(buffer.tell()), buffer.getvalue()]
    return b"".join(parts)


def _unpack_frames(block: memoryview, shape: tuple[int, ...], encoding: Encoding) -> np.ndarray:
    if encoding == "raw":
        if len(block) != math.prod(shape):
            raise InvalidMessage(
                f"Expected {math.prod(shape)} bytes for frames of shape {shape}, got {len(block)}."
            )
        return np.frombuffer(block, np.uint8).reshape(shape).copy()
    frames = [_unpack_image(image, shape[1:3], encoding) for image in _images(block)]
    if len(frames) != shape[0]:
        raise InvalidMessage(f"Expected {shape[0]} frames in a clip, got {len(frames)}.")
    return np.stack(frames)


def _images(block: memoryview) -> Iterator[memoryview]:
    start = 0
    while start < len(block):
        if start + _LENGTH.size > len(block):
            raise InvalidMessage("Expected the length of a frame, got the end of the message.")
        (size,) = _LENGTH.unpack_from(block, start)
        start += _LENGTH.size
        if start + size > len(block):
            raise InvalidMessage(f"Expected a frame of {size} bytes, got {len(block) - start}.")
        yield block[start : start + size]
        start += size


def _unpack_image(data: memoryview, size: tuple[int, ...], encoding: Encoding) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=(encoding.upper(),)) as image:
            # The size stands in front: looked at before any pixel is decoded.
            if (image.height, image.width) != size or image.mode != "RGB":
                raise InvalidMessage(
                    f"Expected an RGB frame of {size} pixels (height, width), as the header says, "
                    f"got {image.mode} of {(image.height, image.width)}."
                )
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidMessage(f"Expected a frame as {encoding}, got: {error}") from error


def _unpack_header(body: memoryview) -> tuple[Mapping[str, Any], memoryview]:
    if len(body) < _LENGTH.size:
        raise InvalidMessage(f"Expected a message, got {len(body)} bytes.")
    (size,) = _LENGTH.unpack_from(body)
    if size > MAX_HEADER_BYTES or _LENGTH.size + size > len(body):
        raise InvalidMessage(
            f"Expected a header of at most {MAX_HEADER_BYTES} bytes inside the message, got a length "
            f"of {size} in a message of {len(body)}."
        )
    header = _json(bytes(body[_LENGTH.size : _LENGTH.size + size]))
    match header:
        case {"version": int(version)} if version != VERSION:
            raise InvalidMessage(
                f"Expected version {VERSION} of the format, got version {version}. "
                "Install the same version of roboreward-gym on both machines."
            )
        case {"version": int(), "encoding": "raw" | "png" | "jpeg", "clips": list(entries)}:
            if not 1 <= len(entries) <= MAX_CLIPS:
                raise InvalidMessage(f"Expected 1 to {MAX_CLIPS} clips, got {len(entries)}.")
            for entry in entries:
                _check_entry(entry)
            return header, body[_LENGTH.size + size :]
    raise InvalidMessage(
        f"Expected a header with version, encoding ({', '.join(ENCODINGS)}) and clips, got other JSON."
    )


def _check_entry(entry: Any) -> None:
    match entry:
        case {
            "task": str(task),
            "fps": int() | float() as fps,
            "shape": [int(t), int(h), int(w), 3],
            "bytes": int(size),
            "crc32": int(),
        }:
            if not 0 < fps <= MAX_FPS:
                raise InvalidClip(
                    f"Expected a frame rate in (0, {MAX_FPS:.0f}] Hz, got {fps!r:.40}."
                )
            if len(task) > MAX_TASK_CHARACTERS:
                raise InvalidClip(
                    f"Expected a command of at most {MAX_TASK_CHARACTERS} characters, got {len(task)}."
                )
            if min(t, h, w) < 1 or size < 0:
                raise InvalidMessage(
                    f"Expected a shape above 0, got {(t, h, w, 3)} in {size} bytes. Film at least one frame."
                )
            return
    raise InvalidMessage(
        "Expected task, fps, shape [T, H, W, 3], bytes and crc32 of each clip, got other JSON."
    )


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"Expected JSON, got: {error}") from error
