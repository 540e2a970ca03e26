"""DQN of TorchRL with the reward of a reward model: `python -m experiments.integrations.torch_rl`."""

from dataclasses import dataclass

import gymnasium as gym
import torch
import tyro
from tensordict import TensorDict
from tensordict.nn import TensorDictSequential
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymWrapper
from torchrl.modules import MLP, EGreedyModule, QValueActor
from torchrl.objectives import DQNLoss

from experiments.integrations.cartpole import make_env
from roboreward_gym._cli import run_program


@dataclass(frozen=True)
class Config:
    """How long to learn, and from which reward model."""

    reward_model: str = "clock:0.5"
    """Name of the reward model; this one finds an episode of half a second complete."""
    frames: int = 256
    """Environment steps."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    seed: int = 0
    """Seed for weights and episodes."""


@dataclass(frozen=True, eq=False)
class Learned:
    """What a run leaves.

    Attributes:
        actor: The learner.
        data: All transitions that it received, as TorchRL stores them.
    """

    actor: QValueActor
    data: TensorDict


def train(env: gym.Env, frames: int, seed: int, learning_rate: float = 1e-3) -> Learned:
    """Learn; TorchRL adds no value beyond a step that is `terminated`, as each scored end is."""
    torch.manual_seed(seed)
    wrapped = GymWrapper(env, device="cpu", categorical_action_encoding=True)
    wrapped.set_seed(seed)
    assert env.observation_space.shape is not None
    net = MLP(
        in_features=env.observation_space.shape[0],
        out_features=gym.spaces.flatdim(env.action_space),
        num_cells=[64],
    )
    actor = QValueActor(net, in_keys=["observation"], spec=wrapped.action_spec)
    explore = EGreedyModule(wrapped.action_spec, eps_init=0.2, eps_end=0.2)
    loss_module = DQNLoss(actor, action_space=wrapped.action_spec, delay_value=False)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=learning_rate)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(frames), batch_size=32)
    collector = Collector(
        wrapped, TensorDictSequential(actor, explore), frames_per_batch=64, total_frames=frames
    )
    for batch in collector:
        buffer.extend(batch.reshape(-1))
        for _ in range(4):
            loss = loss_module(buffer.sample())["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    collector.shutdown()
    return Learned(actor, buffer[:])


def main(config: Config) -> None:
    """Learn, and show the rewards of the episodes."""
    env = make_env(config.reward_model)
    data = train(env, config.frames, config.seed, config.learning_rate).data
    rewards = data["next", "reward"].flatten()
    ends = [round(r, 3) for r in rewards[rewards != 0].tolist()]
    print(f"{len(rewards)} transitions, rewards: {ends}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
