"""From sampled clips to the tensors of the model: what the checkpoint's own processor makes, bit for bit.

The processor is general, and on a small model it costs half as long as the forward pass. `InputBuilder` does the one
thing that is asked here: frames become patches in one copy, and the text around them is encoded once for each command.
`matches_processor` compares both on a clip when a checkpoint is loaded, so that a processor that works otherwise is used
itself.
"""

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF
from transformers import BatchFeature, Qwen3VLProcessor

from reward_models.protocol.frames import OFFICIAL, Protocol, SampledClip, resized_size
from reward_models.protocol.prompt import ANSWER_PREFIX, DIGITS, build_prompt
from roboreward_gym.errors import WeightsError

BICUBIC = 3
"""`PIL.Image.Resampling.BICUBIC`, the only resampling of Qwen3-VL's video processor."""
VIDEO_TYPE = 2
"""What the processor calls a video token in `mm_token_type_ids`."""
CACHED_TEXTS = 4096


class InputBuilder:
    """Builds the inputs of one forward pass, padded on the left: the answer comes next.

    Args:
        processor: The checkpoint's processor, whose settings and tokenizer are used.
        protocol: Pixel budget.
        answer_prefix: Forced start of the answer; empty to let the model generate it.
    """

    def __init__(
        self, processor: Qwen3VLProcessor, protocol: Protocol, answer_prefix: str = ANSWER_PREFIX
    ) -> None:
        self._processor = processor
        self._protocol = protocol
        self._answer_prefix = answer_prefix
        self._video = video = processor.video_processor
        # The same two operations as in the processor: rescaling is folded into mean and deviation.
        self._mean = torch.tensor(video.image_mean) * (1.0 / video.rescale_factor)
        self._std = torch.tensor(video.image_std) * (1.0 / video.rescale_factor)
        self._chat = functools.lru_cache(CACHED_TEXTS)(self._render)
        self._encode = functools.lru_cache(CACHED_TEXTS)(self._tokenize)

    def __call__(self, clips: Sequence[SampledClip]) -> BatchFeature:
        """Return token ids, masks, pixel values and grids of clips of any sizes."""
        pixels, grids = zip(*(self._patches(clip.frames) for clip in clips), strict=True)
        rows = [self._tokens(clip, grid) for clip, grid in zip(clips, grids, strict=True)]
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self._processor.tokenizer.pad_token_id, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for i, row in enumerate(rows):
            ids[i, width - len(row) :] = row
            mask[i, width - len(row) :] = 1
        kinds = np.where(ids == self._processor.video_token_id, VIDEO_TYPE, 0)
        return BatchFeature(
            {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(mask),
                "mm_token_type_ids": torch.from_numpy(kinds),
                "pixel_values_videos": pixels[0] if len(pixels) == 1 else torch.cat(pixels),
                "video_grid_thw": torch.tensor(grids),
            }
        )

    def _patches(self, frames: np.ndarray) -> tuple[torch.Tensor, tuple[int, int, int]]:
        """`(n, H, W, 3)` uint8 to `(t * h * w, channels * 2 * 16 * 16)` float32 and the grid."""
        video = self._video
        patch, merge, pair = video.patch_size, video.merge_size, video.temporal_patch_size
        height, width = resized_size(len(frames), *frames.shape[1:3], self._protocol)
        images = torch.from_numpy(frames).permute(0, 3, 1, 2)
        if (height, width) != frames.shape[1:3]:
            images = tvF.resize(images, [height, width], InterpolationMode.BICUBIC, antialias=True)
        if missing := -len(images) % pair:
            images = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)])
        t, h, w = len(images) // pair, height // patch, width // patch
        # Bytes are put in order, and only then made numbers of four times their size.
        blocks = images.contiguous().view(
            t, pair, -1, h // merge, merge, patch, w // merge, merge, patch
        )
        values = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).contiguous().to(torch.float32)
        values.sub_(self._mean.view(-1, 1, 1, 1)).div_(self._std.view(-1, 1, 1, 1))
        return values.view(t * h * w, -1), (t, h, w)

    def _tokens(self, clip: SampledClip, grid: tuple[int, int, int]) -> list[int]:
        """Token ids of the whole prompt.

        Reserved tokens split a text before it is encoded, so the parts between them can be encoded by themselves.
        """
        processor = self._processor
        head, tail = self._chat(clip.task)
        stamps = [f"<{time:.1f} seconds>" for time in clip.group_times_s]
        pads = [processor.video_token_id] * (grid[1] * grid[2] // self._video.merge_size**2)
        picture = [processor.vision_start_token_id, *pads, processor.vision_end_token_id]
        # The first time stands right behind the command and may merge with its last character.
        ids = [*self._encode(head + stamps[0]), *picture]
        for stamp in stamps[1:]:
            ids += [*self._encode(stamp), *picture]
        return ids + list(self._encode(tail))

    def _render(self, task: str) -> tuple[str, str]:
        processor = self._processor
        video = processor.vision_start_token + processor.video_token + processor.vision_end_token
        head, *rest = render_chat(processor, build_prompt(task)).split(video)
        if len(rest) != 1:
            raise WeightsError(
                f"Expected a chat template that writes {video} once, got it {len(rest)} times. "
                "Use the chat template of Qwen3-VL."
            )
        return head, rest[0] + self._answer_prefix

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(self._processor.tokenizer.encode(text, add_special_tokens=False))


def processor_inputs(
    processor: Qwen3VLProcessor,
    clips: Sequence[SampledClip],
    protocol: Protocol = OFFICIAL,
    answer_prefix: str = ANSWER_PREFIX,
) -> BatchFeature:
    """Make the same inputs with the checkpoint's processor: the reference that `InputBuilder` equals."""
    chats = [render_chat(processor, build_prompt(clip.task)) + answer_prefix for clip in clips]
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


CHECKED = tuple(
    SampledClip(
        np.random.default_rng(0).integers(0, 256, (n, 48, 80, 3), dtype=np.uint8),
        np.arange(n) * 7,
        7 * n,
        9.97,
        task,
    )
    for n, task in ((3, "put the duck on the towel."), (2, "Öffne 12 Schubladen!"))
)
"""Two small clips, one with an odd number of frames, on which a checkpoint is tried when it is loaded."""


def matches_processor(
    builder: InputBuilder, processor: Qwen3VLProcessor, protocol: Protocol
) -> bool:
    """Whether both make identical inputs from `CHECKED`."""
    video = processor.video_processor
    if video.resample != BICUBIC or not (
        video.do_resize and video.do_rescale and video.do_normalize
    ):
        return False
    ours, theirs = builder(CHECKED), processor_inputs(processor, CHECKED, protocol)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def shared_beginning(inputs: BatchFeature) -> list[int]:
    """Return the token ids that all these prompts begin with, before their videos."""
    rows = [
        ids[shown.bool()].tolist()
        for ids, shown in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    ]
    text = [
        kinds[shown.bool()].tolist().index(VIDEO_TYPE)
        for kinds, shown in zip(inputs["mm_token_type_ids"], inputs["attention_mask"], strict=True)
    ]
    equal = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
    return [column[0] for column in itertools.islice(equal, min(text))]


def render_chat(processor: Qwen3VLProcessor, question: str) -> str:
    """Return one user turn, text then video, up to and including the start of the assistant's."""
    content = [{"type": "text", "text": question}, {"type": "video"}]
    messages = [{"role": "user", "content": content}]
    return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def digit_tokens(processor: Qwen3VLProcessor) -> list[int]:
    """Return the ids of the five digits as they follow the answer prefix.

    Raises:
        WeightsError: The tokenizer joins a digit with its neighbour, so that one position cannot tell.
    """
    encode = processor.tokenizer.encode
    prefix = encode(ANSWER_PREFIX, add_special_tokens=False)
    ids = []
    for digit in DIGITS:
        answer = encode(ANSWER_PREFIX + digit, add_special_tokens=False)
        # A tokenizer whose file is missing loads without complaint and encodes nothing.
        if not prefix or answer[:-1] != prefix:
            raise WeightsError(
                f"Expected {digit!r} to be one token after {ANSWER_PREFIX!r}, got {answer} after {prefix}. "
                "Use a complete tokenizer that splits digits, as Qwen3's does."
            )
        ids.append(answer[-1])
    return ids
