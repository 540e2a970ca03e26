"""How the noise of a LeRobot policy is chosen, for each kind of policy that lets it be chosen."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import OBS_IMAGES, OBS_STATE
from torch import Tensor

from policies.errors import InvalidObservation
from roboreward_gym.errors import InvalidSetting

Batch = dict[str, Any]
DDIM_STEPS = 10
"""Denoising steps of a policy that was trained for the stochastic sampler: as many as our own policies take."""
REMEMBERED = 256
"""Observations that are kept until their actions are decoded: at least one per environment played at once."""


class Steering(Protocol):
    """The two halves of a policy.

    Attributes:
        noise_shape: Length and width of the noise that a chunk is decoded from.
    """

    noise_shape: tuple[int, int]

    def encode(self, batch: Batch) -> Tensor:
        """Features `(B, F)` of a preprocessed batch."""
        ...

    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Normalised actions `(B, n, A)`, the n that the policy plays before it looks again."""
        ...


def deterministic(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with a sampler that adds no noise of its own.

    A diffusion policy is trained alike for both samplers, so DDIM (eta 0) can take the place of DDPM. Flow policies
    integrate an ODE, where there is nothing to set.
    """
    if "noise_scheduler_type" not in {field.name for field in fields(config)}:
        return config
    if config.noise_scheduler_type == "DDIM":
        return config
    steps = min(config.num_inference_steps or DDIM_STEPS, DDIM_STEPS)
    return replace(config, noise_scheduler_type="DDIM", num_inference_steps=steps)


class DiffusionSteering:
    """LeRobot's `DiffusionPolicy`: its features are exactly what conditions its denoiser."""

    def __init__(self, policy: PreTrainedPolicy) -> None:
        config = policy.config
        self._model, self._cameras = policy.diffusion, list(config.image_features)
        self._history = config.n_obs_steps
        # The chunk begins with the oldest observation; what was before the newest one is past.
        start = config.n_obs_steps - 1
        self._played = slice(start, start + config.n_action_steps)
        self.noise_shape = (config.horizon, config.action_feature.shape[0])

    def encode(self, batch: Batch) -> Tensor:
        """States and image features of the whole history, `(B, F)`."""
        if self._history == 1:  # it wants the axis of time all the same
            keys = [*self._cameras, OBS_STATE]
            batch = {**batch, **{key: batch[key].unsqueeze(1) for key in keys}}
        images = torch.stack([batch[key] for key in self._cameras], dim=-4)
        return self._model._prepare_global_conditioning({**batch, OBS_IMAGES: images})

    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Denoise noise `(B, horizon, A)`, and keep the part that is played, `(B, n_action_steps, A)`."""
        actions = self._model.conditional_sample(len(noise), global_cond=features, noise=noise)
        return actions[:, self._played]


class FlowSteering:
    """A vision-language-action policy, steered by the argument `noise` of `predict_action_chunk`.

    The prefix of such a model is too large to be a feature, so the learner gets less: the state, and for each camera the
    mean of its image tokens. The observation itself is remembered here until its actions are decoded.
    """

    def __init__(
        self, policy: PreTrainedPolicy, look: Callable[[PreTrainedPolicy, Batch], list[Tensor]]
    ) -> None:
        self._policy, self._look = policy, look
        self._batches: OrderedDict[bytes, Batch] = OrderedDict()
        self.noise_shape = (policy.config.chunk_size, policy.config.max_action_dim)

    def encode(self, batch: Batch) -> Tensor:
        """State and mean image tokens, `(B, F)`."""
        tokens = [image.float().mean(1) for image in self._look(self._policy, batch)]
        features = torch.cat([*([batch[OBS_STATE]] if OBS_STATE in batch else []), *tokens], 1)
        for number, row in enumerate(features):
            self._batches[_key(row)] = {
                k: v[number : number + 1] for k, v in batch.items() if isinstance(v, Tensor)
            }
        while len(self._batches) > REMEMBERED:
            self._batches.popitem(last=False)
        return features

    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Actions `(B, n_action_steps, A)` for the observations with features `(B, F)`, from noise `(B, *noise_shape)`.

        Raises:
            InvalidObservation: They are not among the last that were encoded.
        """
        try:
            rows = [self._batches[_key(row)] for row in features]
        except KeyError as error:
            raise InvalidObservation(
                f"Only the last {REMEMBERED} observations can be decoded. Decode before encoding more."
            ) from error
        batch = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        chunk = self._policy.predict_action_chunk(batch, noise=noise)
        return chunk[:, : self._policy.config.n_action_steps]


def _key(row: Tensor) -> bytes:
    return row.detach().cpu().float().numpy().tobytes()


def _look_smolvla(policy: PreTrainedPolicy, batch: Batch) -> list[Tensor]:
    images, _ = policy.prepare_images(batch)
    return [policy.model.vlm_with_expert.embed_image(image) for image in images]


def _look_pi0(policy: PreTrainedPolicy, batch: Batch) -> list[Tensor]:
    images, _ = policy._preprocess_images(batch)
    return [policy.model.paligemma_with_expert.embed_image(image) for image in images]


STEERING: dict[str, Callable[[PreTrainedPolicy], Steering]] = {
    "diffusion": DiffusionSteering,
    "smolvla": lambda policy: FlowSteering(policy, _look_smolvla),
    "pi0": lambda policy: FlowSteering(policy, _look_pi0),
}
NO_NOISE = {
    "multi_task_dit": "it draws its noise itself: its predict_action_chunk takes no `noise` in this version of LeRobot",
    "act": "it decodes without noise when it acts",
    "xvla": "it takes `noise` and ignores it",
    "roboreward_dit": "it is one of ours; take it out of LeRobot with `python -m policies.lerobot_plugin.export`",
}
"""Why some well-known types cannot be steered."""


def check_type(kind: str) -> None:
    """Refuse a type of policy whose noise cannot be chosen.

    Raises:
        InvalidSetting: It cannot, and why.
    """
    if kind not in STEERING:
        reason = NO_NOISE.get(kind, "nobody has tried whether its noise can be chosen")
        raise InvalidSetting(
            f"A LeRobot policy of type {kind} cannot be steered: {reason}. Use one of {', '.join(STEERING)}."
        )
