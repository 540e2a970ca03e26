"""One update of SAC, computed by hand."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.checkpoint import restore, state_of
from policies.dsrl.replay import Batch
from policies.dsrl.sac import LOG_STD, Actor, Sac, SacConfig

FEATURES, SIZE = 2, 1
CONFIG = SacConfig(width=8, layers=1, critics=2, noise_bound=2.0)

BATCH = Batch(
    features=torch.tensor([[0.5, -1.0], [1.0, 2.0]]),
    action=torch.tensor([[0.3], [-0.7]]),
    next_features=torch.tensor([[-2.0, 0.25], [3.0, 1.5]]),
    reward=torch.tensor([0.25, 1.0]),
    discount=torch.tensor([0.9, 0.0]),
)
"""Two transitions; the second is the last of its episode."""


def sac(config: SacConfig = CONFIG, seed: int = 0) -> Sac:
    return Sac(config, FEATURES, SIZE, torch.Generator().manual_seed(seed))


def flat(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def gaussian_by_hand(made: Sac, features: Tensor) -> tuple[Tensor, Tensor]:
    """Noise and log density that the next call of `sample` will give, from their definitions."""
    generator = torch.Generator()
    generator.set_state(made.generator.get_state())
    mean, log_std = made.actor(features)
    unit = torch.randn(mean.shape, generator=generator)
    u = mean + log_std.exp() * unit
    noise = 2.0 * torch.tanh(u)
    density = torch.exp(-0.5 * unit**2) / (math.sqrt(2 * math.pi) * log_std.exp())
    return noise, (density / (2.0 * (1 - torch.tanh(u) ** 2))).log()[:, 0]


def smallest(critics: torch.nn.Module, features: Tensor, noise: Tensor) -> Tensor:
    q = critics(torch.cat([features, noise], 1))[:, :, 0]
    return torch.minimum(q[0], q[1])


def spread_out(made: Sac) -> None:
    """Weights that differ from their start, and a standard deviation other than 1."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in [*made.actor.parameters(), *made.targets.parameters()]:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        made.actor.net.layers[-1][1][..., SIZE:] = -1.0


def update_critics(made: Sac) -> dict[str, torch.Tensor]:
    """One update of the critics alone."""
    return made.update_critics(
        BATCH, made.actor.sample(BATCH.next_features, made.generator)[0].detach()
    )


def update_actor(made: Sac) -> dict[str, torch.Tensor]:
    """One update of the actor alone."""
    return made.update_actor(BATCH, *made.actor.sample(BATCH.features, made.generator))


def test_one_update_is_that_of_critics_and_then_of_the_actor() -> None:
    made, other = sac(), sac()
    losses = made.update(BATCH, actor=True)
    count = len(BATCH.reward)
    both = torch.cat([BATCH.next_features, BATCH.features])
    noise, log_density = other.actor.sample(both, other.generator)
    expected = other.update_critics(BATCH, noise[:count].detach())
    expected |= other.update_actor(BATCH, noise[count:], log_density[count:])
    assert torch.equal(flat(made), flat(other))
    assert losses == expected
    assert set(made.update(BATCH, actor=False)) == {"critic_loss", "q"}


def test_critic_loss_is_that_of_the_target_computed_by_hand() -> None:
    made = sac()
    spread_out(made)
    noise, _ = gaussian_by_hand(made, BATCH.next_features)
    future = smallest(made.targets, BATCH.next_features, noise)
    target = torch.stack([0.25 + 0.9 * future[0], torch.tensor(1.0)])
    q = made.critics(torch.cat([BATCH.features, BATCH.action], 1))[:, :, 0]
    expected = ((q[0] - target) ** 2).mean() + ((q[1] - target) ** 2).mean()
    losses = update_critics(made)
    assert losses["critic_loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["q"].item() == pytest.approx(q.mean().item(), rel=1e-5)


def test_actor_loss_is_that_computed_by_hand() -> None:
    made = sac(replace(CONFIG, alpha=0.5))
    spread_out(made)
    noise, log_density = gaussian_by_hand(made, BATCH.features)
    expected = (0.5 * log_density - smallest(made.critics, BATCH.features, noise)).mean()
    losses = update_actor(made)
    assert losses["actor_loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert losses["entropy"].item() == pytest.approx(-log_density.mean().item(), rel=1e-4)


def test_critics_and_actor_step_along_their_gradients() -> None:
    made, other = sac(), sac()
    update_critics(made)
    noise, _ = other.actor.sample(BATCH.next_features, other.generator)
    future = smallest(other.targets, BATCH.next_features, noise)
    target = (BATCH.reward + BATCH.discount * future).detach()
    q = other.critics(torch.cat([BATCH.features, BATCH.action], 1))[:, :, 0]
    ((q - target) ** 2).mean(1).sum().backward()
    other.optimisers["critics"].step()
    assert torch.allclose(flat(made.critics), flat(other.critics), atol=1e-7)


@pytest.mark.parametrize("log_std", [-2.0, 0.0, 0.7])
def test_log_density_is_that_of_the_samples(log_std: float) -> None:
    actor = Actor(FEATURES, 1, [8], 1.5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        actor.net.layers[-1][0].zero_()
        actor.net.layers[-1][1].copy_(torch.tensor([0.4, log_std]))
    sample = actor.sample(torch.ones(100_000, FEATURES), torch.Generator().manual_seed(0))
    noise, log_density = (part.detach().double().numpy() for part in sample)
    counts, edges = np.histogram(noise[:, 0], bins=20, range=(-1.4, 1.4))
    inside = np.digitize(noise[:, 0], edges) - 1
    assert (counts > 2_000).sum() >= 5
    for index in np.flatnonzero(counts > 2_000):
        # The mean of 1 / density over the samples in an interval is its length.
        length = np.exp(-log_density[inside == index]).sum() / 1e5
        assert length == pytest.approx(edges[1] - edges[0], rel=0.08)


def test_log_std_is_limited() -> None:
    actor = Actor(FEATURES, 1, [8], 1.0, torch.Generator().manual_seed(0))
    for value, limit in zip((-99.0, 99.0), LOG_STD, strict=True):
        with torch.no_grad():
            actor.net.layers[-1][1].fill_(value)
        assert actor(torch.zeros(1, FEATURES))[1].item() == limit


def test_untrained_actor_is_close_to_a_standard_normal() -> None:
    actor = Actor(FEATURES, 8, [16, 16], 1.5, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    noise, _ = actor.sample(torch.randn(5000, FEATURES, generator=generator), generator)
    assert abs(noise.mean()) < 0.03
    assert 0.85 < noise.std() < 1.05


@pytest.mark.parametrize("bound", [0.5, 1.5])
def test_noise_stays_within_the_bound(bound: float) -> None:
    actor = Actor(FEATURES, 8, [16], bound, torch.Generator().manual_seed(0))
    with torch.no_grad():
        actor.net.layers[-1][0].mul_(1e4)
    features = torch.randn(500, FEATURES)
    for noise in (
        actor.sample(features, torch.Generator().manual_seed(0))[0],
        actor.mean(features),
    ):
        assert 0.99 * bound < noise.abs().max() <= bound


def test_average_of_two_known_steps() -> None:
    made = sac(replace(CONFIG, average_tau=0.25, actor_lr=0.05))
    steps = [flat(made.actor)]
    assert torch.equal(flat(made.average), steps[0]), "it starts as the actor"
    for _ in range(2):
        update_actor(made)
        steps.append(flat(made.actor))
    assert not torch.allclose(steps[1], steps[2], atol=1e-3)
    expected = 0.75 * (0.75 * steps[0] + 0.25 * steps[1]) + 0.25 * steps[2]
    assert torch.allclose(flat(made.average), expected, atol=1e-6)


def test_targets_of_two_known_steps() -> None:
    made = sac(replace(CONFIG, tau=0.1, critic_lr=0.05))
    expected = flat(made.critics)
    assert torch.equal(flat(made.targets), expected), "they start as the critics"
    for _ in range(2):
        update_critics(made)
        expected = 0.9 * expected + 0.1 * flat(made.critics)
    assert torch.allclose(flat(made.targets), expected, atol=1e-6)


def test_actor_update_leaves_the_critics_alone() -> None:
    made = sac()
    critics, actor = flat(made.critics), flat(made.actor)
    update_actor(made)
    assert torch.equal(critics, flat(made.critics))
    assert not torch.equal(actor, flat(made.actor))


def test_temperature_falls_while_entropy_is_above_its_target() -> None:
    for target, sign in ((-100.0, -1), (100.0, 1)):
        made = sac(replace(CONFIG, target_entropy=target))
        update_actor(made)
        assert np.sign(made.log_alpha.item() - math.log(CONFIG.alpha)) == sign


def test_restored_learner_goes_on_alike() -> None:
    made, other = sac(), sac(seed=1)
    update_critics(made)
    update_actor(made)
    restore(other.parts, copy.deepcopy(state_of(made.parts)))
    for learner in (made, other):
        update_critics(learner)
        update_actor(learner)
    assert torch.equal(flat(made), flat(other))
