import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.errors import InvalidObservation
from policies.normalizer import Normalizer
from policies.policy import CONFIG, WEIGHTS, DiffusionPolicy, PolicyConfig
from policies.vision import downsample
from roboreward_gym.errors import WeightsError

SMALL = PolicyConfig(landmarks=("duck",), maps=3, vision_width=8, width=16, layers=1, heads=2)


def small_policy() -> DiffusionPolicy:
    torch.manual_seed(0)
    policy = DiffusionPolicy(SMALL)
    for parameter in policy.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    policy.action_normalizer.fit(np.float32([[-0.5] * 6 + [0], [0.3] * 6 + [1]]))
    return policy.eval()


def observation(batch: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, 192, 256, 3)).astype(np.uint8)
    return images, rng.uniform(-1, 1, (batch, 7)).astype(np.float32)


def test_default_policy_has_the_promised_size() -> None:
    policy = DiffusionPolicy(PolicyConfig())
    assert sum(p.numel() for p in policy.vision.parameters()) < 300_000
    assert 0.9e6 < sum(p.numel() for p in policy.parameters()) < 1.5e6
    assert 50 <= policy.feature_dim <= 70


def test_same_noise_gives_the_same_actions() -> None:
    policy = small_policy()
    features = policy.encode(*observation())
    noise = torch.randn(2, 8, 7)
    assert features.shape == (2, SMALL.feature_dim)
    assert torch.equal(policy.decode(features, noise), policy.decode(features, noise))


def test_noise_and_features_both_decide() -> None:
    policy = small_policy()
    features = policy.encode(*observation())
    noise = torch.randn(1, 8, 7).repeat(2, 1, 1)
    made = policy.decode(features, noise)
    assert not torch.allclose(made[0], made[1])
    assert not torch.allclose(made, policy.decode(features, -noise))


def test_actions_stay_in_the_range_of_the_demonstrations() -> None:
    made = small_policy().decode(torch.randn(64, SMALL.feature_dim), 5 * torch.randn(64, 8, 7))
    assert made[..., :6].min() >= -0.5 - 1e-6
    assert made[..., :6].max() <= 0.3 + 1e-6
    assert made[..., 6].min() >= -1e-6


def test_live_image_and_demonstration_give_equal_features() -> None:
    images, states = observation()
    policy = small_policy()
    assert torch.equal(policy.encode(images, states), policy.encode(downsample(images), states))


def test_decoding_leaves_no_graph() -> None:
    policy = small_policy()
    assert not policy.decode(policy.encode(*observation()), torch.randn(2, 8, 7)).requires_grad


@pytest.mark.parametrize(
    "state", [np.zeros((2, 6), np.float32), np.full((2, 7), np.nan, np.float32)]
)
def test_wrong_state_is_refused(state: np.ndarray) -> None:
    with pytest.raises(InvalidObservation, match="finite and of shape"):
        small_policy().encode(observation()[0], state)


def test_saved_policy_acts_alike(tmp_path: Path) -> None:
    policy = small_policy()
    policy.save(tmp_path)
    back = DiffusionPolicy.load(tmp_path)
    features, noise = policy.encode(*observation()), torch.randn(2, 8, 7)
    assert back.config == SMALL
    assert torch.equal(back.decode(features, noise), policy.decode(features, noise))
    assert not any(p.requires_grad for p in back.parameters())


def test_half_size_file_acts_nearly_alike(tmp_path: Path) -> None:
    policy = small_policy()
    policy.save(tmp_path / "full")
    policy.save(tmp_path / "half", half=True)
    sizes = [(tmp_path / kind / WEIGHTS).stat().st_size for kind in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    features, noise = policy.encode(*observation()), torch.randn(2, 8, 7)
    made = DiffusionPolicy.load(tmp_path / "half").decode(features, noise)
    assert (made - policy.decode(features, noise)).abs().max() < 0.02


@pytest.mark.parametrize("damage", ["missing", "cut", "other sizes", "other fields", "no json"])
def test_damaged_policy_says_what_to_do(tmp_path: Path, damage: str) -> None:
    small_policy().save(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    match damage:
        case "missing":
            (tmp_path / WEIGHTS).unlink()
        case "cut":
            (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-9])
        case "other sizes":
            (tmp_path / CONFIG).write_text(json.dumps({**config, "width": 32}))
        case "other fields":
            (tmp_path / CONFIG).write_text(json.dumps({**config, "depth": 3}))
        case "no json":
            (tmp_path / CONFIG).write_text("{")
    with pytest.raises(WeightsError, match=r"policies\.pretrain|must have the fields"):
        DiffusionPolicy.load(tmp_path)


def test_more_landmarks_than_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="Raise `maps`"):
        PolicyConfig(landmarks=("a", "b"), maps=1)


def test_normalizer_restores_and_holds_constant_dimensions() -> None:
    values = np.float32([[0.0, 2.0], [4.0, 2.0]])
    normalizer = Normalizer(2)
    normalizer.fit(values)
    scaled = normalizer.normalize(torch.from_numpy(values))
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert torch.allclose(normalizer.restore(scaled), torch.from_numpy(values))
    assert abs(float(normalizer.restore(torch.ones(1, 2))[0, 1]) - 2.0) < 2e-3
