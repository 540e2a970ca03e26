"""From the observations of an environment to a batch under the names of a LeRobot policy."""

from dataclasses import dataclass
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.utils.constants import OBS_STATE

from policies.errors import InvalidObservation
from policies.player import IMAGE, STATE
from roboreward_gym.errors import InvalidSetting

EMPTY_CAMERA = "empty_camera"
"""In the names of cameras that some policies fill up by themselves."""
ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Interface:
    """What a policy meets in an environment.

    Attributes:
        image_size: Height and width of its camera image [px].
        state_dim: Numbers in the robot's state.
        action_dim: Numbers in an action.
        task: What the robot is told to do.
    """

    image_size: tuple[int, int]
    state_dim: int
    action_dim: int
    task: str

    @classmethod
    def of(cls, env: gym.Env[Any, Any]) -> "Interface":
        """That of an environment with observations `image` and `state`.

        Raises:
            InvalidSetting: It has other observations, or actions that are not a vector.
        """
        space, actions = env.observation_space, env.action_space
        spaces = space.spaces if isinstance(space, gym.spaces.Dict) else {}
        image, state = (getattr(spaces.get(key), "shape", None) for key in (IMAGE, STATE))
        if image is None or state is None or len(image) != 3 or len(state) != 1:
            raise InvalidSetting(
                f"The environment must observe {IMAGE!r} (H, W, 3) and {STATE!r} (S,), got {space}. Wrap it so that it does."
            )
        if not isinstance(actions, gym.spaces.Box) or len(actions.shape) != 1:
            raise InvalidSetting(f"The environment must take a vector of numbers, got {actions}.")
        task = env.get_wrapper_attr("task") if env.has_wrapper_attr("task") else ""
        return cls((image[0], image[1]), state[0], actions.shape[0], task)


@dataclass(frozen=True)
class Observations:
    """Builds the batch that a policy's preprocessor takes.

    Attributes:
        image_key: The policy's name of the camera image.
        image_size: Height and width [px] that the policy was trained on.
        history: Observations, one a step, that it sees at once.
        task: What it is told to do.
        state_dim: Numbers in the robot's state.
        with_state: Whether the policy is shown it.
    """

    image_key: str
    image_size: tuple[int, int]
    history: int
    task: str
    state_dim: int
    with_state: bool

    @classmethod
    def match(cls, config: PreTrainedConfig, interface: Interface) -> "Observations":
        """Match what the policy asks for and what the environment has, by the names of the features.

        Raises:
            InvalidSetting: They do not fit.
        """
        cameras = {k: f for k, f in config.image_features.items() if EMPTY_CAMERA not in k}
        others = set(config.input_features or {}) - set(config.image_features) - {OBS_STATE}
        if len(cameras) != 1 or others:
            raise InvalidSetting(
                f"The policy observes {sorted([*cameras, *others])} and the environment one camera image and the state. "
                "Train the policy on a data set with one camera, observation.images.<any name>, and observation.state."
            )
        state, action = config.robot_state_feature, config.action_feature
        if state is not None and state.shape != (interface.state_dim,):
            raise InvalidSetting(
                f"The policy takes {state.shape[0]} numbers of state and the environment has {interface.state_dim}. "
                "Train it on data of this robot."
            )
        if action is None or action.shape != (interface.action_dim,):
            count = "no action" if action is None else f"{action.shape[0]} numbers per action"
            raise InvalidSetting(
                f"The policy gives {count} and the environment takes {interface.action_dim}. Train it on data of this robot."
            )
        key, camera = next(iter(cameras.items()))
        height, width = camera.shape[-2:]
        ratio = width / height * interface.image_size[0] / interface.image_size[1]
        if abs(ratio - 1.0) > ASPECT_TOLERANCE:
            raise InvalidSetting(
                f"The policy was trained on images of {width}x{height} and the environment's are "
                f"{interface.image_size[1]}x{interface.image_size[0]}: another aspect. Train it on images of this camera."
            )
        return cls(
            image_key=key,
            image_size=(height, width),
            history=config.n_obs_steps,
            task=interface.task,
            state_dim=interface.state_dim,
            with_state=state is not None,
        )

    def batch(self, images: np.ndarray, states: np.ndarray) -> dict[str, Any]:
        """The batch of B observations, or of B short histories.

        Args:
            images: `(B, H, W, 3)` uint8, or `(B, history, H, W, 3)` for a policy that sees more than one.
            states: `(B, S)`, or `(B, history, S)` float32.

        Raises:
            InvalidObservation: Wrong shapes or types, or a state that is not finite.
        """
        lead = (len(images),) if self.history == 1 else (len(images), self.history)
        fits = images.shape[:-3] == lead == states.shape[:-1] and images.shape[-1:] == (3,)
        if not fits or images.dtype != np.uint8 or not np.isfinite(states).all():
            raise InvalidObservation(
                f"The policy takes uint8 images {(*lead, 'H', 'W', 3)} and finite states {(*lead, 'S')}, got {images.dtype} "
                f"{images.shape} and {states.shape}."
            )
        small = torch.from_numpy(resize(images, self.image_size)).movedim(-1, -3)
        batch: dict[str, Any] = {
            self.image_key: small.float() / 255.0,
            "task": [self.task] * len(images),
        }
        if self.with_state:
            batch[OBS_STATE] = torch.from_numpy(np.asarray(states, np.float32))
        return batch


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images `(..., H, W, 3)` at the height and width `size`, averaged over areas where they shrink."""
    if images.shape[-3:-1] == size:
        return np.ascontiguousarray(images)
    how = cv2.INTER_AREA if size[0] <= images.shape[-3] else cv2.INTER_LINEAR
    flat = images.reshape(-1, *images.shape[-3:])
    resized = np.stack([cv2.resize(image, size[::-1], interpolation=how) for image in flat])
    return resized.reshape(*images.shape[:-3], *size, 3)
