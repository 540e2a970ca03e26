"""The base policy of an experiment: one of ours in a folder, or a LeRobot policy in a folder or on the Hub."""

from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FrameStackObservation

from experiments.robot import simulated_id
from policies.player import Policy
from policies.policy import WEIGHTS, DiffusionPolicy
from roboreward_gym.errors import InvalidSetting, WeightsError

LEROBOT = "lerobot:"
"""Before the folder or the Hub id of a LeRobot policy."""


def open_policy(
    source: str, env: gym.Env[Any, Any], device: str = "cpu"
) -> tuple[Policy, gym.Env[Any, Any]]:
    """Load a base policy for an environment.

    Args:
        source: Folder of one of our policies, or `lerobot:` and a folder or a Hub id.
        env: Where it is going to play.
        device: Torch device of the policy.

    Returns:
        The policy, and the environment with the history of observations that the policy sees.

    Raises:
        WeightsError: There is no policy, or one that cannot be read.
        InvalidSetting: It does not fit the environment or cannot be steered, or LeRobot is not installed.
    """
    if not source.startswith(LEROBOT):
        return DiffusionPolicy.load(Path(source)).to(device), env
    try:
        from policies.lerobot_policy.decoder import Interface, find, load_decoder
    except ImportError as error:
        raise _lerobot_missing(source, error) from error
    policy = load_decoder(find(source.removeprefix(LEROBOT)), Interface.of(env), device)
    if policy.history > 1:
        env = FrameStackObservation(env, policy.history, padding_type="reset")
    return policy, env


def check_policy(source: str, env_id: str, device: str = "cpu") -> Policy:
    """Load a base policy as `open_policy` does, before there is a run or a robot.

    Raises:
        WeightsError: There is no policy, or one that cannot be read.
        InvalidSetting: As `open_policy` does.
    """
    if not source.startswith(LEROBOT):
        if not (Path(source) / WEIGHTS).exists():
            raise WeightsError(
                f"There is no {WEIGHTS} in {source}. Train a base policy with `python -m policies.pretrain`."
            )
        return DiffusionPolicy.load(Path(source))
    # The simulated twin of a robot's environment has the same observations and actions.
    with closing(gym.make(simulated_id(env_id))) as env:
        return open_policy(source, env, device)[0]


def fingerprint(source: str) -> str:
    """SHA-256 of a policy's weights; of a LeRobot policy also of its config and its normalisation."""
    if not source.startswith(LEROBOT):
        return sha256((Path(source) / WEIGHTS).read_bytes()).hexdigest()
    try:
        from policies.lerobot_policy.folder import find, fingerprint
    except ImportError as error:
        raise _lerobot_missing(source, error) from error
    return fingerprint(find(source.removeprefix(LEROBOT)))


def _lerobot_missing(source: str, error: ImportError) -> InvalidSetting:
    return InvalidSetting(
        f"{source} needs LeRobot ({error}). Install the extra: pip install '.[lerobot]'."
    )
