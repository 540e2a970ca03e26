"""Filtered and reward-weighted behaviour cloning of the base policy."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.dsrl.cloning import ClonedPolicy
from policies.dsrl.config import DsrlConfig
from policies.dsrl.learner import Learner, load_learned
from policies.player import EpisodeRecord
from policies.policy import DiffusionPolicy, PolicyConfig
from roboreward_gym.errors import InvalidSetting, WeightsError
from tests.fakes_policies import TwoModes

SIZES = PolicyConfig(
    maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=4, chunk=4, action_dim=2
)
CONFIG = DsrlConfig(
    algorithm="filtered_bc", warm_up_episodes=2, warm_up_updates=300, batch=16, actor_lr=1e-2, average_tau=0.05
)  # fmt: skip
WEIGHTED = replace(CONFIG, algorithm="weighted_bc")


@pytest.fixture(scope="module")
def policy() -> DiffusionPolicy:
    torch.manual_seed(0)
    return DiffusionPolicy(SIZES).requires_grad_(requires_grad=False)


def played(action: float, reward: float) -> EpisodeRecord:
    """Two chunks of one action, and a reward at the end."""
    return EpisodeRecord(
        features=torch.zeros(3, SIZES.feature_dim), noise=torch.zeros(2, 4, 2), actions=torch.full((2, 4, 2), action),
        executed=np.array([4, 4]), rewards=np.array([0.0] * 7 + [reward], np.float32),
        terminated=False, truncated=True, seed=0, logged={},
    )  # fmt: skip


def mean_action(learner: Learner, policy: DiffusionPolicy) -> float:
    generator = torch.Generator().manual_seed(1)
    features = torch.zeros(1, SIZES.feature_dim)
    played = [learner.final(policy, features, 0, generator)[1] for _ in range(64)]
    return float(torch.cat(played).mean())


def learned(policy: DiffusionPolicy, config: DsrlConfig, *episodes: EpisodeRecord) -> Learner:
    learner = Learner(config, policy, seed=3)
    for episode in episodes:
        learner.add(episode)
    assert math.isfinite(learner.warm_up().get("cloning_loss", 0.0))
    return learner


def test_filtered_cloning_learns_from_successes_alone(policy: DiffusionPolicy) -> None:
    learner = learned(policy, CONFIG, played(0.8, 1.0), *[played(-0.8, 0.75)] * 5)
    assert mean_action(learner, policy) == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_weighted_cloning_follows_the_reward_and_not_its_zero(
    policy: DiffusionPolicy, shift: float
) -> None:
    episodes = [played(0.8, 1.0 + shift), played(0.4, 0.5 + shift), played(-0.8, shift)]
    value = mean_action(learned(policy, WEIGHTED, *episodes), policy)
    assert value == pytest.approx((0.8 + 0.5 * 0.4) / 1.5, abs=0.15)


def test_without_a_success_the_policy_stays_what_it_was(policy: DiffusionPolicy) -> None:
    learner = learned(policy, CONFIG, played(0.8, 0.75), played(0.8, math.nan))
    before = policy.denoiser.state_dict()
    assert isinstance(learner.final, ClonedPolicy)
    after = learner.final.policy.denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_base_policy_is_never_changed(policy: DiffusionPolicy) -> None:
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    learned(policy, CONFIG, played(0.8, 1.0))
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


def test_a_resumed_learner_goes_on_bit_exactly(policy: DiffusionPolicy) -> None:
    config = replace(WEIGHTED, warm_up_updates=5)
    whole = learned(policy, config, played(0.8, 1.0), played(0.1, 0.5))
    other = Learner(config, policy, seed=9)
    other.restore(copy.deepcopy(whole.state()))
    for learner in (whole, other):
        learner.add(played(-0.3, 0.25))
        learner.learn(5)
    assert mean_action(whole, policy) == mean_action(other, policy)


def test_what_was_learned_is_saved_and_played_with_its_own_decoder(
    policy: DiffusionPolicy, tmp_path: Path
) -> None:
    learner = learned(policy, CONFIG, played(0.8, 1.0))
    learner.final.save(tmp_path / "a.safetensors")
    loaded = load_learned(tmp_path / "a.safetensors", policy)
    assert isinstance(loaded, ClonedPolicy)
    learner.final = loaded
    assert mean_action(learner, policy) == pytest.approx(0.8, abs=0.15)
    other = DiffusionPolicy(replace(SIZES, width=32))
    with pytest.raises(WeightsError, match="not fine-tuned from this base policy"):
        load_learned(tmp_path / "a.safetensors", other)


def test_a_policy_whose_training_is_not_ours_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="not with that of a TwoModes"):
        Learner(CONFIG, TwoModes())
