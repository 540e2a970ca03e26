import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from experiments.config import CONSTANT, NANO, TRUTH
from experiments.reward_sources import BlindTruth, TrueLevel, is_ours, reward_model_for
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import Clip, ProgressScore
from roboreward_gym.wrapper import VLMRewardWrapper


class Lamp(gym.Env):
    """A lamp that is lit by the action; its truth is what the state says, its picture may lie."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    render_mode = "rgb_array"
    task = "light the lamp"
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    action_space = gym.spaces.Box(0, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.light, self.steps = 0.0, 0
        return np.zeros(1, np.float32), self.truth()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.light, self.steps = float(action[0]), self.steps + 1
        return np.zeros(1, np.float32), self.light, False, self.steps == 3, self.truth()

    def truth(self) -> dict[str, float]:
        level = self.level(self.task)
        return {"truth/level": float(level), "truth/success": float(level == 5), "other": 7.0}

    def level(self, task: str) -> int:
        return round(1 + 4 * self.light) if task == self.task else 1

    def render(self) -> np.ndarray:
        return np.full((4, 4, 3), 128, np.uint8)


def play(env: gym.Env, action: float) -> list[tuple[float, dict]]:
    env.reset(seed=0)
    steps = []
    for _ in range(3):
        _, reward, _, _, info = env.step(np.array([action], np.float32))
        steps.append((float(reward), info))
    return steps


def test_blind_truth_leaves_nothing_true_in_any_step() -> None:
    env = BlindTruth(Lamp())
    _, info = env.reset(seed=0)
    for reward, step_info in [(math.nan, info), *play(env, 1.0)]:
        assert math.isnan(reward)
        assert math.isnan(step_info["truth/level"])
        assert math.isnan(step_info["truth/success"])
        assert step_info["other"] == 7.0


@pytest.mark.parametrize(("action", "reward"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_oracle_returns_the_true_level_at_the_end_only(action: float, reward: float) -> None:
    lamp = Lamp()
    env = VLMRewardWrapper(lamp, TrueLevel(lamp))
    assert [r for r, _ in play(env, action)] == [0.0, 0.0, reward]


def test_oracle_scores_the_given_task() -> None:
    lamp = Lamp()
    play(lamp, 1.0)
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    clips = [Clip(frames, task, 5.0) for task in ("light the lamp", "put out the lamp")]
    assert [score.level for score in TrueLevel(lamp).score(clips)] == [5, 1]


@pytest.mark.parametrize(("errors", "right"), [("0", True), ("1", False)])
def test_a_simulated_human_answers_with_the_truth_but_for_the_errors(
    errors: str, *, right: bool
) -> None:
    lamp = Lamp()
    env = VLMRewardWrapper(lamp, reward_model_for(f"simulated-human:{errors}", lamp))
    rewards = [play(env, action)[-1][0] for action in (0.0, 0.5, 1.0)]
    assert [reward == truth for reward, truth in zip(rewards, (0.0, 0.5, 1.0), strict=True)] == [right] * 3  # fmt: skip


@pytest.mark.parametrize("name", ["simulated-human", "simulated-human:1.5", "simulated-human:few"])
def test_a_share_of_errors_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidSetting, match=r"simulated-human:0\.05"):
        is_ours(name)


def test_constant_returns_the_same_reward_for_any_episode() -> None:
    rewards = {
        action: play(VLMRewardWrapper(Lamp(), reward_model_for(CONSTANT, Lamp())), action)[-1][0]
        for action in (0.0, 1.0)
    }
    assert rewards[0.0] == rewards[1.0]


def test_only_the_oracle_is_given_the_environment() -> None:
    assert isinstance(reward_model_for(TRUTH, Lamp()), TrueLevel)
    assert reward_model_for(NANO, Lamp()) == NANO  # a name: the plugin resolves it


def test_reward_model_reward_follows_the_frames_where_truth_differs() -> None:
    class Grey:
        def score(self, clips: list[Clip]) -> list[ProgressScore]:
            return [ProgressScore(2 if clip.frames[-1].mean() == 128 else 5) for clip in clips]

    for env in (Lamp(), BlindTruth(Lamp())):
        reward, info = play(VLMRewardWrapper(env, Grey()), 1.0)[-1]
        assert reward == 0.25
        assert info["roboreward/level"] == 2.0
