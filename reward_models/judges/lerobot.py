"""Reward models that come with LeRobot behind our `RewardModel`: `robometer` and `topreward`.

They say how far the task is, as a number in [0, 1], not one of five levels. It becomes two
neighbouring levels whose mean is exact: 0.6 lies at 3.4, so level 3 with 0.6 and level 4 with 0.4.
"""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from draccus.utils import DraccusException
from huggingface_hub.errors import HfHubHTTPError
from lerobot.configs.rewards import RewardModelConfig
from lerobot.rewards.pretrained import PreTrainedRewardModel
from lerobot.rewards.robometer import RobometerConfig, RobometerRewardModel
from lerobot.rewards.robometer.processor_robometer import make_robometer_pre_post_processors
from lerobot.rewards.topreward import TOPRewardConfig, TOPRewardModel
from lerobot.rewards.topreward.processor_topreward import make_topreward_pre_post_processors
from safetensors import SafetensorError

from reward_models.protocol.frames import VideoProtocol, sample_clip
from reward_models.protocol.prompt import check_task_text
from roboreward_gym.errors import WeightsError
from roboreward_gym.types import LEVELS, Clip, ProgressScore

ROBOMETER = "lerobot/Robometer-4B"
TOPREWARD = "Qwen/Qwen3-VL-8B-Instruct"
TOKENIZER = "tokenizer_config.json"
EVERY_FRAME_HZ = 1e6
"""Sampling rate of a model that is shown as many frames as it takes."""
UNLOADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    SafetensorError,
    HfHubHTTPError,
    DraccusException,
)
"""What missing, foreign and damaged files make LeRobot, transformers and the Hub's client raise."""


@dataclass(frozen=True, eq=False)
class LeRobotReward:
    """A LeRobot reward model as a `RewardModel`.

    Attributes:
        model: The network.
        preprocess: LeRobot's pipeline before it.
        progress: Turns what the model returns into progress in [0, 1].
        protocol: Which frames the model is shown.
        image_key: Where the pipeline looks for frames.
        manifest: What is noted with each score.
    """

    model: PreTrainedRewardModel
    preprocess: Callable[[dict[str, Any]], dict[str, Any]]
    progress: Callable[[float], float]
    protocol: VideoProtocol
    image_key: str
    manifest: dict[str, Any]

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score each clip; the frames are spread over all of it, where LeRobot takes the last ones.

        Raises:
            InvalidClip: Fewer than two frames, or a task that no prompt can hold.
        """
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> ProgressScore:
        check_task_text(clip.task)
        # By their places in the whole recording, of which a thinned clip holds the nearest frames.
        sampled = sample_clip(clip, self.protocol)
        video = torch.from_numpy(sampled.frames.transpose(0, 3, 1, 2).copy())[None]
        batch = self.preprocess({self.image_key: video, "task": [clip.task]})
        value = float(self.model.compute_reward(batch)[0])
        manifest = {**self.manifest, "frame_indices": sampled.indices.tolist(), "value": value}
        manifest["frames_missing"] = list(sampled.missing)
        if not math.isfinite(value):
            return ProgressScore(None, off_format=1.0, text=str(value), manifest=manifest)
        progress = self.progress(value)
        probabilities = neighbouring_levels(progress)
        level = LEVELS[int(probabilities.argmax())]
        return ProgressScore(level, probabilities, text=f"{progress:.3f}", manifest=manifest)


def neighbouring_levels(progress: float) -> np.ndarray:
    """`(5,)` probabilities on at most two neighbouring levels, with mean `1 + 4 * progress`."""
    steps = len(LEVELS) - 1
    place = min(max(progress, 0.0), 1.0) * steps
    below = min(int(place), steps - 1)
    probabilities = np.zeros(len(LEVELS))
    probabilities[below + 1] = place - below
    probabilities[below] = 1.0 - probabilities[below + 1]
    return probabilities


def load_robometer(source: str) -> LeRobotReward:
    """Load Robometer from a folder or the Hub.

    Its own progress in [0, 1] is taken as it is.

    Raises:
        WeightsError: Missing, incomplete, or something else.
    """
    with _explained("Robometer", source, ROBOMETER):
        config = RewardModelConfig.from_pretrained(source)
        if not isinstance(config, RobometerConfig):
            raise ValueError(f"a reward model of type {config.type!r}")
        config.device, config.pretrained_path = _device(), source
        if config.device == "cpu":
            config.torch_dtype = "float32"
        if (Path(source) / TOKENIZER).is_file():
            config.base_model_id = source
        # LeRobot would fill missing weights with random numbers and go on.
        model = RobometerRewardModel.from_pretrained(source, config=config, strict=True)
        before, _ = make_robometer_pre_post_processors(config)
    protocol = VideoProtocol(fps=EVERY_FRAME_HZ, min_frames=2, max_frames=config.max_frames or 8)
    return LeRobotReward(
        model, before, float, protocol, config.image_key, {"model": f"robometer:{source}"}
    )


def load_topreward(source: str) -> LeRobotReward:
    """Load TOPReward with a Qwen3-VL from a folder or the Hub.

    Its reward is the log-probability that the sentence "the task is done" is true; the probability is
    taken as progress. It is not calibrated: compare episodes of one task, not tasks.

    Raises:
        WeightsError: Missing, incomplete, or something else.
    """
    with _explained("a Qwen3-VL for TOPReward", source, TOPREWARD):
        device = _device()
        dtype = "float32" if device == "cpu" else "auto"
        config = TOPRewardConfig(vlm_name=source, device=device, torch_dtype=dtype)
        model = TOPRewardModel(config).to(device).eval()
        before, _ = make_topreward_pre_post_processors(config)
    return LeRobotReward(
        model,
        before,
        math.exp,
        VideoProtocol(
            config.fps or EVERY_FRAME_HZ, min_frames=2, max_frames=config.max_frames or 16
        ),
        config.image_key,
        {"model": f"topreward:{source}"},
    )


@contextmanager
def _explained(what: str, source: str, default: str) -> Generator[None, None, None]:
    """Turn whatever a loader raises into a `WeightsError` that says what to do."""
    try:
        yield
    except UNLOADABLE as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{source!r} cannot be loaded as {what}: {reason} "
            f"Fetch {default} from the Hugging Face Hub, or pass the folder of a copy after a colon."
        ) from error


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
