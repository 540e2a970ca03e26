"""RoboReward by one forward pass: any Qwen3-VL, from nano to the 8B, asked by the published protocol.

The start of the answer is forced, so that the next token is the digit: five logits at one position give the level, the
probabilities, and how much the model would rather have said something else. `generate` gives the level only, later.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from reward_models.library_errors import LIBRARY_ERRORS
from reward_models.model_options import Quantization
from reward_models.protocol.answer import parse_published, parse_strict, unreadable
from reward_models.protocol.frames import (
    ROBOREWARD_PROTOCOL,
    SampledClip,
    VideoProtocol,
    sample_clip,
)
from reward_models.protocol.inputs import InputBuilder, move
from reward_models.protocol.prompt import ANSWER_PREFIX, check_task_text, prompt_sha256
from reward_models.protocol.tokens import PromptTokenizer
from reward_models.qwen3vl.batching import Item, Result, in_batches
from reward_models.qwen3vl.checkpoint import choose_device, weights_sha256
from reward_models.qwen3vl.familiarity import Familiarity
from reward_models.qwen3vl.forward import VideoFeatures, next_token_logits
from reward_models.qwen3vl.opening import Library, open_checkpoint
from reward_models.qwen3vl.patch_features import (
    EncodedClip,
    encode_patches,
    encoded_clip,
    new_patches,
    patch_keys,
)
from reward_models.qwen3vl.patches import project_patches
from reward_models.qwen3vl.reference import EXAMPLES, settings_differences
from reward_models.qwen3vl.replies import ReplyGenerator
from reward_models.qwen3vl.trained_tasks import TrainedTasks
from reward_models.qwen3vl.versions import TRIED_TRANSFORMERS
from roboreward_gym.errors import (
    InvalidClip,
    InvalidSetting,
    RewardModelFailure,
    RewardModelUnavailable,
    WeightsError,
)
from roboreward_gym.types import LEVELS, Clip, ProgressScore

Decode = Literal["logits", "text", "published"]

BATCH, BATCH_ON_CPU = 8, 1
"""A CPU computes at full speed on one clip: more of them only leave its caches, and are shared between cores instead."""

TOGETHER = 32
"""Clips of a call whose features are in memory at a time, and which share those of equal frames: at most 0.8 GB for the 8B."""


class RoboReward:
    """A RoboReward checkpoint as a `RewardModel`.

    Args:
        source: Folder with config, safetensors weights, tokenizer and processor files, or a hub id.
        name: Name in the manifest; the folder's name or the hub id by default.
        revision: Branch, tag or commit of a hub id.
        offline: Take a hub id from the cache and ask nobody; `HF_HUB_OFFLINE=1` does the same.
        device: Where to run; `auto` is CUDA, else Apple's GPU, else the CPU.
        dtype: Precision; float32 on the CPU and that of the checkpoint elsewhere by default.
        attention: Attention implementation of the language model; transformers' choice by default.
        quantize: Store the language model in 8 or 4 bits; needs the extra `quantized`.
        batch_size: Most clips in one forward pass, halved when the memory does not suffice; 8 by
            default, and 1 on the CPU, where the clips of one call are shared between the cores that
            torch's own threads leave free.
        protocol: Frames and pixels that the model sees.
        off_format_limit: Above this probability of saying something other than a digit, an answer
            counts as unreadable instead of being read as the likeliest digit.
        abstain: Give no level where a file beside the weights says that words or video are unknown to the model.
        decode: `logits` reads one forward pass. `text` generates a reply and reads a level that it
            states beyond doubt, `published` reads it as the authors' evaluation does: slower,
            without probabilities, for comparison.
        library: `transformers`, or `torch` for our own forward pass of small checkpoints: the same scores, and
            3.7 times less CPU time until the first; without `attention`, `quantize` and other ways to decode.

    Warns:
        UserWarning: The frame settings beside the weights differ from the protocol, which is used.

    Raises:
        WeightsError: There is no such checkpoint, or it is incomplete, corrupt or of another kind.
        RewardModelUnavailable: The device does not exist, or has too little memory for it.
        InvalidSetting: A setting out of its range.
    """

    def __init__(
        self,
        source: Path | str,
        *,
        name: str | None = None,
        revision: str | None = None,
        offline: bool = False,
        device: str | torch.device = "auto",
        dtype: torch.dtype | str | None = None,
        attention: str | None = None,
        quantize: Quantization | None = None,
        batch_size: int | None = None,
        protocol: VideoProtocol = ROBOREWARD_PROTOCOL,
        off_format_limit: float = 0.5,
        abstain: bool = True,
        decode: Decode = "logits",
        library: Library = "transformers",
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise InvalidSetting(f"The batch size is {batch_size}. Choose 1 or more.")
        if decode not in get_args(Decode):
            raise InvalidSetting(
                f"decode is {decode!r}. Choose one of {', '.join(get_args(Decode))}."
            )
        if decode != "logits" and library == "torch":
            raise InvalidSetting(f"decode={decode!r} needs library='transformers'.")
        chosen = choose_device(device)
        checkpoint, self.model = open_checkpoint(
            source, chosen, dtype, revision=revision, offline=offline, attention=attention,
            quantize=quantize, library=library,
        )  # fmt: skip
        self.tokenizer = PromptTokenizer.from_folder(checkpoint.folder)
        self.model.eval().requires_grad_(requires_grad=False)
        project_patches(self.model.model.visual)
        _check_video_token(self.model.config.video_token_id, self.tokenizer)
        self.batch_size = batch_size or (BATCH_ON_CPU if chosen.type == "cpu" else BATCH)
        self.protocol = protocol
        self.off_format_limit = off_format_limit
        self.decode = decode
        self.abstain = abstain
        self._familiarity = Familiarity.beside(checkpoint.folder)
        self._trained_tasks = TrainedTasks(checkpoint.folder, name or checkpoint.name)
        self._replies = ReplyGenerator(self.model, self.tokenizer)
        self._digits = torch.tensor(self.tokenizer.digits)
        self._builder = InputBuilder(
            self.tokenizer, protocol, ANSWER_PREFIX if decode == "logits" else ""
        )
        self._manifest = {
            "model": name or checkpoint.name,
            "revision": checkpoint.revision,
            "weights_sha256": weights_sha256(checkpoint.folder),
            "prompt_sha256": prompt_sha256(),
            "protocol": dict(vars(protocol)),
            "decode": decode,
            "device": str(chosen),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": self.model.config.text_config._attn_implementation,
            "quantize": quantize,
            "torch": torch.__version__,
            "library": library,
            "transformers": version("transformers"),
        }
        self.folder = checkpoint.folder
        self._warn_of_other_settings()
        self._check_forward()

    def _warn_of_other_settings(self) -> None:
        if self.protocol != ROBOREWARD_PROTOCOL:
            return  # chosen by whoever made this object
        differences = settings_differences(self.folder)
        if differences:
            warnings.warn(
                f"The processor settings beside {self._manifest['model']} differ from RoboReward's protocol: "
                f"{'; '.join(differences)}. The protocol is used. Pass protocol=VideoProtocol(...) for another.",
                stacklevel=3,
            )

    def _check_forward(self) -> None:
        """Run the model once, so that a library that it cannot run with is named here and not in an episode."""
        try:
            self._score(EXAMPLES[:1])
        except (torch.OutOfMemoryError, RewardModelFailure):
            raise
        except LIBRARY_ERRORS as error:
            raise RewardModelUnavailable(
                f"{self._manifest['model']} cannot be run with transformers {version('transformers')} and torch "
                f"{torch.__version__}: {type(error).__name__}: {error}. Versions that were tried: transformers "
                f"{TRIED_TRANSFORMERS[0]} to {TRIED_TRANSFORMERS[1]}."
            ) from error

    @property
    def manifest(self) -> dict[str, Any]:
        """What the manifests of all scores have in common: the model, its weights and versions."""
        return dict(self._manifest)

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score clips of any sizes and lengths; same order, same length.

        Raises:
            InvalidClip: Fewer than two frames, frames smaller than one visual token, or a task
                that the prompt cannot hold.
            RewardModelFailure: The memory does not suffice for a single clip.
        """
        sampled = self._sample(clips)
        parts = [sampled[i : i + TOGETHER] for i in range(0, len(sampled), TOGETHER)]
        return [score for part in parts for score in self._score(part)]

    def prepare(self, clips: Sequence[SampledClip]) -> dict[str, torch.Tensor]:
        """Turn sampled clips into the model's inputs, padded on the left: the answer comes next."""
        return self._builder(clips)

    def _score(self, clips: Sequence[SampledClip]) -> list[ProgressScore]:
        if self.decode != "logits":
            return self._in_batches(self._read_replies, clips, clips)
        return self._in_batches(self._read_answers, self._encode(clips), clips)

    def _encode(self, clips: Sequence[SampledClip]) -> list[EncodedClip]:
        """Run the vision tower, and over temporal patches that clips have in common only once."""
        keys = [patch_keys(clip, self.protocol) for clip in clips]
        new = new_patches(clips, keys)
        work = partial(encode_patches, self.model, self.protocol)
        found = self._in_batches(work, new, [one.clip for one in new])
        features = {key: value for part in found for key, value in part.items()}
        return [encoded_clip(*pair, features) for pair in zip(clips, keys, strict=True)]

    def _in_batches(
        self,
        work: Callable[[Sequence[Item]], list[Result]],
        items: Sequence[Item],
        clips: Sequence[SampledClip],
    ) -> list[Result]:
        shapes = [clip.frames.shape for clip in clips]
        return in_batches(work, items, shapes, self.batch_size, self.model.device)

    @torch.inference_mode()
    def _read_answers(self, batch: Sequence[EncodedClip]) -> list[ProgressScore]:
        inputs = self._builder.text([one.clip for one in batch], [one.grid for one in batch])
        self._check_length(inputs)
        rows = self._next_token(inputs, [one.video for one in batch])
        manifests = [self._describe(one.clip, one.grid, one.video) for one in batch]
        return [self._read(*pair) for pair in zip(rows, manifests, strict=True)]

    def _next_token(
        self, inputs: Mapping[str, torch.Tensor], videos: Sequence[VideoFeatures]
    ) -> torch.Tensor:
        """`(B, vocabulary)` float64 logits behind the prompts, on the CPU."""
        logits = next_token_logits(self.model, move(inputs, self.model.device), videos)
        return logits.cpu().double()  # Apple's GPU has no doubles

    def video_tokens(self, clips: Sequence[SampledClip]) -> list[torch.Tensor]:
        """`(N, width)` features of each clip's video, as the language model gets them."""
        return [one.video.tokens for one in self._encode(clips)]

    @torch.inference_mode()
    def _read_replies(self, clips: Sequence[SampledClip]) -> list[ProgressScore]:
        inputs = self.prepare(clips)
        self._check_length(inputs)
        grids = inputs["video_grid_thw"].tolist()
        # Generating replies runs the tower by itself; only a model that may abstain needs its features here too.
        needed = self._familiarity is not None
        videos = [one.video for one in self._encode(clips)] if needed else [None] * len(clips)
        manifests = [self._describe(*one) for one in zip(clips, grids, videos, strict=True)]
        return [
            self._read_reply(text, manifest)
            for text, manifest in zip(self._replies(inputs), manifests, strict=True)
        ]

    def _read_reply(self, text: str, manifest: Mapping[str, Any]) -> ProgressScore:
        if refused := self._refused(manifest):
            return unreadable(text, manifest, refused)
        return ProgressScore(level=self._parse(text), text=text, manifest=manifest)

    def _refused(self, manifest: Mapping[str, Any]) -> str:
        """Why the model abstains from a question that was described so, or nothing."""
        why = manifest.get("familiarity", {}).get("refused")
        return f"The model abstains: {why}" if why and self.abstain else ""

    def _parse(self, text: str) -> int | None:
        if self.decode == "published":
            return parse_published(text)
        answer = parse_strict(text)
        return answer.level if answer else None

    def _read(self, logits: torch.Tensor, manifest: Mapping[str, Any]) -> ProgressScore:
        """Read one `(vocabulary,)` row of logits; a row with NaN is not an answer."""
        mass = logits.softmax(-1)[self._digits].sum().item()
        if not math.isfinite(mass):
            return unreadable("", manifest, "logits that are not finite", off_format=1.0)
        off_format = min(max(1.0 - mass, 0.0), 1.0)
        if refused := self._refused(manifest):
            return unreadable("", manifest, refused, off_format)
        digits = logits[self._digits]
        level = LEVELS[int(digits.argmax())]
        text = f"{ANSWER_PREFIX}{level}"
        if off_format > self.off_format_limit or mass == 0.0:
            text = ANSWER_PREFIX + self.tokenizer.decode([int(logits.argmax())])
            return ProgressScore(level=None, off_format=off_format, text=text, manifest=manifest)
        return ProgressScore(level, digits.softmax(-1).numpy(), off_format, text, manifest)

    def _describe(
        self, clip: SampledClip, grid: Sequence[int], video: VideoFeatures | None = None
    ) -> dict[str, Any]:
        vision, known = self.model.config.vision_config, {}
        if self._familiarity is not None and video is not None:
            known = {"familiarity": self._familiarity.check(clip.task, video.tokens)}
        return {
            **self._manifest,
            **known,
            "frame_indices": clip.indices.tolist(),
            "frames_missing": list(clip.missing),
            "frames_total": clip.total,
            "fps": clip.fps,
            "frame_size": list(clip.frames.shape[1:3]),
            "resized_to": [side * vision.patch_size for side in grid[1:]],
            "grid_thw": list(grid),
            "visual_tokens": math.prod(grid) // vision.spatial_merge_size**2,
        }

    def _sample(self, clips: Sequence[Clip]) -> list[SampledClip]:
        """Pick the frames that the model sees; clips with the same array of frames share those too."""
        found: dict[tuple[int, int, float], SampledClip] = {}
        for clip in clips:
            if not isinstance(clip, Clip):
                raise InvalidClip(
                    f"score takes a list of clips, and this one holds something of type {type(clip).__name__}. "
                    "Call score([Clip(frames, task, fps)])."
                )
            check_task_text(clip.task, self.tokenizer.reserved)
            self._trained_tasks.warn_about(clip.task)
            if _recording(clip) not in found:
                found[_recording(clip)] = sample_clip(clip, self.protocol)
        return [replace(found[_recording(clip)], task=clip.task) for clip in clips]

    def _check_length(self, inputs: Mapping[str, torch.Tensor]) -> None:
        limit = self.model.config.text_config.max_position_embeddings
        length = inputs["input_ids"].shape[1]
        if length > limit:
            raise InvalidClip(
                f"The prompt has {length} tokens, more than the limit of {limit}. Shorten the task."
            )


def _recording(clip: Clip) -> tuple[int, int, float]:
    """Equal for clips of one call that differ in nothing but the task."""
    return id(clip.frames), id(clip.indices), clip.fps


def _check_video_token(expected: int, tokenizer: PromptTokenizer) -> None:
    if expected != tokenizer.video_pad:
        raise WeightsError(
            f"The model's video token is {expected}, the tokenizer's is {tokenizer.video_pad}: they do not belong "
            "together. Fetch the checkpoint again."
        )
