"""What the vision tower makes of temporal patches, each computed once in a call.

Qwen3-VL's tower looks at two frames at a time: its attention and its positions end at the borders of a temporal patch. Clips
with the same two frames in the same size share that patch, be it one video with several tasks, the prefixes of one episode,
or a robot that stands still. Which clip computes it goes by their order, so a call gives the same numbers each time.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from reward_models.protocol.frames import (
    PATCH,
    TEMPORAL_PATCH,
    SampledClip,
    VideoProtocol,
    resized_size,
)
from reward_models.protocol.inputs import Grid, clip_patches
from reward_models.qwen3vl.forward import VideoFeatures, encode_videos
from reward_models.qwen3vl.plain import PlainQwen3VL

if TYPE_CHECKING:
    from transformers import Qwen3VLForConditionalGeneration


class PatchKey(NamedTuple):
    """Equal for temporal patches of equal pixels.

    Attributes:
        size: Height and width of the frames, in pixels.
        rows: Patches below one another, after resizing.
        columns: Patches beside one another.
        sha256: Of its two frames; of the last one of an odd number, which stands twice in its patch.
    """

    size: tuple[int, int]
    rows: int
    columns: int
    sha256: bytes


@dataclass(frozen=True, eq=False)
class NewPatches:
    """Those temporal patches of a clip that no clip before it has, by their places in it."""

    clip: SampledClip
    places: Mapping[PatchKey, int]


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A clip with the features of its video."""

    clip: SampledClip
    grid: Grid
    video: VideoFeatures


def patch_keys(clip: SampledClip, protocol: VideoProtocol) -> list[PatchKey]:
    """The keys of a clip's temporal patches, in order of time."""
    height, width = clip.frames.shape[1:3]
    rows, columns = (
        side // PATCH for side in resized_size(len(clip.frames), height, width, protocol)
    )
    starts = range(0, len(clip.frames), TEMPORAL_PATCH)
    parts = [clip.frames[start : start + TEMPORAL_PATCH] for start in starts]
    return [
        PatchKey((height, width), rows, columns, hashlib.sha256(p.tobytes()).digest())
        for p in parts
    ]


def new_patches(
    clips: Sequence[SampledClip], keys: Sequence[Sequence[PatchKey]]
) -> list[NewPatches]:
    """What has to be computed for these clips; nothing for those that show nothing new."""
    seen: set[PatchKey] = set()
    found = []
    for clip, own in zip(clips, keys, strict=True):
        places = {key: place for place, key in enumerate(own) if key not in seen}
        seen |= places.keys()
        if places:
            found.append(NewPatches(clip, places))
    return found


@torch.inference_mode()
def encode_patches(
    model: "Qwen3VLForConditionalGeneration | PlainQwen3VL",
    protocol: VideoProtocol,
    batch: Sequence[NewPatches],
) -> list[dict[PatchKey, VideoFeatures]]:
    """Run the vision tower over the new patches of clips of one shape."""
    pixels: dict[PatchKey, torch.Tensor] = {}
    for one in batch:
        values, grid = clip_patches(one.clip.frames, protocol)
        parts = values.chunk(grid[0])
        pixels |= {key: parts[place] for key, place in one.places.items()}
    # As one video of so many temporal patches: the tower keeps them apart.
    (video,) = encode_videos(model, [torch.cat(list(pixels.values()))], [(len(pixels), *grid[1:])])
    features = dict(zip(pixels, _split(video, len(pixels)), strict=True))
    return [{key: features[key] for key in one.places} for one in batch]


def encoded_clip(
    clip: SampledClip, keys: Sequence[PatchKey], features: Mapping[PatchKey, VideoFeatures]
) -> EncodedClip:
    """Put the features of a clip's temporal patches together."""
    parts = [features[key] for key in keys]
    deep = zip(*(part.deepstack for part in parts), strict=True)
    video = VideoFeatures(
        torch.cat([part.tokens for part in parts]), tuple(torch.cat(layer) for layer in deep)
    )
    return EncodedClip(clip, (len(keys), keys[0].rows, keys[0].columns), video)


def _split(video: VideoFeatures, count: int) -> list[VideoFeatures]:
    layers = zip(*(layer.chunk(count) for layer in (video.tokens, *video.deepstack)), strict=True)
    return [VideoFeatures(tokens, tuple(deep)) for tokens, *deep in layers]
