"""The policy behind LeRobot's interface: trained by `lerobot-train`, played by `lerobot-eval`."""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from torch import Tensor

from policies.diffusion import SCHEDULER, TRAIN_STEPS, velocity_errors
from policies.lerobot_plugin.configuration_roboreward_dit import RoboRewardDiTConfig
from policies.policy import DiffusionPolicy, PolicyConfig
from policies.vision import downsample

PADDED = f"{ACTION}_is_pad"


class RoboRewardDiTPolicy(PreTrainedPolicy):
    """`DiffusionPolicy` as a LeRobot policy.

    Args:
        config: Its sizes, with the features that LeRobot took from the data set.
        dataset_stats: Ranges of states and actions; needed to train, and saved with the weights.
        dataset_meta: Ignored; LeRobot passes it to every policy.
    """

    config_class = RoboRewardDiTConfig
    name = "roboreward_dit"

    def __init__(
        self,
        config: RoboRewardDiTConfig,
        *,
        dataset_stats: dict[str, dict[str, Any]] | None = None,
        dataset_meta: Any = None,
    ) -> None:
        super().__init__(config)
        config.validate_features()
        self.config = config
        self._image_key = next(iter(config.image_features))
        self.policy = DiffusionPolicy(
            PolicyConfig(
                maps=config.maps,
                vision_width=config.vision_width,
                width=config.width,
                layers=config.layers,
                heads=config.heads,
                chunk=config.chunk_size,
                action_dim=config.action_feature.shape[0],
                state_dim=config.robot_state_feature.shape[0],
                sample_steps=config.sample_steps,
            )
        )
        for key, normalizer in (
            (OBS_STATE, self.policy.state_normalizer),
            (ACTION, self.policy.action_normalizer),
        ):
            if dataset_stats and key in dataset_stats:
                ends = [np.asarray(dataset_stats[key][end], np.float32) for end in ("min", "max")]
                normalizer.fit(np.stack(ends))
        self._scheduler = DDPMScheduler(**SCHEDULER)
        self.reset()

    @classmethod
    def from_weights(
        cls, folder: Path, image_key: str = f"{OBS_IMAGES}.top"
    ) -> "RoboRewardDiTPolicy":
        """Take a policy that `policies.pretrain` made, such as those of `policies/weights/`.

        Raises:
            WeightsError: No such policy.
        """
        policy = DiffusionPolicy.load(folder)
        sizes = policy.config
        config = RoboRewardDiTConfig(
            chunk_size=sizes.chunk,
            n_action_steps=sizes.chunk,
            maps=sizes.maps,
            vision_width=sizes.vision_width,
            width=sizes.width,
            layers=sizes.layers,
            heads=sizes.heads,
            sample_steps=sizes.sample_steps,
            input_features={
                image_key: PolicyFeature(FeatureType.VISUAL, (3, 96, 128)),
                OBS_STATE: PolicyFeature(FeatureType.STATE, (sizes.state_dim,)),
            },
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (sizes.action_dim,))},
            device="cpu",
        )
        ours = cls(config)
        ours.policy.load_state_dict(policy.state_dict())
        return ours.eval()

    def get_optim_params(self) -> Any:
        """Everything learns."""
        return self.parameters()

    def reset(self) -> None:
        """Forget the rest of the chunk that was being played."""
        self._queue: deque[Tensor] = deque()

    def forward(
        self, batch: dict[str, Tensor], reduction: str = "mean"
    ) -> tuple[Tensor, dict[str, Any]]:
        """Loss of behaviour cloning.

        Args:
            batch: Observations, chunks of actions `(B, chunk, A)`, and which of those are padding.
            reduction: `"mean"` for a scalar, `"none"` for `(B,)`, which sample weighting asks for.
        """
        actions = self.policy.action_normalizer.normalize(batch[ACTION]).clamp(-1.0, 1.0)
        padded = batch.get(PADDED)
        mask = torch.ones(actions.shape[:2], device=actions.device) if padded is None else ~padded
        noise = torch.randn_like(actions)
        steps = torch.randint(0, TRAIN_STEPS, (len(actions),), device=actions.device)
        errors = velocity_errors(
            self.policy.denoiser, self._scheduler, actions, self._look(batch), noise, steps
        )
        if reduction == "none":
            loss = (errors * mask).sum(1) / mask.sum(1).clamp(min=1)
        else:
            loss = (errors * mask).sum() / mask.sum().clamp(min=1)
        return loss, {"diffusion_loss": float(loss.detach().mean())}

    @torch.no_grad()
    def predict_action_chunk(
        self, batch: dict[str, Tensor], noise: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Decode actions `(B, chunk, A)`; deterministic, once the noise of that shape is given."""
        self.eval()
        features = self._look(batch)
        if noise is None:
            shape = (len(features), self.policy.chunk, self.policy.action_dim)
            noise = torch.randn(shape, device=features.device)
        self.policy.sampler.steps = self.policy.sampler.steps.to(features.device)
        return self.policy.decode(features, noise)

    @torch.no_grad()
    def select_action(
        self, batch: dict[str, Tensor], noise: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Next action `(B, A)` of the chunk that is being played."""
        if not self._queue:
            chunk = self.predict_action_chunk(batch, noise)[:, : self.config.n_action_steps]
            self._queue.extend(chunk.transpose(0, 1))
        return self._queue.popleft()

    def _look(self, batch: dict[str, Tensor]) -> Tensor:
        """Features `(B, F)` of LeRobot's float images in [0, 1], channels first."""
        images = (batch[self._image_key] * 255.0).round().clamp(0, 255).to(torch.uint8)
        small = downsample(images.permute(0, 2, 3, 1).contiguous().cpu().numpy())
        states = batch[OBS_STATE]
        return self.policy.look(torch.from_numpy(small).to(states.device), states)[0]
