"""Names of states and actions in LeRobot's dictionaries, in the order of `robots.conventions`.

LeRobot's rollouts pass on names that end in `.pos` or `.vel` only. A step of the end effector is a velocity, in parts of
the largest step of a control period; the gripper is absolute.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from robots.errors import InvalidAction

AXES = ("x", "y", "z", "roll", "pitch", "yaw")
STATE_NAMES = (*(f"{axis}.pos" for axis in AXES), "gripper.pos")
"""[m], [rad], gripper 0 closed .. 1 open."""
ACTION_NAMES = (*(f"{axis}.vel" for axis in AXES), "gripper.pos")
"""In [-1, 1], gripper -1 closed .. 1 open."""
ACTION_FEATURES = dict.fromkeys(ACTION_NAMES, float)
CAMERA = "front"
HOME = "home"
"""In an action of our keyboard, never in a data set: go back to the start."""


def named_action(action: np.ndarray) -> dict[str, float]:
    """Names and values of an action `(7,)`."""
    return {name: float(value) for name, value in zip(ACTION_NAMES, action, strict=True)}


def action_from_names(action: Mapping[str, Any]) -> np.ndarray:
    """Action `(7,)` float32 of LeRobot's dictionary.

    Raises:
        InvalidAction: Names are missing.
    """
    missing = [name for name in ACTION_NAMES if name not in action]
    if missing:
        raise InvalidAction(
            f"The action lacks {', '.join(missing)}. A policy or teleoperator for this robot gives {', '.join(ACTION_NAMES)}; "
            "the keyboard is --teleop.type=roboreward_keyboard."
        )
    return np.array([float(action[name]) for name in ACTION_NAMES], np.float32)


def is_return_to_start(action: Mapping[str, Any]) -> bool:
    """Whether LeRobot asks for the position that it saw first: a whole state instead of an action."""
    return all(name in action for name in STATE_NAMES) and not any(
        name in action for name in ACTION_NAMES[:-1]
    )
