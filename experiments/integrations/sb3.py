"""PPO of Stable-Baselines3 with a judge's reward: `python -m experiments.integrations.sb3`."""

from dataclasses import dataclass

import tyro
from stable_baselines3 import PPO

from experiments.integrations.cartpole import make_env
from roboreward_gym._cli import run_program
from roboreward_gym.types import RewardModel


@dataclass(frozen=True)
class Config:
    """How long to learn from whom."""

    judge: str = "clock:0.5"
    """Name of the judge; this one finds an episode of half a second complete."""
    steps: int = 256
    """Environment steps."""
    seed: int = 0
    """Of weights and episodes."""


def train(judge: RewardModel | str, steps: int, seed: int) -> PPO:
    """Learn; SB3 wraps the environment in its own `Monitor`, which sees the judged reward as well."""
    model = PPO(
        "MlpPolicy", make_env(judge), n_steps=64, batch_size=64, n_epochs=2, seed=seed, device="cpu"
    )
    return model.learn(steps)


def main(config: Config) -> None:
    """Learn, and show what the episodes were paid."""
    model = train(config.judge, config.steps, config.seed)
    print(
        "judged episodes:",
        [round(float(episode["r"]), 3) for episode in model.ep_info_buffer or ()],
    )


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
