"""PPO of Stable-Baselines3 with the reward of a reward model: `python -m experiments.integrations.sb3`."""

from dataclasses import dataclass

import gymnasium as gym
import tyro
from stable_baselines3 import PPO

from experiments.integrations.cartpole import make_env
from roboreward_gym._cli import run_program


@dataclass(frozen=True)
class Config:
    """How long to learn, and from which reward model."""

    reward_model: str = "clock:0.5"
    """Name of the reward model; this one finds an episode of half a second complete."""
    steps: int = 256
    """Environment steps."""
    learning_rate: float = 3e-4
    """Learning rate of Adam."""
    seed: int = 0
    """Seed for weights and episodes."""


def train(env: gym.Env, steps: int, seed: int, learning_rate: float = 3e-4) -> PPO:
    """Learn; SB3 puts its own `Monitor` around the environment, which sees the scored reward as well."""
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=64,
        batch_size=64,
        n_epochs=2,
        learning_rate=learning_rate,
        seed=seed,
        device="cpu",
    )
    return model.learn(steps)


def main(config: Config) -> None:
    """Learn, and show the rewards of the episodes."""
    env = make_env(config.reward_model)
    model = train(env, config.steps, config.seed, config.learning_rate)
    rewards = [round(float(episode["r"]), 3) for episode in model.ep_info_buffer or ()]
    print("rewards of the episodes:", rewards)


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
