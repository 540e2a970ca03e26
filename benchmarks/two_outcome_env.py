"""What trainers make of a time limit: do they prefer "timed out, scored 3" to "success, scored 5"?

The environment has one state and two actions. `SUCCEED` ends the episode, which is scored 5 (reward 1);
`WAIT` does nothing until the time limit, which is scored 3 (reward 0.5). A learner that takes the time
limit for no end adds the value of what might have followed, and then waiting looks better.

Run as `python -m benchmarks.two_outcome_env`; it records the preference of each trainer under both
settings of `ending` as `two_outcome_env` in `benchmarks/results/foundations.json`.
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import gymnasium as gym
import numpy as np
import torch
from tensordict import TensorDict

from benchmarks.foundations import record
from experiments.integrations import cleanrl, sb3, torch_rl
from roboreward_gym import Clip, ProgressScore, VLMRewardWrapper
from roboreward_gym.wrapper import Ending

WAIT, SUCCEED = 0, 1
STEPS = 2
GREEN, GREY = (0, 255, 0), (90, 90, 90)
OBSERVATION = np.ones(1, np.float32)


class TwoOutcomes(gym.Env[np.ndarray, Any]):
    """One state; see the text of this module."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    render_mode = "rgb_array"

    def __init__(self) -> None:
        self._colour, self._steps = GREY, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin before the two actions."""
        super().reset(seed=seed)
        self._colour, self._steps = GREY, 0
        return OBSERVATION.copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Succeed, or wait."""
        self._steps += 1
        succeeded = int(action) == SUCCEED
        self._colour = GREEN if succeeded else GREY
        return OBSERVATION.copy(), 0.0, succeeded, False, {}

    def render(self) -> np.ndarray:
        """Green after a success, grey before; a black bar grows with time."""
        picture = np.full((32, 32, 3), self._colour, np.uint8)
        picture[: 8 * self._steps + 1] = 0
        return picture


class GreenIsFive:
    """Level 5 for a green last frame, 3 for any other."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score by the last frame."""
        return [ProgressScore(5 if (c.frames[-1, -1, -1] == GREEN).all() else 3) for c in clips]


def make_env(ending: Ending) -> gym.Env:
    """The environment with its time limit, scored."""
    env = gym.wrappers.TimeLimit(TwoOutcomes(), STEPS)
    return VLMRewardWrapper(env, GreenIsFive(), "open the drawer", ending=ending)


def sb3_ppo(ending: Ending) -> list[float]:
    """Probabilities of the two actions after learning with PPO of Stable-Baselines3."""
    model = sb3.train(make_env(ending), 1_600, seed=0, learning_rate=1e-2)
    observation, _ = model.policy.obs_to_tensor(OBSERVATION[None])
    with torch.no_grad():
        return model.policy.get_distribution(observation).distribution.probs[0].tolist()


def sb3_dqn(ending: Ending) -> list[float]:
    """Values of the two actions after learning with DQN of Stable-Baselines3."""
    from stable_baselines3 import DQN

    model = DQN(
        "MlpPolicy",
        make_env(ending),
        learning_rate=1e-2,
        learning_starts=64,
        gamma=0.9,
        train_freq=1,
        target_update_interval=20,
        exploration_final_eps=0.3,
        policy_kwargs={"net_arch": [16]},
        seed=0,
        device="cpu",
    ).learn(800)
    with torch.no_grad():
        return model.q_net(torch.from_numpy(OBSERVATION[None]))[0].tolist()


def cleanrl_dqn(ending: Ending) -> list[float]:
    """Values of the two actions after learning with the DQN in CleanRL's style."""
    args = cleanrl.Args(total_timesteps=500, gamma=0.9, learning_rate=1e-2, epsilon=0.3)
    network = cleanrl.train(args, lambda: make_env(ending)).q_network
    with torch.no_grad():
        return network(torch.from_numpy(OBSERVATION)).tolist()


def torchrl_dqn(ending: Ending) -> list[float]:
    """Values of the two actions after learning with DQN of TorchRL."""
    actor = torch_rl.train(make_env(ending), 2_048, seed=0, learning_rate=1e-2).actor
    with torch.no_grad():
        seen = TensorDict({"observation": torch.from_numpy(OBSERVATION)})
        return actor(seen)["action_value"].tolist()


TRAINERS: dict[str, Callable[[Ending], list[float]]] = {
    "sb3_ppo": sb3_ppo,
    "sb3_dqn": sb3_dqn,
    "cleanrl_dqn": cleanrl_dqn,
    "torchrl_dqn": torchrl_dqn,
}


def preference(trainer: str, ending: Ending) -> dict[str, Any]:
    """Which outcome a trainer prefers, and its number (value or probability) for each."""
    wait, succeed = TRAINERS[trainer](ending)
    prefers = "success, scored 5" if succeed > wait else "timed out, scored 3"
    return {"prefers": prefers, "timed_out": round(wait, 3), "success": round(succeed, 3)}


def main() -> None:
    """Measure all and record it."""
    measured = {t: {e: preference(t, e) for e in get_args(Ending)} for t in TRAINERS}
    for trainer, by_ending in measured.items():
        for ending, found in by_ending.items():
            print(f"{trainer:12} ending={ending:10} {found}")
    record(two_outcome_env=measured)


if __name__ == "__main__":
    main()
