from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.dsrl.learner import Learner
from policies.dsrl.noise_policy import NoisePolicy, cosine_basis, join_noise, split_noise
from policies.player import BaseNoise
from roboreward_gym.errors import WeightsError
from tests.fakes_policies import ACTIONS, CHUNK, FEATURES, TINY, GoToFlag, TwoModes, episodes


def untrained(steered: int = CHUNK, *, deterministic: bool = True) -> NoisePolicy:
    made = Learner(replace(TINY, steered_components=steered), TwoModes()).explore
    return replace(made, deterministic=deterministic)


def test_cosine_basis_keeps_standard_normal_noise_standard_normal() -> None:
    basis = cosine_basis(2, 8)
    assert torch.allclose(basis @ basis.T, torch.eye(2), atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    steered = torch.randn(20_000, 2 * 3, generator=generator)
    rest = torch.randn(20_000, 8, 3, generator=generator)
    noise = join_noise(steered, rest, basis)
    covariance = torch.cov(noise.flatten(1).T)
    assert torch.allclose(covariance, torch.eye(24), atol=0.05)
    assert torch.allclose(split_noise(noise, basis), steered, atol=1e-5)


def test_steering_everything_is_the_noise_itself() -> None:
    steered = torch.randn(3, CHUNK * ACTIONS)
    noise = join_noise(steered, torch.zeros(1, CHUNK, ACTIONS), cosine_basis(CHUNK, CHUNK))
    assert torch.equal(noise.flatten(1), steered)


def test_untrained_noise_policy_behaves_like_the_base_policy() -> None:
    sources = (untrained(deterministic=False), BaseNoise())
    ends = [
        [r.features[-1, 0] for r in episodes(GoToFlag(), TwoModes(), source, range(120))]
        for source in sources
    ]
    assert abs(np.mean(ends[0]) - np.mean(ends[1])) < 0.2
    assert abs(np.std(ends[0]) - np.std(ends[1])) < 0.2


def test_unsteered_part_stays_random_and_can_be_silenced() -> None:
    loud = untrained(steered=1)
    silent = replace(loud, unsteered_noise_scale=0.0)
    generator = torch.Generator().manual_seed(0)
    features = torch.zeros(1, FEATURES)
    first, second = (loud(TwoModes(), features, 0, generator)[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.allclose(first.mean(1), second.mean(1), atol=1e-6)
    assert silent(TwoModes(), features, 0, generator)[0].std(1).max() < 1e-6


@pytest.mark.parametrize("deterministic", [True, False])
def test_saved_noise_policy_acts_alike(tmp_path: Path, deterministic: bool) -> None:  # noqa: FBT001
    made = untrained(steered=2, deterministic=deterministic)
    made.save(tmp_path / "made")
    back = NoisePolicy.load(tmp_path / "made")
    features = torch.randn(1, FEATURES)
    both = [n(TwoModes(), features, 3, torch.Generator().manual_seed(0))[0] for n in (made, back)]
    assert torch.equal(both[0], both[1])


def test_corrupt_or_foreign_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "made"
    untrained().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    with pytest.raises(WeightsError):
        NoisePolicy.load(path)
    path.write_bytes(whole.replace(b"time_feature_steps", b"time_feature_stops"))
    with pytest.raises(WeightsError, match="this version"):
        NoisePolicy.load(path)
