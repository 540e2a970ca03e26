"""The choice among candidates, with critics whose preference is known."""

from pathlib import Path

import pytest
import torch

from policies.dsrl.best_of_n import SMALLEST_SCALE, ActionCritics, BestOfN, ReturnRegression
from policies.dsrl.replay import Batch
from roboreward_gym.errors import WeightsError
from tests.fakes_policies import ACTIONS, CHUNK, FEATURES, TwoModes

SIZE = CHUNK * ACTIONS


def critics(seed: int = 0) -> ActionCritics:
    return ActionCritics(2, [FEATURES, SIZE, 16], torch.Generator().manual_seed(seed))


class Rightmost(ActionCritics):
    """Values how far the first action goes to the right."""

    def __init__(self) -> None:
        super().__init__(1, [FEATURES, SIZE, 4], torch.Generator())

    def forward(self, features: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        return actions[:, 0][None]


def play(made: BestOfN, seed: int = 0, policy: TwoModes | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise, actions = made(policy or TwoModes(), torch.zeros(1, FEATURES), 0, generator)
    assert torch.equal(actions, TwoModes().decode(torch.zeros(1, FEATURES), noise))
    return noise


def test_plays_the_candidate_that_the_critics_value_most() -> None:
    made = BestOfN(Rightmost(), 8, 1.0, 0)
    noise = torch.randn(8, CHUNK, ACTIONS, generator=torch.Generator().manual_seed(3))
    best = TwoModes().decode(torch.zeros(8, FEATURES), noise)[:, 0, 0].argmax()
    policy = TwoModes()
    assert torch.equal(play(made, 3, policy), noise[best][None])
    assert policy.decoded == 1, (
        "all candidates in one call, and the chosen one is not decoded again"
    )


def test_candidates_are_drawn_at_their_scale() -> None:
    noise = 0.5 * torch.randn(1, CHUNK, ACTIONS, generator=torch.Generator().manual_seed(5))
    assert torch.equal(play(BestOfN(critics(), 1, 0.5, 0), 5), noise)


def test_one_candidate_is_the_base_policy() -> None:
    noise = torch.randn(1, CHUNK, ACTIONS, generator=torch.Generator().manual_seed(5))
    assert torch.equal(play(BestOfN(critics(), 1, 1.0, 0), 5), noise)


def test_update_is_the_step_of_plain_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    features, actions = torch.randn(6, FEATURES), torch.randn(6, SIZE)
    returns = torch.rand(6)
    batch = Batch(features, actions, features, returns, torch.zeros(6))
    made, plain = critics(), critics()
    loss = ((plain(features, actions) - returns) ** 2).mean(1).sum()
    loss.backward()
    torch.optim.Adam(plain.parameters(), 0.01).step()
    logged = ReturnRegression(made, 0.01, generator).update(batch, actor=False)
    assert logged["critic_loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert torch.allclose(made.net.vector, plain.net.vector, atol=1e-6)


def test_scale_is_that_of_the_actions_and_a_still_dimension_is_not_blown_up() -> None:
    made, actions = critics(), torch.randn(50, SIZE)
    actions[:, 1] = 0.3
    made.fit_scale(actions)
    assert torch.allclose(made.centre, actions.mean(0))
    assert made.scale[0] == pytest.approx(actions[:, 0].std().item())
    assert made.scale[1] == pytest.approx(SMALLEST_SCALE)
    features = torch.randn(50, FEATURES)
    scaled = torch.cat([features, (actions - made.centre) / made.scale], 1)
    assert torch.equal(made(features, actions), made.net(scaled)[..., 0])


def test_saved_choice_plays_alike_and_knows_its_policy(tmp_path: Path) -> None:
    made = BestOfN(critics(1), 8, 0.7, 0)
    made.critics.fit_scale(torch.randn(9, SIZE))
    made.save(tmp_path / "made")
    assert torch.equal(play(BestOfN.load(tmp_path / "made", TwoModes())), play(made))
    other = TwoModes()
    other.decoded_dim += 1
    with pytest.raises(WeightsError, match="another policy"):
        BestOfN.load(tmp_path / "made", other)
