"""Diffusion over action chunks: the training loss and a deterministic four-step sampler.

The network predicts *velocity* (Salimans & Ho 2022), not noise. With few steps and trailing spacing
the sampler starts where the signal is practically zero (alpha_bar = 2e-7), and turning predicted
noise into an action there divides by 5e-4: the first step would return the clipped sign of the
network's error, and the noise that a fine-tuner steers would be drowned in it.
"""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from policies.transformer import DiffusionTransformer

if TYPE_CHECKING:
    from diffusers import DDPMScheduler

TRAIN_STEPS = 100
SCHEDULER = {
    "num_train_timesteps": TRAIN_STEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "clip_sample": True,
}
"""Arguments for diffusers' schedulers; `DDIM` below equals its `DDIMScheduler` under them."""


def alphas_cumprod() -> Tensor:
    """`(TRAIN_STEPS,)` float32: the squared-cosine schedule, capped as diffusers caps it."""

    def level(part: float) -> float:
        return math.cos((part + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [
        min(1 - level((i + 1) / TRAIN_STEPS) / level(i / TRAIN_STEPS), 0.999)
        for i in range(TRAIN_STEPS)
    ]
    return torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float32), 0)


def training_loss(
    net: DiffusionTransformer,
    scheduler: "DDPMScheduler",
    actions: Tensor,
    mask: Tensor,
    features: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error of the predicted velocity.

    Args:
        net: The denoiser.
        scheduler: diffusers' `DDPMScheduler(**SCHEDULER)`.
        actions: `(B, chunk, action_dim)` normalised to [-1, 1].
        mask: `(B, chunk)` 1 where the demonstration went on, 0 where it is padded.
        features: `(B, F)`.
        generator: Source of noise and steps.

    Returns:
        Scalar, averaged over the unpadded actions.
    """
    device = generator.device
    noise = torch.randn(actions.shape, generator=generator, device=device)
    steps = torch.randint(0, TRAIN_STEPS, (len(actions),), generator=generator, device=device)
    error = velocity_errors(net, scheduler, actions, features, noise, steps)
    return (error * mask).sum() / mask.sum().clamp(min=1.0)


def velocity_errors(
    net: DiffusionTransformer,
    scheduler: "DDPMScheduler",
    actions: Tensor,
    features: Tensor,
    noise: Tensor,
    steps: Tensor,
) -> Tensor:
    """Squared error `(B, chunk)` of the predicted velocity of each action.

    Args:
        net: The denoiser.
        scheduler: diffusers' `DDPMScheduler(**SCHEDULER)`.
        actions: `(B, chunk, action_dim)` normalised to [-1, 1].
        features: `(B, F)`.
        noise: Standard normal, shaped like `actions`.
        steps: `(B,)` int64 diffusion steps.
    """
    noisy = scheduler.add_noise(actions, noise, steps)
    target = scheduler.get_velocity(actions, noise, steps)
    return (net(noisy, steps, net.embed_condition(features)) - target).square().mean(-1)


class DDIM:
    """Deterministic sampler (eta 0, trailing spacing) with its coefficients computed once.

    The same noise and features always give the same action, which is what makes the noise an
    action that reinforcement learning can choose.
    """

    def __init__(self, sample_steps: int) -> None:
        if TRAIN_STEPS % sample_steps:
            # Otherwise the noise level that a step leaves is not the one that the next step expects.
            raise ValueError(f"sample_steps must divide {TRAIN_STEPS}, got {sample_steps}.")
        levels = alphas_cumprod()
        steps = range(TRAIN_STEPS - 1, -1, -(TRAIN_STEPS // sample_steps))
        self.steps = torch.tensor(list(steps))
        now = levels[self.steps]
        after = torch.cat([now[1:], torch.ones(1)])
        self.coefficients = torch.stack(
            [now.sqrt(), (1 - now).sqrt(), after.sqrt(), (1 - after).sqrt()], 1
        )

    @torch.no_grad()
    def sample(self, net: DiffusionTransformer, noise: Tensor, features: Tensor) -> Tensor:
        """Turn noise `(B, chunk, action_dim)` into normalised actions of the same shape in [-1, 1]."""
        # Nothing of the modulations depends on x: those of all steps are one product per block.
        steps = self.steps[:, None].to(noise.device)
        modulations = net.modulate(steps, net.embed_condition(features))
        x = noise
        for now, (signal, spread, next_signal, next_spread) in zip(
            zip(*modulations, strict=True), self.coefficients.tolist(), strict=True
        ):
            velocity = net.denoise(x, list(now))
            # clean = signal x - spread v, rest = signal v + spread x; x = next_signal clean + next_spread rest
            clean = torch.sub(signal * x, velocity, alpha=spread).clamp_(-1.0, 1.0)
            rest = torch.add(signal * velocity, x, alpha=spread)
            x = torch.add(next_spread * rest, clean, alpha=next_signal)
        return x
