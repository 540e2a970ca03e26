"""The sources of reward that are compared: a reward model, the truth, a person who errs, a constant, a random level.

All go through `VLMRewardWrapper`, so that the learner's side of the run is the same code and
only the answers differ. The truth enters the learner in one place only: `TrueLevel`, which the simulated person asks too.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np

from experiments.config import CONSTANT, NOBODY, SIMULATED_HUMAN, TRUTH
from experiments.robot import Robot
from experiments.robot_episodes import ScoreWhileRetreating
from reward_models.judges.null import ConstantReward
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import split_name
from roboreward_gym.scorer import AWAITED
from roboreward_gym.types import LEVELS, Clip, ProgressScore, RewardModel
from roboreward_gym.wrapper import VLMRewardWrapper


class TrueLevel:
    """Reads the level from the simulator's state instead of the frames: the oracle.

    It is not a reward model in the usual sense: it answers about the state that the environment is in *now*, so it is right only
    for the episode that has just ended, which is when the wrapper asks.
    """

    def __init__(self, env: gym.Env) -> None:
        self._level: Callable[[str], int] = env.get_wrapper_attr("level")

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer with the true level of the present state for each clip's task."""
        return [ProgressScore(self._level(clip.task), text="truth") for clip in clips]


class SimulatedHuman:
    """A person who errs: the truth, and in a share of the episodes another level of the five.

    Which episodes, and which level, depends on the frames alone: the same episode gets the same answer in a resumed run.

    Args:
        truth: Knows the level.
        errors: Share of the episodes with a wrong answer, 0..1.
    """

    def __init__(self, truth: RewardModel, errors: float) -> None:
        self._truth, self._errors = truth, errors

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer with the true level, or another one."""
        truth = self._truth.score(clips)
        return [self._rate(clip, score.level) for clip, score in zip(clips, truth, strict=True)]

    def _rate(self, clip: Clip, level: int | None) -> ProgressScore:
        seen = hashlib.sha256(clip.task.encode())
        seen.update(np.ascontiguousarray(clip.frames).data)
        rng = np.random.default_rng(np.frombuffer(seen.digest(), np.uint32))
        if level is not None and rng.random() < self._errors:
            level = int(rng.choice([other for other in LEVELS if other != level]))
        return ProgressScore(level, text=SIMULATED_HUMAN)


def share_of_errors(reward_model: str) -> float:
    """Read `simulated-human:SHARE_OF_ERRORS`.

    Raises:
        InvalidSetting: There is no number between 0 and 1.
    """
    text = split_name(reward_model)[1] or ""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise InvalidSetting(
            f"{reward_model!r} has no share of errors. Write {SIMULATED_HUMAN}:SHARE, for example {SIMULATED_HUMAN}:0.05."
        )
    return share


def is_ours(reward_model: str) -> bool:
    """Whether a reward source is made here, and not by the plugin from its name.

    Raises:
        InvalidSetting: It is ours, but has no argument that makes sense.
    """
    if split_name(reward_model)[0] == SIMULATED_HUMAN:
        share_of_errors(reward_model)
        return True
    return reward_model in (TRUTH, CONSTANT)


class Nobody:
    """Says nothing about any episode."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Answer with no level, which is not a failure."""
        return [ProgressScore(None, text=NOBODY, manifest={AWAITED: True}) for _ in clips]


class BlindTruth(gym.Wrapper):
    """Replaces the environment's reward and its truth by NaN.

    Under a reward model this must change nothing: whatever still uses the truth turns into NaN as well,
    and shows. The honesty tests train on it.
    """

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, with the truth hidden."""
        observation, info = self.env.reset(**kwargs)
        return observation, _hide(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, with reward and truth hidden."""
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, math.nan, terminated, truncated, _hide(info)


def _hide(info: dict[str, Any]) -> dict[str, Any]:
    return {**info, **{key: math.nan for key in info if key.startswith("truth/")}}


def reward_model_for(name: str, env: gym.Env) -> RewardModel | str:
    """The reward model of a reward source; a name that is not ours is left to the plugin to resolve."""
    if name == TRUTH:
        return TrueLevel(env)
    if split_name(name)[0] == SIMULATED_HUMAN:
        return SimulatedHuman(TrueLevel(env), share_of_errors(name))
    if name == NOBODY:
        return Nobody()
    return ConstantReward() if name == CONSTANT else name


def scored_env(
    env_id: str,
    reward_model: str,
    reward_map: str = "progress",
    *,
    blind: bool = False,
    robot: Robot | None = None,
    later: RewardModel | None = None,
) -> VLMRewardWrapper:
    """Make an environment whose reward is that of a reward source.

    Args:
        env_id: Environment to make; its own reward is the truth.
        reward_model: Name of a reward model, or `TRUTH`, `CONSTANT` or `SIMULATED_HUMAN` with its errors.
        reward_map: From the score to the reward.
        blind: Hide the truth from `info` too; then it cannot even be reported.
        robot: An arm over ROS 2; without it the environment simulates.
        later: Stands for the reward model and has its answers later.
    """
    env = gym.make(env_id, render_mode="rgb_array") if robot is None else robot.make(env_id)
    env = BlindTruth(env) if blind else env
    model = reward_model_for(reward_model, env) if later is None else later
    asks_truth = reward_model == TRUTH or split_name(reward_model)[0] == SIMULATED_HUMAN
    if robot is not None:
        model = ScoreWhileRetreating(model, env, retreat_first=not asks_truth)
    # What an end is to the learner is decided by its own rule (`policies.dsrl.config.DsrlConfig.bootstrap`).
    # A person who does not know how an episode went, and a reward model that abstains, give it no reward, and the run
    # goes on: the learner leaves such episodes out, and stops if they are most. A model that fails ends the run.
    on_failure = "nan" if robot is not None and asks_truth else "nan_unreadable"
    return VLMRewardWrapper(
        env, model, reward_map=reward_map, ending="unchanged", on_failure=on_failure
    )
