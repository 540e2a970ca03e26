"""The policy: image and arm state to features, features and noise to a chunk of actions."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from policies.diffusion import DDIM
from policies.errors import InvalidObservation
from policies.normalizer import Normalizer
from policies.transformer import DiffusionTransformer
from policies.vision import LandmarkNet, downsample
from roboreward_gym.errors import WeightsError

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes of a policy; saved beside its weights."""

    landmarks: tuple[str, ...] = ()
    """Names of what the first heat maps were trained to find; labels for training, never inputs."""
    task: str = ""
    """The task of the demonstrations."""
    fps: float = 5.0
    """Control rate of the demonstrations in [Hz]."""
    maps: int = 18
    """Heat maps in all, the free ones included."""
    vision_width: int = 32
    """Channels of the convolutional net."""
    width: int = 128
    """Width of the transformer."""
    layers: int = 4
    """Blocks of the transformer."""
    heads: int = 4
    """Attention heads per block."""
    chunk: int = 8
    """Actions decoded at once."""
    action_dim: int = 7
    """Numbers per action."""
    state_dim: int = 7
    """Numbers in the arm state."""
    sample_steps: int = 10
    """Denoising steps when acting. With 4, different ways of doing a task are averaged."""

    def __post_init__(self) -> None:
        if len(self.landmarks) > self.maps:
            raise ValueError(
                f"{len(self.landmarks)} landmarks need as many heat maps, got {self.maps}. Raise `maps`."
            )
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 x heads, got {self.width} and {self.heads}."
            )

    @property
    def feature_dim(self) -> int:
        """Length of the feature vector."""
        return 3 * self.maps + self.state_dim


class DiffusionPolicy(nn.Module):
    """A deterministic decoder for reinforcement learning: (observation, noise) to an action chunk.

    `encode` runs once per chunk and its result is what a fine-tuner stores; `decode` never sees the
    image again. Neither is given an object's pose.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.chunk = config.chunk
        self.action_dim = config.action_dim
        self.feature_dim = config.feature_dim
        self.decoded_dim = config.chunk * config.action_dim
        self.vision = LandmarkNet(config.maps, config.vision_width)
        self.state_normalizer = Normalizer(config.state_dim)
        self.action_normalizer = Normalizer(config.action_dim)
        self.denoiser = DiffusionTransformer(
            features=config.feature_dim,
            action_dim=config.action_dim,
            chunk=config.chunk,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
        )
        self.sampler = DDIM(config.sample_steps)

    def look(self, images: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features with gradients, for training: `(B, F)`, points `(B, maps, 3)` and heat map logits."""
        points, logits = self.vision(images)
        return (
            torch.cat([points.flatten(1), self.state_normalizer.normalize(states)], 1),
            points,
            logits,
        )

    @torch.no_grad()
    def encode(self, images: np.ndarray, states: np.ndarray) -> Tensor:
        """Features of observations.

        Args:
            images: `(B, H, W, 3)` uint8 camera images of aspect 4:3.
            states: `(B, state_dim)` float32 arm states.

        Returns:
            `(B, F)` float32 features: where the heat maps point, how sure they are, the arm's state.

        Raises:
            InvalidObservation: Wrong shape or dtype, or a state that is not finite.
        """
        if states.shape != (len(images), self.config.state_dim) or not np.isfinite(states).all():
            raise InvalidObservation(
                f"States must be finite and of shape ({len(images)}, {self.config.state_dim}), got {states.shape}."
            )
        small = torch.from_numpy(np.ascontiguousarray(downsample(images)))
        device = self.state_normalizer.centre.device
        states = np.asarray(states, dtype=np.float32)
        return self.look(small.to(device), torch.from_numpy(states).to(device))[0]

    @torch.no_grad()
    def decode(self, features: Tensor, noise: Tensor) -> Tensor:
        """Actions for noise, deterministically.

        Args:
            features: `(B, F)` from `encode`.
            noise: `(B, chunk, action_dim)`, standard normal for the behaviour of the demonstrations.

        Returns:
            `(B, chunk, action_dim)` actions inside the range of the demonstrations.
        """
        noise, features = (x.to(self.action_normalizer.centre.device) for x in (noise, features))
        return self.action_normalizer.restore(self.sampler.sample(self.denoiser, noise, features))

    def save(self, folder: Path, *, half: bool = False) -> None:
        """Write weights and config; `half` stores the weights in 16 bits, for shipping."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.half() if half else value for key, value in self.state_dict().items()}
        state = {key: value.contiguous() for key, value in state.items()}
        partial = folder / f"{WEIGHTS}.partial"
        save_file(state, partial)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n")
        partial.replace(folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> "DiffusionPolicy":
        """Read what `save` wrote, frozen and ready to act.

        Raises:
            WeightsError: Missing, corrupt, or made by another version.
        """
        try:
            data = json.loads((folder / CONFIG).read_text())
            known = {field.name for field in fields(PolicyConfig)}
            if not isinstance(data, dict) or set(data) != known:
                raise WeightsError(
                    f"{folder / CONFIG} must have the fields {sorted(known)}, got {data}."
                )
            landmarks = tuple(data.pop("landmarks"))
            policy = cls(PolicyConfig(landmarks=landmarks, **data))
            state = {key: value.float() for key, value in load_file(folder / WEIGHTS).items()}
            policy.load_state_dict(state)
        except (
            FileNotFoundError,
            json.JSONDecodeError,
            safetensors.SafetensorError,
            RuntimeError,
        ) as error:
            raise WeightsError(
                f"{folder} holds no policy ({CONFIG} and {WEIGHTS}): {error}. "
                "Train one with `python -m policies.pretrain`, or fetch the file again."
            ) from error
        return policy.eval().requires_grad_(requires_grad=False)
