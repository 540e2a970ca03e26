"""The configuration that registers the type `roboreward_dit` with LeRobot."""

from dataclasses import dataclass, field

from lerobot.configs import NormalizationMode
from lerobot.configs.policies import PreTrainedConfig
from lerobot.optim.optimizers import AdamWConfig
from lerobot.optim.schedulers import DiffuserSchedulerConfig


@PreTrainedConfig.register_subclass("roboreward_dit")
@dataclass
class RoboRewardDiTConfig(PreTrainedConfig):
    """Sizes of the policy, as in `policies.policy.PolicyConfig`, in LeRobot's words."""

    chunk_size: int = 8
    """Actions decoded at once."""
    n_action_steps: int = 8
    """How many of them are played before the policy looks again."""
    maps: int = 18
    """Heat maps of the image encoder."""
    vision_width: int = 32
    """Channels of the image encoder."""
    width: int = 128
    """Width of the transformer."""
    layers: int = 4
    """Blocks of the transformer."""
    heads: int = 4
    """Attention heads per block."""
    sample_steps: int = 10
    """Denoising steps when acting; a divisor of 100."""
    lr: float = 1e-3
    """Peak learning rate, cosine to zero."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    warm_up: int = 100
    """Steps of linear rise of the learning rate."""
    normalization_mapping: dict[str, NormalizationMode] = field(
        # The policy brings its own ranges, which are saved with its weights.
        default_factory=lambda: dict.fromkeys(
            ("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise ValueError(
                f"n_action_steps must be in 1..{self.chunk_size} (chunk_size), got {self.n_action_steps}."
            )

    @property
    def observation_delta_indices(self) -> None:
        """The policy sees the present observation only."""
        return

    @property
    def action_delta_indices(self) -> list[int]:
        """Actions of a chunk, from now on."""
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        """The policy is cloned; rewards are for what fine-tunes it."""
        return

    def get_optimizer_preset(self) -> AdamWConfig:
        """As in `policies.pretrain`."""
        return AdamWConfig(lr=self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay)

    def get_scheduler_preset(self) -> DiffuserSchedulerConfig:
        """As in `policies.pretrain`."""
        return DiffuserSchedulerConfig(name="cosine", num_warmup_steps=self.warm_up)

    def validate_features(self) -> None:
        """Check that there is one camera, a state and an action.

        Raises:
            ValueError: There is not.
        """
        if len(self.image_features) != 1:
            raise ValueError(
                f"The policy takes exactly one camera, got {sorted(self.image_features)}. "
                "Name one with --policy.input_features."
            )
        if self.robot_state_feature is None or self.action_feature is None:
            raise ValueError(
                "The policy needs the features observation.state and action, got "
                f"{sorted({**(self.input_features or {}), **(self.output_features or {})})}."
            )
