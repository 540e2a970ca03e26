"""Other people's learners see the reward model's reward, and not the one of the environment.

CartPole returns 1 for each step. The reward here is 0.75 once an episode, so any 1 would be a leak.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from experiments.integrations.cartpole import make_env
from reward_models.judges.null import ConstantReward
from roboreward_gym import InvalidSetting, VLMRewardWrapper
from roboreward_gym.wrapper import Ending

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of libraries that we do not own
]
SCORED = 0.75


@pytest.fixture
def model() -> ConstantReward:
    return ConstantReward(4)


def test_stable_baselines3_learns_from_the_score(model: ConstantReward) -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra `integrations`")
    from experiments.integrations import sb3

    before = sb3.train(make_env(model), 0, seed=0).policy.state_dict()
    learner = sb3.train(make_env(model), 128, seed=0)
    assert any((value != before[key]).any() for key, value in learner.policy.state_dict().items())
    episodes: list[dict[str, Any]] = list(learner.ep_info_buffer or [])
    assert {episode["r"] for episode in episodes} == {SCORED}
    assert max(episode["l"] for episode in episodes) > 1
    # SB3 would add the value of what might have followed where an episode ends as truncated.
    assert set(np.unique(learner.rollout_buffer.rewards)) == {0.0, np.float32(SCORED)}


def test_a_program_like_cleanrls_learns_from_the_score(model: ConstantReward) -> None:
    from experiments.integrations import cleanrl

    args = cleanrl.Args(total_timesteps=100, learning_starts=32)
    learned = cleanrl.train(args, lambda: make_env(model))
    assert set(learned.rewards.tolist()) == {0.0, SCORED}
    assert len(learned.losses) == 68
    assert np.isfinite(learned.losses).all()


def test_torchrl_learns_from_the_score(model: ConstantReward) -> None:
    pytest.importorskip("torchrl", reason="needs the extra `integrations`")
    from experiments.integrations import torch_rl

    data = torch_rl.train(make_env(model), 128, seed=0).data
    rewards, done = data["next", "reward"].flatten(), data["next", "done"].flatten()
    assert set(rewards.tolist()) == {0.0, SCORED}
    assert ((rewards > 0) == done).all()


# The two-outcome environment: "timed out, scored 3" against "success, scored 5".


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [("terminated", "success, scored 5"), ("unchanged", "timed out, scored 3")],
)
@pytest.mark.parametrize("trainer", ["sb3_ppo", "sb3_dqn", "cleanrl_dqn", "torchrl_dqn"])
def test_a_trainer_prefers_success_where_a_scored_end_is_a_termination(
    trainer: str, ending: Ending, outcome: str
) -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra `integrations`")
    pytest.importorskip("torchrl", reason="needs the extra `integrations`")
    from benchmarks.two_outcome_env import preference

    assert preference(trainer, ending)["prefers"] == outcome


class Reach(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A goal environment whose own reward is the truth."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    observation_space = gym.spaces.Dict(
        {
            key: gym.spaces.Box(-9, 9, (1,), np.float32)
            for key in ("observation", "achieved_goal", "desired_goal")
        }
    )
    render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> Any:
        return self.observation_space.sample(), -1.0, False, False, {}

    def render(self) -> np.ndarray:
        return np.random.default_rng().integers(0, 256, (32, 32, 3), np.uint8)

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        return -(np.abs(achieved - desired) > 0.1).astype(np.float32)[..., 0]


def test_hindsight_relabelling_is_refused_instead_of_learning_from_the_truth(
    model: ConstantReward,
) -> None:
    sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra `integrations`")
    env = VLMRewardWrapper(gym.wrappers.TimeLimit(Reach(), 5), model, "reach the goal")
    learner = sb3.SAC(
        "MultiInputPolicy",
        env,
        replay_buffer_class=sb3.HerReplayBuffer,
        learning_starts=20,
        batch_size=8,
        seed=0,
        device="cpu",
    )
    with pytest.raises(InvalidSetting, match="HER"):
        learner.learn(40)


def test_make_vec_env_of_stable_baselines3_counts_the_score_if_given_a_function(
    model: ConstantReward,
) -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra `integrations`")
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env(lambda: make_env(model), n_envs=2, seed=0)
    envs.reset()
    episodes: list[dict[str, Any]] = []
    while not episodes:
        infos = envs.step(np.zeros(2, int))[3]
        episodes = [info["episode"] for info in infos if "episode" in info]
    assert {episode["r"] for episode in episodes} == {SCORED}
