"""DQN of TorchRL with a judge's reward: `python -m experiments.integrations.torch_rl`."""

from dataclasses import dataclass

import torch
import tyro
from tensordict import TensorDict
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymWrapper
from torchrl.modules import MLP, QValueActor
from torchrl.objectives import DQNLoss

from experiments.integrations.cartpole import make_env
from roboreward_gym._cli import run_program
from roboreward_gym.types import RewardModel


@dataclass(frozen=True)
class Config:
    """How long to learn from whom."""

    judge: str = "clock:0.5"
    """Name of the judge; this one finds an episode of half a second complete."""
    frames: int = 256
    """Environment steps."""
    seed: int = 0
    """Of weights and episodes."""


def train(judge: RewardModel | str, frames: int, seed: int) -> TensorDict:
    """Learn; returns all transitions that the learner was given, as TorchRL stores them."""
    torch.manual_seed(seed)
    env = GymWrapper(make_env(judge), device="cpu", categorical_action_encoding=True)
    env.set_seed(seed)
    net = MLP(in_features=4, out_features=2, num_cells=[64])
    actor = QValueActor(net, in_keys=["observation"], spec=env.action_spec)
    loss_module = DQNLoss(actor, action_space=env.action_spec, delay_value=False)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=1e-3)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(frames), batch_size=32)
    collector = Collector(env, actor, frames_per_batch=64, total_frames=frames)
    for batch in collector:
        buffer.extend(batch.reshape(-1))
        for _ in range(4):
            loss = loss_module(buffer.sample())["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    collector.shutdown()
    return buffer[:]


def main(config: Config) -> None:
    """Learn, and show what the learner was paid."""
    rewards = train(config.judge, config.frames, config.seed)["next", "reward"].flatten()
    paid = rewards[rewards != 0]
    print(f"{len(rewards)} transitions, {len(paid)} paid: {[round(r, 3) for r in paid.tolist()]}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
