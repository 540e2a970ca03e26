"""Speed of the learner and of the policy beside their peers: `python -m benchmarks.learner_speed`, one thread.

- One update of DSRL-SAC (critics, actor, temperature, targets) beside one gradient step of Stable-Baselines3's and of TorchRL's
  SAC: the same networks (tanh after LayerNorm without gain), batch, number of critics, and Adam; batches from memory in all.
- One action chunk beside LeRobot's multi-task DiT with its DDIM loop (same width, layers, heads, chunk, and steps; its own
  rotary attention and time embedding), and beside our own network in the loop of diffusers' `DDIMScheduler`.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from benchmarks.side_by_side import compare, record_row
from policies.diffusion import DDIM, SCHEDULER
from policies.dsrl.replay import Batch
from policies.dsrl.sac import Sac, SacConfig
from policies.policy import PolicyConfig
from policies.transformer import DiffusionTransformer

FEATURES, SIZE = 62, 14
"""Features and steered noise of the shipped policies."""
CONFIG = SacConfig(actor_every=1)
COMMAND = "python -m benchmarks.learner_speed"


def our_update() -> Callable[[], Any]:
    """One update of our SAC."""
    sac = Sac(CONFIG, FEATURES, SIZE, torch.Generator().manual_seed(0))
    count = CONFIG.batch
    batch = Batch(
        torch.randn(count, FEATURES),
        torch.randn(count, SIZE),
        torch.randn(count, FEATURES),
        torch.rand(count),
        torch.full((count,), 0.9),
    )
    return lambda: sac.update(batch, actor=True)


class NormTanh(nn.Sequential):
    """tanh after LayerNorm, as the networks of the learner have it."""

    def __init__(self) -> None:
        super().__init__(nn.LayerNorm(CONFIG.width, elementwise_affine=False), nn.Tanh())


class Spaces(gym.Env[np.ndarray, np.ndarray]):
    """An environment of these sizes; nobody steps it."""

    observation_space = gym.spaces.Box(-5, 5, (FEATURES,), np.float32)
    action_space = gym.spaces.Box(-1.5, 1.5, (SIZE,), np.float32)


def sb3_update() -> Callable[[], Any]:
    """One gradient step of Stable-Baselines3's SAC."""
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import Logger

    model = SAC(
        "MlpPolicy",
        Spaces(),
        buffer_size=1_000,
        batch_size=CONFIG.batch,
        learning_starts=0,
        device="cpu",
        policy_kwargs={
            "net_arch": [CONFIG.width] * CONFIG.layers,
            "activation_fn": NormTanh,
            "n_critics": CONFIG.critics,
        },
    )
    model.set_logger(Logger(None, []))
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        one = rng.normal(size=(2, 1, FEATURES)).astype(np.float32)
        action = rng.uniform(-1, 1, (1, SIZE)).astype(np.float32)
        model.replay_buffer.add(one[0], one[1], action, np.zeros(1), np.zeros(1), [{}])
    return lambda: model.train(1, CONFIG.batch)


def torchrl_update() -> Callable[[], Any]:
    """One gradient step of TorchRL's SAC."""
    from tensordict import TensorDict
    from tensordict.nn import NormalParamExtractor, TensorDictModule
    from torchrl.data import Bounded
    from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import SACLoss, SoftUpdate

    cells = {"num_cells": [CONFIG.width] * CONFIG.layers, "activation_class": NormTanh}
    net = nn.Sequential(
        MLP(in_features=FEATURES, out_features=2 * SIZE, **cells), NormalParamExtractor()
    )
    spec = Bounded(-1.5, 1.5, (SIZE,))
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        spec=spec,
        distribution_class=TanhNormal,
        distribution_kwargs={"low": -1.5, "high": 1.5},
        return_log_prob=True,
    )
    value = ValueOperator(
        MLP(in_features=FEATURES + SIZE, out_features=1, **cells), ["observation", "action"]
    )
    loss = SACLoss(actor, value, num_qvalue_nets=CONFIG.critics, loss_function="l2")
    loss.make_value_estimator(gamma=0.99)
    targets, adam = SoftUpdate(loss, tau=CONFIG.tau), torch.optim.Adam(loss.parameters(), 3e-4)
    count = CONFIG.batch
    ended = torch.zeros(count, 1, dtype=torch.bool)
    after = {
        "observation": torch.randn(count, FEATURES),
        "reward": torch.rand(count, 1),
        "done": ended,
        "terminated": ended,
    }
    batch = TensorDict(
        {
            "observation": torch.randn(count, FEATURES),
            "action": torch.rand(count, SIZE),
            "next": TensorDict(after, [count]),
        },
        [count],
    )

    def update() -> None:
        losses = loss(batch)
        total = losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]
        adam.zero_grad()
        total.backward()
        adam.step()
        targets.step()

    return update


def our_net(config: PolicyConfig) -> DiffusionTransformer:
    """The denoiser of the shipped policies, untrained."""
    return DiffusionTransformer(
        features=config.feature_dim,
        action_dim=config.action_dim,
        chunk=config.chunk,
        width=config.width,
        layers=config.layers,
        heads=config.heads,
    ).eval()


def our_chunk(config: PolicyConfig) -> Callable[[], Tensor]:
    """One action chunk from features and noise."""
    net, sampler = our_net(config), DDIM(config.sample_steps)
    noise = torch.randn(1, config.chunk, config.action_dim)
    features = torch.randn(1, config.feature_dim)
    return lambda: sampler.sample(net, noise, features)


def diffusers_chunk(config: PolicyConfig) -> Callable[[], Tensor]:
    """The same network in the loop of diffusers' scheduler."""
    net = our_net(config)
    noise = torch.randn(1, config.chunk, config.action_dim)
    features = torch.randn(1, config.feature_dim)
    scheduler = DDIMScheduler(**SCHEDULER, timestep_spacing="trailing")
    scheduler.set_timesteps(config.sample_steps)

    @torch.no_grad()
    def chunk() -> Tensor:
        x, condition = noise, net.embed_condition(features)
        for step in scheduler.timesteps:
            x = scheduler.step(net(x, step.expand(1), condition), step, x, eta=0.0).prev_sample
        return x

    return chunk


def lerobot_chunk(config: PolicyConfig) -> Callable[[], Tensor]:
    """The denoiser and the sampling loop of LeRobot's multi-task DiT, without its image encoder."""
    from lerobot.policies.multi_task_dit import modeling_multi_task_dit as dit

    settings = SimpleNamespace(
        action_feature=SimpleNamespace(shape=(config.action_dim,)),
        horizon=config.chunk,
        hidden_dim=config.width,
        num_layers=config.layers,
        num_heads=config.heads,
        dropout=0.0,
        use_rope=True,
        rope_base=10_000.0,
        use_positional_encoding=False,
        timestep_embed_dim=config.width,
        num_train_timesteps=100,
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        clip_sample_range=1.0,
        prediction_type="epsilon",
        noise_scheduler_type="DDIM",
        num_inference_steps=config.sample_steps,
    )
    net = dit.DiffusionTransformer(settings, config.feature_dim).eval()
    loop = dit.DiffusionObjective(settings, config.action_dim, config.chunk)
    features = torch.randn(1, config.feature_dim)

    @torch.no_grad()
    def chunk() -> Tensor:
        return loop.conditional_sample(net, 1, features)

    return chunk


def main() -> None:
    """Measure the rows and keep them."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    update, chunk = our_update(), our_chunk(PolicyConfig())
    nets = f"{CONFIG.layers}x{CONFIG.width}, {CONFIG.critics} critics, batch {CONFIG.batch}"
    for peer, package, work, goal in (
        ("Stable-Baselines3 SAC", "stable-baselines3", sb3_update, 2.0),
        ("TorchRL SAC", "torchrl", torchrl_update, 2.0),
    ):
        measured = {"nets": nets, **compare(update, work(), repeats=20)}
        record_row("DSRL-SAC update", peer, package, measured, goal=goal, command=COMMAND)
    for peer, package, make in (
        ("LeRobot multi-task DiT", "lerobot", lerobot_chunk),
        ("diffusers DDIM loop", "diffusers", diffusers_chunk),
    ):
        measured = compare(chunk, make(PolicyConfig()), repeats=5)
        record_row("action chunk", peer, package, measured, goal=1.5, command=COMMAND)


if __name__ == "__main__":
    main()
