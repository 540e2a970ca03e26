"""Clips and scores as bytes between a client and a server of a reward model: version 2 of the format.

A request is one safetensors file: a uint8 tensor per clip, named "0", "1", ..., and metadata, which safetensors holds as
texts::

    version   "2"
    encoding  "raw" or "png"
    protocol  JSON: which frames of a recording were chosen, as the server told; null if all were sent
    clips     JSON, a list: {"task": ..., "fps": ..., "shape": [T, H, W, 3], "crc32": ..., "indices": [...] or null,
              "num_frames": ... or null} of each clip, as in `roboreward_gym.Clip`

A `raw` tensor is the pixels: the server's model sees exactly what a model in this process would. A `png` tensor is the
file of one picture, the frames one below the other; it is smaller and changes no pixel either. An answer is JSON; the
floats in it keep every bit.
"""

import dataclasses
import io
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from reward_models.protocol.frames import VideoProtocol
from roboreward_gym.errors import (
    InvalidClip,
    InvalidMessage,
    InvalidScore,
    RewardModelFailure,
    RoboRewardError,
)
from roboreward_gym.scorer import ScoreOrError
from roboreward_gym.types import Clip, ProgressScore

VERSION = 2
MEDIA_TYPE = "application/vnd.roboreward.clips"
MAX_HEADER_BYTES = 1 << 20
MAX_CLIPS = 256
MAX_TASK_CHARACTERS = 4000
MAX_FPS = 1e6

Encoding = Literal["raw", "png"]
ENCODINGS: tuple[Encoding, ...] = ("raw", "png")


@dataclass(frozen=True)
class Request:
    """What a client asks.

    Attributes:
        clips: What to score.
        protocol: By which frames were chosen before sending; None if all were sent.
    """

    clips: list[Clip]
    protocol: VideoProtocol | None


def pack_clips(
    clips: Sequence[Clip], encoding: Encoding = "raw", protocol: VideoProtocol | None = None
) -> bytes:
    """Turn clips into the body of a request."""
    blocks = [np.ascontiguousarray(_encode(clip.frames, encoding)) for clip in clips]
    entries = [
        {
            "task": clip.task,
            "fps": float(clip.fps),
            "shape": list(clip.frames.shape),
            "crc32": zlib.crc32(block.data),
            "indices": None if clip.indices is None else np.asarray(clip.indices).tolist(),
            "num_frames": None if clip.num_frames is None else int(clip.num_frames),
        }
        for clip, block in zip(clips, blocks, strict=True)
    ]
    metadata = {
        "version": str(VERSION),
        "encoding": encoding,
        "protocol": json.dumps(pack_protocol(protocol)),
        "clips": json.dumps(entries),
    }
    return safetensors.numpy.save({str(i): block for i, block in enumerate(blocks)}, metadata)


def unpack_clips(body: bytes, max_pixel_bytes: int) -> Request:
    """Read the body of a request.

    Args:
        body: The message.
        max_pixel_bytes: Most bytes of decoded frames; a small file can hold a huge picture.

    Raises:
        InvalidMessage: The bytes do not follow the format.
        InvalidClip: They do, but a clip in them is invalid.
    """
    metadata, entries = _read_header(body)
    if sum(math.prod(entry["shape"]) for entry in entries) > max_pixel_bytes:
        raise InvalidMessage(
            f"The frames have more than {max_pixel_bytes} bytes. Send fewer at a time."
        )
    try:
        # Checked by the library: each tensor as long as its shape says, and together the whole message.
        blocks = safetensors.numpy.load(body)
    except SafetensorError as error:
        raise InvalidMessage(f"The message is not a valid safetensors file: {error}") from error
    clips = [
        _read_clip(blocks[str(i)], entry, metadata["encoding"]) for i, entry in enumerate(entries)
    ]
    return Request(clips, unpack_protocol(_json(metadata["protocol"])))


def pack_protocol(protocol: VideoProtocol | None) -> dict[str, Any] | None:
    """Turn the choice of frames into what JSON can hold."""
    return None if protocol is None else dataclasses.asdict(protocol)


def unpack_protocol(sent: Any) -> VideoProtocol | None:
    """Read a choice of frames.

    Raises:
        InvalidMessage: It is not a choice of frames.
    """
    match sent:
        case None:
            return None
        case {
            "fps": float() | int() as fps,
            "min_frames": int(),
            "max_frames": int() as most,
            "min_pixels": int(),
            "max_pixels": int(),
        } if len(sent) == 5 and 0 < fps <= MAX_FPS and most >= 1:
            return VideoProtocol(**sent)
    raise InvalidMessage(
        "The protocol lacks a valid choice of frames: fps, min_frames, max_frames, min_pixels, max_pixels."
    )


def pack_outcomes(outcomes: Sequence[ScoreOrError]) -> bytes:
    """Turn scores, and errors where there is no score, into the body of an answer.

    Raises:
        InvalidScore: A manifest holds something that JSON cannot.
    """
    message = {"version": VERSION, "scores": [_pack_outcome(outcome) for outcome in outcomes]}
    try:
        return json.dumps(message, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidScore(
            f"JSON cannot hold this score: {error}. "
            "Put plain numbers, texts and lists into its manifest."
        ) from error


def unpack_outcomes(body: bytes, clips: int) -> list[ScoreOrError]:
    """Read the body of an answer about a number of clips.

    Raises:
        InvalidMessage: The bytes do not follow the format, or hold another number of scores.
    """
    match _json(body):
        case {"version": int(version)} if version != VERSION:
            raise InvalidMessage(_other_version(version))
        case {"version": int(), "scores": list(entries)} if len(entries) == clips:
            return [_unpack_outcome(entry) for entry in entries]
        case {"scores": list(entries)}:
            raise InvalidMessage(f"{clips} clips need as many scores, got {len(entries)}.")
    raise InvalidMessage("The answer holds no list of scores.")


def pack_error(error: RoboRewardError) -> dict[str, Any]:
    """Turn an error into what JSON can hold: its kind and its message."""
    kind = "InvalidClip" if isinstance(error, InvalidClip) else "RewardModelFailure"
    return {"error": {"type": kind, "message": str(error)}}


def _pack_outcome(outcome: ScoreOrError) -> dict[str, Any]:
    if isinstance(outcome, RoboRewardError):
        return pack_error(outcome)
    p = outcome.probabilities
    return {
        "level": None if outcome.level is None else int(outcome.level),
        "probabilities": None if p is None else [float(x) for x in p],
        "off_format": float(outcome.off_format),
        "text": outcome.text,
        "manifest": dict(outcome.manifest),
    }


def _unpack_outcome(entry: Any) -> ScoreOrError:
    match entry:
        case {"error": {"type": "InvalidClip", "message": str(message)}}:
            return InvalidClip(message)
        case {"error": {"type": str(), "message": str(message)}}:
            return RewardModelFailure(f"The server says: {message}")
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
                raise InvalidMessage(f"The answer holds an invalid score: {error}") from error
    raise InvalidMessage("A score in the answer lacks a valid level, probabilities or text.")


def _encode(frames: np.ndarray, encoding: Encoding) -> np.ndarray:
    if encoding == "raw":
        return frames
    from PIL import Image  # only for this encoding

    file = io.BytesIO()
    stack = frames.reshape(-1, *frames.shape[2:])
    Image.fromarray(stack).save(file, "PNG", compress_level=4)
    return np.frombuffer(file.getbuffer(), np.uint8)


def _read_clip(block: np.ndarray, entry: Mapping[str, Any], encoding: str) -> Clip:
    shape = tuple(entry["shape"])
    if zlib.crc32(block.data) != entry["crc32"]:
        raise InvalidMessage("The frames do not have the checksum of the header. Send them again.")
    frames = _decode_png(block, shape) if encoding == "png" else block
    if frames.shape != shape:
        raise InvalidMessage(
            f"Frames must have the shape {shape} of the header, got {frames.shape}."
        )
    indices = None if entry["indices"] is None else np.array(entry["indices"], np.int64)
    return Clip(frames, entry["task"], entry["fps"], indices, entry["num_frames"])


def _decode_png(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(block.data), formats=("PNG",)) as image:
            # The size stands in front: looked at before any pixel is decoded.
            if (image.height, image.width) != (
                shape[0] * shape[1],
                shape[2],
            ) or image.mode != "RGB":
                raise InvalidMessage(
                    f"By the header it is RGB with {shape[0]} frames of {shape[1:3]} pixels (height, "
                    f"width), but it is {image.mode} of {(image.height, image.width)}."
                )
            return np.array(image).reshape(shape)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidMessage(f"The PNG picture of the frames is invalid: {error}") from error


def _read_header(body: bytes) -> tuple[Mapping[str, str], list[Any]]:
    """Read the metadata and the list of clips; nothing is allocated that the header asks for."""
    size = int.from_bytes(body[:8], "little")
    if len(body) < 8 or size > min(MAX_HEADER_BYTES, len(body) - 8):
        raise InvalidMessage(
            f"The header must have at most {MAX_HEADER_BYTES} bytes and fit into the message, got {size} "
            f"in a message of {len(body)}."
        )
    header = _json(body[8 : 8 + size])
    match header:
        case {"__metadata__": {"version": str(version)}} if version != str(VERSION):
            raise InvalidMessage(_other_version(version))
        case {
            "__metadata__": {
                "version": str(),
                "encoding": "raw" | "png",
                "protocol": str(),
                "clips": str(text),
            } as metadata
        }:
            entries = _json(text)
            if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_CLIPS:
                raise InvalidMessage(f"The metadata must hold a list of 1 to {MAX_CLIPS} clips.")
            for entry in entries:
                _check_entry(entry)
            tensors = {name: header[name] for name in header if name != "__metadata__"}
            if tensors.keys() != {str(i) for i in range(len(entries))} or not all(
                isinstance(tensor, dict) and tensor.get("dtype") == "U8"
                for tensor in tensors.values()
            ):
                raise InvalidMessage("Each clip must have exactly one uint8 tensor.")
            return metadata, entries
    raise InvalidMessage(
        f"The metadata lacks a valid version, encoding ({', '.join(ENCODINGS)}), protocol or clips."
    )


def _check_entry(entry: Any) -> None:
    match entry:
        case {
            "task": str(task),
            "fps": int() | float() as fps,
            "shape": [int(t), int(h), int(w), 3],
            "crc32": int(),
            "indices": None | list() as indices,
            "num_frames": None | int() as num_frames,
        }:
            if not 0 < fps <= MAX_FPS:
                raise InvalidClip(f"fps must be in (0, {MAX_FPS:.0f}] Hz, got {fps!r:.40}.")
            check_length(task)
            if min(t, h, w) < 1:
                raise InvalidMessage(f"The shape must be above 0 everywhere, got {(t, h, w, 3)}.")
            whole = [type(i) is int and 0 <= i < 2**62 for i in [*(indices or []), num_frames or 0]]
            if not all(whole):
                raise InvalidMessage("The indices of frames must be whole numbers >= 0.")
            return
    raise InvalidMessage(
        "A clip lacks a valid task, fps, shape [T, H, W, 3], crc32, indices or num_frames."
    )


def check_length(task: str) -> None:
    """Raise `InvalidClip` if a task is longer than a request may hold."""
    if len(task) > MAX_TASK_CHARACTERS:
        raise InvalidClip(
            f"A task may have at most {MAX_TASK_CHARACTERS} characters, this one has {len(task)}. "
            "Shorten it."
        )


def _other_version(version: object) -> str:
    return (
        f"The message has version {version!r:.20} of the format, this machine {VERSION}. "
        "Install the same version of roboreward-gym on both machines."
    )


def _json(data: bytes | str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"This is not valid JSON: {error}") from error
