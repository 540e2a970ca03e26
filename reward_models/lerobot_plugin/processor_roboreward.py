"""From LeRobot's batches to what a reward model is shown: whole episodes, uint8, channels last."""

from dataclasses import dataclass
from typing import Any

import torch
from lerobot.configs import PipelineFeatureType, PolicyFeature
from lerobot.lerobot_types import TransitionKey
from lerobot.processor import (
    PolicyAction,
    PolicyProcessorPipeline,
    ProcessorStep,
    ProcessorStepRegistry,
    policy_action_to_transition,
)
from lerobot.utils.constants import (
    OBS_IMAGES,
    OBS_PREFIX,
    POLICY_POSTPROCESSOR_DEFAULT_NAME,
    POLICY_PREPROCESSOR_DEFAULT_NAME,
)
from torch import Tensor

from reward_models.lerobot_plugin.configuration_roboreward import RoboRewardConfig
from roboreward_gym.errors import InvalidClip

FRAMES = f"{OBS_PREFIX}roboreward.frames"
TASKS = f"{OBS_PREFIX}roboreward.tasks"


@dataclass
@ProcessorStepRegistry.register(name="roboreward_encoder")
class RoboRewardEncoderProcessorStep(ProcessorStep):
    """Adds whole episodes and their tasks to the observation; crops nothing.

    LeRobot's other reward models keep the last frames of an episode. RoboReward looks at frames
    spread over all of it, and chooses them itself.
    """

    image_key: str = OBS_IMAGES + ".top"
    task_key: str = "task"
    default_task: str | None = None

    def __call__(self, transition: dict[str, Any]) -> dict[str, Any]:
        """Add the two entries.

        Raises:
            InvalidClip: No such image, single frames instead of episodes, or no task.
        """
        observation = dict(transition.get(TransitionKey.OBSERVATION) or {})
        if self.image_key not in observation:
            raise InvalidClip(
                f"{self.image_key!r} is not in the observation, which has {sorted(observation)}. "
                "Set image_key to the camera that shows the episode."
            )
        frames = to_uint8_video(torch.as_tensor(observation[self.image_key]))
        complementary = transition.get(TransitionKey.COMPLEMENTARY_DATA) or {}
        task = complementary.get(self.task_key, self.default_task)
        tasks = [task] * len(frames) if isinstance(task, str) else list(task or ())
        if len(tasks) == 1:
            tasks *= len(frames)
        if len(tasks) != len(frames):
            raise InvalidClip(
                f"There are {len(tasks)} tasks under {self.task_key!r} for {len(frames)} episodes. "
                "Pass one for each, one for all, or set default_task."
            )
        changed = transition.copy()
        changed[TransitionKey.OBSERVATION] = {**observation, FRAMES: frames, TASKS: tasks}
        return changed

    def transform_features(
        self, features: dict[PipelineFeatureType, dict[str, PolicyFeature]]
    ) -> dict[PipelineFeatureType, dict[str, PolicyFeature]]:
        """Nothing that a policy would see changes."""
        return features

    def get_config(self) -> dict[str, Any]:
        """What to save."""
        return {
            "image_key": self.image_key,
            "task_key": self.task_key,
            "default_task": self.default_task,
        }


def to_uint8_video(frames: Tensor) -> Tensor:
    """Bring episodes to `(B, T, H, W, 3)` uint8.

    Args:
        frames: `(B, T, C, H, W)` or `(B, T, H, W, C)`; uint8, or float in [0, 1] as LeRobot decodes.

    Raises:
        InvalidClip: Another shape.
    """
    if frames.ndim == 5 and frames.shape[2] == 3 and frames.shape[-1] != 3:
        frames = frames.permute(0, 1, 3, 4, 2)
    if frames.ndim != 5 or frames.shape[-1] != 3:
        raise InvalidClip(
            f"Episodes have the shape (B, T, C, H, W) with three channels; this is "
            f"{tuple(frames.shape)}. A single frame shows no progress: ask delta_timestamps for all."
        )
    if frames.is_floating_point():
        frames = (frames * 255.0).round().clamp(0, 255)
    return frames.to(torch.uint8).contiguous()


def make_roboreward_pre_post_processors(
    config: RoboRewardConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """Make the two pipelines under the name that LeRobot looks for; nothing is normalised."""
    encoder = RoboRewardEncoderProcessorStep(config.image_key, config.task_key, config.default_task)
    before = PolicyProcessorPipeline[dict[str, Any], dict[str, Any]](
        steps=[encoder], name=POLICY_PREPROCESSOR_DEFAULT_NAME
    )
    after = PolicyProcessorPipeline[PolicyAction, PolicyAction](
        steps=[],
        name=POLICY_POSTPROCESSOR_DEFAULT_NAME,
        to_transition=policy_action_to_transition,
    )
    return before, after
