"""Other people's learners see the judge's reward, and not the one of the environment.

CartPole pays 1 for each step. The judge here pays 0.75 once an episode, so any 1 would be a leak.
"""

from typing import Any

import numpy as np
import pytest

from reward_models.judges.null import ConstantReward

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of libraries that we do not own
]
PAID = 0.75


@pytest.fixture
def judge() -> ConstantReward:
    return ConstantReward(4)


def test_stable_baselines3_learns_from_the_judge(judge: ConstantReward) -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra `integrations`")
    from experiments.integrations import sb3

    before = sb3.train(judge, 0, seed=0).policy.state_dict()
    model = sb3.train(judge, 128, seed=0)
    assert any((value != before[key]).any() for key, value in model.policy.state_dict().items())
    episodes: list[dict[str, Any]] = list(model.ep_info_buffer or [])
    assert {episode["r"] for episode in episodes} == {PAID}
    assert max(episode["l"] for episode in episodes) > 1
    # SB3 adds the value of what might have followed where a time limit ended an episode.
    rewards = model.rollout_buffer.rewards
    assert (rewards == np.float32(PAID)).any()
    assert (rewards == 0.0).mean() > 0.8


def test_a_program_like_cleanrls_learns_from_the_judge(judge: ConstantReward) -> None:
    from experiments.integrations import cleanrl

    learned = cleanrl.train(cleanrl.Args(total_timesteps=100, learning_starts=32), judge)
    assert set(learned.rewards.tolist()) == {0.0, PAID}
    assert len(learned.losses) == 68
    assert np.isfinite(learned.losses).all()


def test_torchrl_learns_from_the_judge(judge: ConstantReward) -> None:
    pytest.importorskip("torchrl", reason="needs the extra `integrations`")
    from experiments.integrations import torch_rl

    data = torch_rl.train(judge, 128, seed=0)
    rewards, done = data["next", "reward"].flatten(), data["next", "done"].flatten()
    assert set(rewards.tolist()) == {0.0, PAID}
    assert ((rewards > 0) == done).all()
