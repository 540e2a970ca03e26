"""A LeRobot policy as the frozen, deterministic decoder that `policies.dsrl` steers.

    decoder = load_decoder(find("outputs/train/checkpoints/last"), Interface.of(env))
    features = decoder.encode(images, states)
    actions = decoder.decode(features, noise)

The observation is matched by the names of the features, normalised as the saved preprocessor does it, and the actions
are brought back by the saved postprocessor.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policies.lerobot_policy import folder as saved
from policies.lerobot_policy.folder import find as find
from policies.lerobot_policy.observations import Interface, Observations
from policies.lerobot_policy.steering import STEERING, Steering, check_type, deterministic
from policies.settings import available_device
from roboreward_gym.errors import InvalidSetting


class LeRobotDecoder:
    """See the module; an implementation of `policies.player.Policy`.

    Attributes:
        chunk, action_dim, feature_dim, decoded_dim: See `policies.player.Policy`; fewer actions may be played than the noise
            is long, and an action may have fewer numbers than the noise is wide.
        history: Observations, one a step, that `encode` takes at once.
    """

    def __init__(
        self,
        steering: Steering,
        processors: saved.Processors,
        observations: Observations,
        device: torch.device,
    ) -> None:
        self._steering, self._observations, self._device = steering, observations, device
        self._before, self._after = processors
        self.chunk, self.action_dim = steering.noise_shape
        self.history = observations.history
        self.feature_dim, self.decoded_dim = check_steering(self, observations)

    @torch.no_grad()
    def encode(self, images: np.ndarray, states: np.ndarray) -> Tensor:
        """Features `(B, F)` float32 of observations, see `Observations.batch`.

        Raises:
            InvalidObservation: Observations of another kind.
        """
        batch = self._before(self._observations.batch(images, states))
        return self._steering.encode(batch).float()

    @torch.no_grad()
    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Actions `(B, n, A)` for features `(B, F)` and noise `(B, chunk, action_dim)`; n as the policy plays."""
        noise, features = (x.to(self._device) for x in (noise, features))
        return self._after(self._steering.decode(features, noise)).float()


def load_decoder(folder: Path, interface: Interface, device: str = "cpu") -> LeRobotDecoder:
    """Load a policy and check that it can be steered in an environment with this interface.

    Raises:
        WeightsError: The folder holds no policy that this version of LeRobot reads, or lacks its normaliser.
        InvalidSetting: A policy that cannot be steered, or that other observations or actions belong to.
    """
    where = available_device(device)
    config = deterministic(saved.load_config(folder, device))
    check_type(config.type)
    observations = Observations.match(config, interface)
    processors = saved.load_processors(folder, config, device)
    policy = saved.load_policy(folder, config)
    return LeRobotDecoder(STEERING[config.type](policy), processors, observations, where)


@torch.no_grad()
def check_steering(decoder: LeRobotDecoder, observations: Observations) -> tuple[int, int]:
    """Decode twice from the same noise and once from another; returns the sizes of features and actions.

    Raises:
        InvalidSetting: The actions are not decided by the noise, and by it alone.
    """
    rng = np.random.default_rng(0)
    lead = (1,) if decoder.history == 1 else (1, decoder.history)
    images = rng.integers(0, 256, (*lead, *observations.image_size, 3), dtype=np.uint8)
    features = decoder.encode(images, np.zeros((*lead, observations.state_dim), np.float32))
    generator = torch.Generator().manual_seed(0)
    first, other = torch.randn((2, 1, decoder.chunk, decoder.action_dim), generator=generator)
    actions = [decoder.decode(features, noise) for noise in (first, first, other)]
    if not all(torch.isfinite(action).all() for action in actions):
        raise InvalidSetting("The policy gives actions that are not numbers. Train it again.")
    if not torch.equal(actions[0], actions[1]):
        raise InvalidSetting(
            "The policy cannot be steered: the same noise gave two different actions, so its sampler draws noise of its own. "
            "Use a policy with a deterministic sampler."
        )
    if torch.equal(actions[0], actions[2]):
        raise InvalidSetting(
            "The policy cannot be steered: another noise gave the same actions, so it does not use the noise that it is given."
        )
    return features.shape[1], actions[0].numel()
