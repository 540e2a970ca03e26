"""What the installed transformers and a checkpoint's own files would make of a clip, beside what the protocol makes.

A difference is reported and never followed: the protocol is what RoboReward was trained with.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reward_models.library_errors import LIBRARY_ERRORS
from reward_models.protocol.frames import (
    MERGE,
    PATCH,
    ROBOREWARD_PROTOCOL,
    TEMPORAL_PATCH,
    SampledClip,
    VideoProtocol,
)
from reward_models.protocol.inputs import InputBuilder
from reward_models.protocol.prompt import ANSWER_PREFIX, build_prompt, render_chat
from reward_models.protocol.tokens import VIDEO_PAD, VISION_END, VISION_START, PromptTokenizer

if TYPE_CHECKING:
    from transformers import BatchFeature, Qwen3VLProcessor

SETTINGS_FILES = (
    "video_preprocessor_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
COMPARED = ("input_ids", "pixel_values_videos", "video_grid_thw")

EXAMPLES = tuple(
    SampledClip(
        np.random.default_rng(0).integers(0, 256, (n, 48, 80, 3), dtype=np.uint8),
        np.arange(n) * 7,
        7 * n,
        9.97,
        task,
    )
    for n, task in ((3, "put the duck on the towel."), (2, "Öffne 12 Schubladen!"))
)
"""Two small clips, one with an odd number of frames, on which inputs are compared."""


def settings_differences(folder: Path, protocol: VideoProtocol = ROBOREWARD_PROTOCOL) -> list[str]:
    """Compare the frame and pixel settings that lie beside the weights with the protocol.

    Returns:
        A line for each setting that differs, empty if none does or the files do not say.
    """
    settings = _video_settings(folder)
    size = settings.get("size") or {}
    stored = {**settings, **{key: size.get(key) for key in ("shortest_edge", "longest_edge")}}
    wanted = {
        "fps": protocol.fps,
        "min_frames": protocol.min_frames,
        "max_frames": protocol.max_frames,
        "shortest_edge": protocol.min_pixels,
        "longest_edge": protocol.max_pixels,
        "patch_size": PATCH,
        "temporal_patch_size": TEMPORAL_PATCH,
        "merge_size": MERGE,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return [
        f"{key} is {stored[key]}, the protocol's is {value}"
        for key, value in wanted.items()
        if stored.get(key) is not None and stored[key] != value
    ]


def _video_settings(folder: Path) -> Mapping[str, Any]:
    for name in SETTINGS_FILES:
        path = folder / name
        try:
            content = json.loads(path.read_text("utf-8")) if path.is_file() else None
        except ValueError:
            continue
        if isinstance(content, dict):
            settings = content.get("video_processor", content)
            if isinstance(settings, dict):
                return settings
    return {}


def processor_differences(folder: Path, protocol: VideoProtocol = ROBOREWARD_PROTOCOL) -> list[str]:
    """Run the processor of the installed transformers on two clips and compare its inputs with ours.

    Returns:
        A line for each kind of input that differs, or for what kept the processor from making any.
    """
    from transformers import Qwen3VLProcessor

    ours = InputBuilder(PromptTokenizer.from_folder(folder), protocol)(EXAMPLES)
    try:
        processor = Qwen3VLProcessor.from_pretrained(folder, local_files_only=True)
        theirs = processor_inputs(processor, EXAMPLES, protocol)
    except LIBRARY_ERRORS as error:
        return [f"it makes none: {type(error).__name__}: {error}"]
    shown = ours["attention_mask"].bool()
    lengths = [int(mask.sum()) for mask in (ours["attention_mask"], theirs["attention_mask"])]
    if lengths[0] != lengths[1]:
        return [f"it writes {lengths[1]} tokens, the protocol {lengths[0]}"]
    found = []
    for name in COMPARED:
        mine, other = ours[name], theirs[name]
        if name == "input_ids":
            mine, other = mine[shown], other[theirs["attention_mask"].bool()]
        if mine.shape != other.shape or not torch.equal(mine, other):
            found.append(f"its {name} are others")
    return found


def processor_inputs(
    processor: "Qwen3VLProcessor",
    clips: Sequence[SampledClip],
    protocol: VideoProtocol = ROBOREWARD_PROTOCOL,
    answer_prefix: str = ANSWER_PREFIX,
) -> "BatchFeature":
    """Make the inputs with a processor of transformers."""
    video = VISION_START + VIDEO_PAD + VISION_END
    chats = [video.join(render_chat(build_prompt(clip.task))) + answer_prefix for clip in clips]
    with warnings.catch_warnings():
        # Warnings of transformers about NumPy do not concern the caller.
        warnings.simplefilter("ignore")
        return processor(
            text=chats,
            videos=[torch.from_numpy(clip.frames.transpose(0, 3, 1, 2).copy()) for clip in clips],
            text_kwargs={"padding": True, "padding_side": "left", "return_tensors": "pt"},
            videos_kwargs={
                "do_sample_frames": False,
                "return_tensors": "pt",
                "size": {"shortest_edge": protocol.min_pixels, "longest_edge": protocol.max_pixels},
                "video_metadata": [
                    {
                        "total_num_frames": clip.total,
                        "fps": float(clip.fps),
                        "frames_indices": clip.indices.tolist(),
                    }
                    for clip in clips
                ],
            },
        )
