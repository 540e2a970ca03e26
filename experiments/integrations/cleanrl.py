"""DQN in one file, in the style of CleanRL, with a reward model: `python -m experiments.integrations.cleanrl`."""

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import nn

from experiments.integrations.cartpole import make_env
from roboreward_gym._cli import run_program


@dataclass(frozen=True)
class Args:
    """How long to learn, and from which reward model."""

    reward_model: str = "clock:0.5"
    """Name of the reward model; this one finds an episode of half a second complete."""
    total_timesteps: int = 256
    """Environment steps of each environment."""
    num_envs: int = 2
    """Environments side by side."""
    learning_starts: int = 64
    """Steps before the first update."""
    batch_size: int = 32
    """Transitions per update."""
    gamma: float = 0.99
    """Discount."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    epsilon: float = 0.2
    """Share of random actions."""
    seed: int = 0
    """Seed for weights, actions and episodes."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What a run leaves.

    Attributes:
        q_network: The learner.
        rewards: `(N,)` float32, every reward that it received.
        losses: One per update.
    """

    q_network: nn.Module
    rewards: np.ndarray
    losses: list[float]


def train(args: Args, make: Callable[[], gym.Env]) -> Learned:
    """Learn; the loop reads from top to bottom."""
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    envs = gym.vector.SyncVectorEnv([make] * args.num_envs)
    actions_n = gym.spaces.flatdim(envs.single_action_space)
    size = gym.spaces.flatdim(envs.single_observation_space)
    q_network = nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, actions_n))
    optimizer = torch.optim.Adam(q_network.parameters(), lr=args.learning_rate)
    replay: list[tuple[np.ndarray, int, float, np.ndarray, bool]] = []
    losses: list[float] = []
    obs, _ = envs.reset(seed=args.seed)
    ended = np.zeros(args.num_envs, bool)
    for global_step in range(args.total_timesteps):
        with torch.no_grad():
            actions = q_network(torch.from_numpy(obs)).argmax(1).numpy()
        explore = rng.random(args.num_envs) < args.epsilon
        actions = np.where(explore, rng.integers(0, actions_n, args.num_envs), actions)
        next_obs, rewards, terminations, truncations, _ = envs.step(actions)
        for i in range(args.num_envs):
            # The step after an end only resets: Gymnasium's vector environments insert it.
            if not ended[i]:
                replay.append((obs[i], actions[i], rewards[i], next_obs[i], terminations[i]))
        ended, obs = terminations | truncations, next_obs
        if global_step >= args.learning_starts:
            batch = [replay[i] for i in rng.integers(0, len(replay), args.batch_size)]
            o, a, r, o2, done = (
                torch.from_numpy(np.array(part)) for part in zip(*batch, strict=True)
            )
            with torch.no_grad():
                # No value beyond a scored end, which the wrapper returns as a termination.
                target = r.float() + args.gamma * q_network(o2).amax(1) * (~done).float()
            loss = F.mse_loss(q_network(o).gather(1, a[:, None])[:, 0], target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    envs.close()
    return Learned(q_network, np.array([t[2] for t in replay], np.float32), losses)


def main(args: Args) -> None:
    """Learn, and show the rewards of the episodes."""
    rewards = train(args, lambda: make_env(args.reward_model)).rewards
    print(f"{len(rewards)} transitions, rewards: {rewards[rewards != 0].round(3).tolist()}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Args, description=__doc__)))
