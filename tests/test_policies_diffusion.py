import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from policies.diffusion import DDIM, SCHEDULER, alphas_cumprod, training_loss
from policies.transformer import DiffusionTransformer


def small_net(*, trained: bool = True) -> DiffusionTransformer:
    torch.manual_seed(0)
    net = DiffusionTransformer(features=3, action_dim=2, chunk=4, width=32, layers=2, heads=4)
    if trained:  # zero gates would make every sampler test trivial
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return net


def test_schedule_equals_diffusers() -> None:
    torch.testing.assert_close(alphas_cumprod(), DDPMScheduler(**SCHEDULER).alphas_cumprod)


@pytest.mark.parametrize("steps", [1, 4, 10])
@torch.no_grad()
def test_sampler_equals_diffusers(steps: int) -> None:
    net = small_net()
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(5, 4, 2, generator=generator)
    features = torch.randn(5, 3, generator=generator)
    scheduler = DDIMScheduler(**SCHEDULER, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    x = noise
    for step in scheduler.timesteps:
        velocity = net(x, step.expand(5), net.embed_condition(features))
        x = scheduler.step(velocity, step, x, eta=0.0).prev_sample
    torch.testing.assert_close(DDIM(steps).sample(net, noise, features), x)


def test_sampler_starts_from_pure_noise() -> None:
    assert DDIM(4).steps.tolist() == [99, 74, 49, 24]


def test_untrained_net_predicts_zero() -> None:
    net = small_net(trained=False)
    out = net(
        torch.randn(3, 4, 2), torch.tensor([0, 50, 99]), net.embed_condition(torch.ones(3, 3))
    )
    assert out.shape == (3, 4, 2)
    assert not out.any()


def test_padded_actions_do_not_teach() -> None:
    net = small_net()
    scheduler = DDPMScheduler(**SCHEDULER)
    mask = torch.tensor([[1.0, 1, 0, 0]])

    def output_gradient(mask: torch.Tensor) -> torch.Tensor:
        net.zero_grad()
        generator = torch.Generator().manual_seed(0)
        kept: list[torch.Tensor] = []
        hook = net.out.register_full_backward_hook(lambda _m, _i, out: kept.append(out[0]))
        training_loss(
            net, scheduler, torch.ones(1, 4, 2), mask, torch.ones(1, 3), generator
        ).backward()
        hook.remove()
        return kept[0][0].abs().sum(-1)

    assert (output_gradient(mask) > 0).tolist() == [True, True, False, False]
    assert not output_gradient(torch.zeros(1, 4)).any()


def test_both_modes_survive_and_noise_chooses() -> None:
    net = small_net(trained=False)
    scheduler = DDPMScheduler(**SCHEDULER)
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    generator = torch.Generator().manual_seed(0)
    features = torch.zeros(64, 3)
    for _ in range(60):
        side = torch.randint(0, 2, (64, 1, 1), generator=generator) * 1.6 - 0.8
        actions = side.expand(-1, 4, 2)
        loss = training_loss(net, scheduler, actions, torch.ones(64, 4), features, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    noise = torch.randn(64, 4, 2, generator=generator)
    made = DDIM(4).sample(net, noise, features)
    assert torch.equal(made, DDIM(4).sample(net, noise, features))
    right = (made.mean((1, 2)) > 0).float().mean()
    assert 0.3 < right < 0.7
    assert ((made.abs() - 0.8).abs() < 0.3).float().mean() > 0.8
    slow = noise.mean((1, 2))
    agree = (slow.sign() == made.mean((1, 2)).sign()).float().mean()
    assert agree > 0.8, "the slow part of the noise should choose the mode"


def test_uneven_sample_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="must divide 100"):
        DDIM(3)
