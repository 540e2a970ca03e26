"""The policy in LeRobot: found by its rules, trained by its loop, the same actions as before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

from policies.lerobot_plugin import export
from policies.lerobot_plugin.configuration_roboreward_dit import RoboRewardDiTConfig
from policies.lerobot_plugin.modeling_roboreward_dit import RoboRewardDiTPolicy
from policies.policy import DiffusionPolicy
from tests.lerobot_marks import LEROBOT

ROOT = Path(__file__).resolve().parents[1]
DRAWER = ROOT / "policies/weights/drawer"
IMAGE = "observation.images.top"
pytestmark = LEROBOT


def tiny_config(**changes: Any) -> RoboRewardDiTConfig:
    sizes: dict[str, Any] = {
        "width": 32,
        "layers": 1,
        "heads": 2,
        "maps": 4,
        "vision_width": 8,
        "chunk_size": 4,
        "n_action_steps": 2,
        "sample_steps": 4,
        "device": "cpu",
        "input_features": {
            IMAGE: PolicyFeature(FeatureType.VISUAL, (3, 96, 128)),
            "observation.state": PolicyFeature(FeatureType.STATE, (7,)),
        },
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (7,))},
    }
    return make_policy_config("roboreward_dit", **{**sizes, **changes})


STATS = {
    "observation.state": {"min": np.full(7, -1.0), "max": np.full(7, 3.0)},
    "action": {"min": np.full(7, -0.5), "max": np.full(7, 0.5)},
}


def tiny_batch(size: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        IMAGE: torch.rand((size, 3, 96, 128), generator=g),
        "observation.state": torch.rand((size, 7), generator=g),
        "action": torch.rand((size, 4, 7), generator=g) - 0.5,
        "action_is_pad": torch.tensor([[False, False, True, True]]).expand(size, 4).clone(),
    }


def test_lerobot_finds_policy_and_processors_by_the_type() -> None:
    assert get_policy_class("roboreward_dit") is RoboRewardDiTPolicy
    before, after = make_pre_post_processors(tiny_config(), dataset_stats=None)
    batch = before({k: v[0] for k, v in tiny_batch().items()})
    policy = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS)
    assert after(policy.select_action(batch)).shape == (1, 7)


def test_shipped_weights_act_as_they_do_outside_of_lerobot() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 192, 256, 3), dtype=np.uint8)
    states = np.random.default_rng(1).uniform(-0.2, 0.2, (2, 7)).astype(np.float32)
    outside = DiffusionPolicy.load(DRAWER)
    inside = RoboRewardDiTPolicy.from_weights(DRAWER)
    noise = torch.randn((2, outside.chunk, outside.action_dim), generator=torch.Generator())
    batch = {
        IMAGE: torch.from_numpy(images).permute(0, 3, 1, 2) / 255.0,
        "observation.state": torch.from_numpy(states),
    }
    expected = outside.decode(outside.encode(images, states), noise)
    assert torch.equal(inside.predict_action_chunk(batch, noise), expected)


def test_a_saved_policy_loads_with_its_ranges(tmp_path: Path) -> None:
    policy = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS).eval()
    policy.save_pretrained(tmp_path)
    loaded = RoboRewardDiTPolicy.from_pretrained(tmp_path)
    noise = torch.randn(3, 4, 7)
    expected = policy.predict_action_chunk(tiny_batch(), noise)
    assert torch.equal(loaded.predict_action_chunk(tiny_batch(), noise), expected)
    assert expected.abs().max() <= 0.5


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    policy = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS).train()
    optimiser = policy.config.get_optimizer_preset().build(policy.get_optim_params())

    @torch.no_grad()
    def measured() -> float:
        torch.manual_seed(1)  # the same noise before and after
        return float(np.mean([policy(tiny_batch())[0].item() for _ in range(20)]))

    before = measured()
    for _ in range(150):
        loss, _ = policy(tiny_batch())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert measured() < 0.8 * before


def test_the_loss_per_sample_has_the_mean_of_the_whole() -> None:
    policy = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS)
    torch.manual_seed(1)
    whole, _ = policy(tiny_batch())
    torch.manual_seed(1)
    each, _ = policy(tiny_batch(), reduction="none")
    assert each.shape == (3,)
    assert each.mean().item() == pytest.approx(whole.item(), rel=1e-5)


def test_padding_does_not_teach() -> None:
    policy = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS)
    losses = [
        policy({**tiny_batch(), "action_is_pad": torch.full((3, 4), value)})[0].item()
        for value in (True, False)
    ]
    assert losses[0] == 0.0 < losses[1]


def test_a_chunk_is_played_before_the_policy_looks_again() -> None:
    policy = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS).eval()
    with torch.no_grad():  # an untrained denoiser says zero whatever it sees
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    noise = torch.randn(3, 4, 7)
    chunk = policy.predict_action_chunk(tiny_batch(), noise)
    other = tiny_batch(seed=5)
    assert torch.equal(policy.select_action(tiny_batch(), noise), chunk[:, 0])
    assert torch.equal(policy.select_action(other, noise), chunk[:, 1])
    assert not torch.equal(policy.select_action(other, noise), chunk[:, 0])
    policy.select_action(other, noise)
    policy.reset()
    assert torch.equal(policy.select_action(tiny_batch(), noise), chunk[:, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_action_steps": 9}, "n_action_steps must be in 1..4"),
        ({"input_features": {}}, "exactly one camera"),
        ({"output_features": {}}, "observation.state and action"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoboRewardDiTPolicy(tiny_config(**changes))


def test_a_cloned_policy_becomes_a_base_policy_with_the_same_actions(tmp_path: Path) -> None:
    ours = RoboRewardDiTPolicy(tiny_config(), dataset_stats=STATS).eval()
    ours.save_pretrained(tmp_path / "lerobot")
    assert export.main([str(tmp_path / "lerobot"), str(tmp_path / "base")]) == 0
    base = DiffusionPolicy.load(tmp_path / "base")
    noise = torch.randn((2, 4, 7), generator=torch.Generator().manual_seed(1))
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 128, 3), dtype=np.uint8)
    states = np.ones((2, 7), np.float32)
    expected = ours.policy.decode(ours.policy.encode(images, states), noise)
    assert torch.equal(base.decode(base.encode(images, states), noise), expected)


@pytest.mark.parametrize("config", [None, '{"type": "act"}'])
def test_another_policy_is_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str | None
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert export.main([str(tmp_path), str(tmp_path / "base")]) == 1
    assert "pretrained_model of a roboreward_dit" in capsys.readouterr().err
    assert not (tmp_path / "base").exists()
