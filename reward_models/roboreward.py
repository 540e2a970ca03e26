"""RoboReward by one forward pass: any Qwen3-VL folder, from nano to the 8B, asked by the published protocol.

The start of the answer is forced, so that the next token is the digit: five logits at one position give the level, the
probabilities, and how much the model would rather have said something else. `generate` gives the level only, later.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import BatchFeature, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.prompt import ANSWER_PREFIX, DIGITS, build_prompt, prompt_sha256
from reward_models.protocol import OFFICIAL, Protocol, SampledClip, sample_clip
from reward_models.vision_attention import speed_up
from roboreward_gym.errors import InvalidClip, WeightsError
from roboreward_gym.scoring import LEVELS, Clip, ProgressScore

MODEL_TYPE = "qwen3_vl"


class RoboReward:
    """A RoboReward checkpoint as a `RewardModel`.

    Args:
        folder: Local folder with config, safetensors weights, tokenizer and processor files.
        name: Name in the manifest; the folder's name by default.
        device: Where to run.
        dtype: Precision; float32 on the CPU and that of the checkpoint elsewhere by default.
        batch_size: Most clips in one forward pass.
        protocol: Frames and pixels that the model sees.
        off_format_limit: Above this probability of saying something other than a digit, an answer
            counts as unreadable instead of being read as the likeliest digit.

    Raises:
        WeightsError: The folder is missing, incomplete, corrupt, or holds another kind of model.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str | None = None,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int = 8,
        protocol: Protocol = OFFICIAL,
        off_format_limit: float = 0.5,
    ) -> None:
        folder = Path(folder)
        if batch_size < 1:
            raise ValueError(f"Expected a batch size of at least 1, got {batch_size}.")
        if dtype is None and device == "cpu":
            dtype = torch.float32
        self.model, self.processor = load_checkpoint(folder, dtype)
        self.model.to(device).eval().requires_grad_(requires_grad=False)
        speed_up(self.model.model.visual)
        self.batch_size = batch_size
        self.protocol = protocol
        self.off_format_limit = off_format_limit
        self._digits = torch.tensor(digit_tokens(self.processor), device=device)
        self._reserved = tuple(self.processor.tokenizer.all_special_tokens)
        self._manifest = {
            "model": name or folder.name,
            "weights_sha256": weights_sha256(folder),
            "prompt_sha256": prompt_sha256(),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Judge clips of any sizes and lengths; same order, same length.

        Raises:
            InvalidClip: Fewer than two frames, frames smaller than one visual token, or a task
                that contains a reserved token of the model.
        """
        sampled = [sample_clip(clip, self.protocol) for clip in clips]
        for clip in sampled:
            self._check_task(clip.task)
        # Equal shapes go together: one attention call for all frames, and no wasted padding.
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, clip in enumerate(sampled):
            groups[clip.frames.shape].append(i)
        scores: list[ProgressScore | None] = [None] * len(sampled)
        for group in groups.values():
            for start in range(0, len(group), self.batch_size):
                batch = group[start : start + self.batch_size]
                for i, score in zip(batch, self._score([sampled[i] for i in batch]), strict=True):
                    scores[i] = score
        return [score for score in scores if score is not None]

    def prepare(self, clips: Sequence[SampledClip]) -> BatchFeature:
        """Turn sampled clips into the model's inputs, padded on the left: the answer comes next."""
        return prepare(self.processor, clips, self.protocol)

    @torch.inference_mode()
    def _score(self, clips: Sequence[SampledClip]) -> list[ProgressScore]:
        inputs = self.prepare(clips).to(self.model.device)
        logits = self.model(**inputs, use_cache=False, logits_to_keep=1).logits[:, -1].double()
        grids = inputs["video_grid_thw"].tolist()
        return [
            self._read(row, self._describe(clip, grid))
            for row, clip, grid in zip(logits, clips, grids, strict=True)
        ]

    def _read(self, logits: torch.Tensor, manifest: Mapping[str, Any]) -> ProgressScore:
        """Read one `(vocabulary,)` row of logits; a row with NaN is no answer."""
        mass = logits.softmax(-1)[self._digits].sum().item()
        if not math.isfinite(mass):
            return ProgressScore(level=None, off_format=1.0, text="", manifest=manifest)
        off_format = min(max(1.0 - mass, 0.0), 1.0)
        digits = logits[self._digits]
        level = LEVELS[int(digits.argmax())]
        text = f"{ANSWER_PREFIX}{level}"
        if off_format > self.off_format_limit:
            text = ANSWER_PREFIX + self.processor.tokenizer.decode([int(logits.argmax())])
            return ProgressScore(level=None, off_format=off_format, text=text, manifest=manifest)
        return ProgressScore(level, digits.softmax(-1).cpu().numpy(), off_format, text, manifest)

    def _describe(self, clip: SampledClip, grid: list[int]) -> dict[str, Any]:
        merged = self.model.config.vision_config.spatial_merge_size**2
        return {
            **self._manifest,
            "frame_indices": clip.indices.tolist(),
            "frames_total": clip.total,
            "fps": float(clip.fps),
            "frame_size": list(clip.frames.shape[1:3]),
            "grid_thw": grid,
            "visual_tokens": math.prod(grid) // merged,
        }

    def _check_task(self, task: str) -> None:
        for token in self._reserved:
            if token in task:
                raise InvalidClip(
                    f"Expected a plain command, got the reserved token {token!r} in {task!r}. "
                    "It would change the layout of the prompt: remove it."
                )


def prepare(
    processor: Qwen3VLProcessor, clips: Sequence[SampledClip], protocol: Protocol = OFFICIAL
) -> BatchFeature:
    """Run the checkpoint's processor: one user turn, text then video, and the forced start of the answer."""
    videos_kwargs = {
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
    }
    return processor(
        text=[render_chat(processor, build_prompt(clip.task)) + ANSWER_PREFIX for clip in clips],
        videos=[torch.from_numpy(clip.frames.transpose(0, 3, 1, 2).copy()) for clip in clips],
        text_kwargs={"padding": True, "padding_side": "left", "return_tensors": "pt"},
        videos_kwargs=videos_kwargs,
    )


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


def load_checkpoint(
    folder: Path, dtype: torch.dtype | None = None
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Load model and processor from local files only.

    Raises:
        WeightsError: The folder is missing, incomplete, corrupt, or holds another kind of model.
    """
    advice = "Point to a complete Qwen3-VL checkpoint folder, or fetch it again."
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(
            f"Expected a checkpoint with {config.name} in {folder}, got none. {advice}"
        )
    try:
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
        if model_type != MODEL_TYPE:
            raise WeightsError(
                f"Expected a model of type {MODEL_TYPE!r} in {folder}, got {model_type!r}. {advice}"
            )
        model, report = Qwen3VLForConditionalGeneration.from_pretrained(
            folder,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        processor = Qwen3VLProcessor.from_pretrained(folder, local_files_only=True)
    except WeightsError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"Expected readable weights in {folder}, got: {error}. {advice}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would go on with random numbers in their place.
        raise WeightsError(
            f"Expected all weights in {folder}, got none for {missing[:3]} ({len(missing)} missing). {advice}"
        )
    return model, processor


def weights_sha256(folder: Path) -> str:
    """Fingerprint of all weight files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
