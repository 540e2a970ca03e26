"""The configuration that registers the type `roboreward` with LeRobot."""

from dataclasses import dataclass, field

from lerobot.configs import FeatureType, PolicyFeature
from lerobot.configs.rewards import RewardModelConfig
from lerobot.utils.constants import OBS_IMAGES


@RewardModelConfig.register_subclass("roboreward")
@dataclass
class RoboRewardConfig(RewardModelConfig):
    """Which reward model scores, and what it is shown of a batch."""

    model: str = ""
    """Name of the reward model, as in `roboreward_gym.registry`; it chooses its own device. LeRobot makes
    configurations without arguments, so that a missing name is told when the model is made."""
    image_key: str = OBS_IMAGES + ".top"
    """Observation with whole episodes, `(B, T, C, H, W)`."""
    task_key: str = "task"
    """Where the tasks are."""
    default_task: str | None = None
    """Task of a batch that names none."""
    fps: float = 5.0
    """Frames per second of the episodes, in [Hz]."""
    reward_map: str = "progress"
    """How a score becomes a reward, as in `VLMRewardWrapper`."""
    license: str | None = "apache-2.0"
    tags: list[str] | None = field(default_factory=lambda: ["reward-model", "vision-language"])

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fps > 0:
            raise ValueError(f"fps must be above 0, not {self.fps}.")
        frame = PolicyFeature(type=FeatureType.VISUAL, shape=(3, 224, 224))
        self.input_features.setdefault(self.image_key, frame)
        reward = PolicyFeature(type=FeatureType.REWARD, shape=(1,))
        self.output_features.setdefault("reward", reward)

    def validate_features(self) -> None:
        """Check that there is a camera.

        Raises:
            ValueError: The image is not among the inputs.
        """
        if self.image_key not in self.input_features:
            raise ValueError(
                f"{self.image_key!r} is not among the inputs {sorted(self.input_features)}. Set image_key."
            )
