"""How public wrappers ask RoboReward, rebuilt to be timed beside ours: what roboreason and Robometer's baseline do.

Frames go through JPEG files and `qwen_vl_utils`, which enlarges each to its own minimum, the video stands before the text at
a made-up rate of 1 Hz, and the answer is generated with up to 128 tokens, one clip at a time. Read from roboreason
(github.com/philipmit/roboreason, commit 701bf246); its swap of red and blue is left out, as it costs nothing.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import BatchFeature, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.protocol.prompt import build_prompt
from roboreward_gym import Clip

MAX_NEW_TOKENS = 128
PREFIXES = 10
JPEG_QUALITY = 85
ANSWER = re.compile(r"ANSWER\s*:\s*([1-5])", re.IGNORECASE)


class WrapperPath:
    """The recipe on one model.

    Attributes:
        tokens: Tokens that the last call generated.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
        self._model = model
        self._processor = processor
        self.tokens = 0

    def score(self, clip: Clip) -> int | None:
        """Ask about a whole clip."""
        inputs = self._inputs(clip).to(self._model.device)
        with torch.no_grad():
            output = self._model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        reply = output[:, inputs["input_ids"].shape[1] :]
        self.tokens = reply.shape[1]
        match = ANSWER.search(self._processor.batch_decode(reply, skip_special_tokens=True)[0])
        return int(match[1]) if match else None

    def score_prefixes(self, clip: Clip) -> list[int | None]:
        """Ask ten times, about a growing part of ten frames: the wrapper's only way to score an episode."""
        chosen = np.linspace(0, len(clip.frames) - 1, PREFIXES, dtype=int)
        frames = clip.frames[chosen]
        # One frame is no video for Qwen3-VL: the wrapper shows it twice.
        prefixes = [frames[[0, 0]], *(frames[:k] for k in range(2, PREFIXES + 1))]
        return [self.score(Clip(prefix, clip.task, 1.0)) for prefix in prefixes]

    def _inputs(self, clip: Clip) -> BatchFeature:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{i:04d}.jpg" for i in range(len(clip.frames))]
            for path, frame in zip(paths, clip.frames, strict=True):
                Image.fromarray(frame).save(path, "JPEG", quality=JPEG_QUALITY)
            content = [
                {"type": "video", "video": [f"file://{path}" for path in paths], "sample_fps": 1.0},
                {"type": "text", "text": build_prompt(clip.task)},
            ]
            message = [{"role": "user", "content": content}]
            text = self._processor.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True
            )
            images, videos, _ = process_vision_info(
                [message],
                image_patch_size=16,
                return_video_kwargs=True,
                return_video_metadata=True,
            )
        assert videos is not None
        tensors, metadata = zip(*videos, strict=True)
        return self._processor(
            text=[text],
            images=images,
            videos=list(tensors),
            video_metadata=list(metadata),
            padding=True,
            return_tensors="pt",
            do_resize=False,
            do_sample_frames=False,
        )
