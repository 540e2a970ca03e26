"""SAC of Stable-Baselines3 on PushT, with the reward of a model that was taught it: `python -m experiments.integrations.pusht_sac`.

The reward model is that of `python -m reward_models.nano.teach` (docs/teach_nano.md). The learner gets its score at the end of
each episode and nothing else; how much of the outline the T covers is measured before and after, on starts of their own.

The task is reduced so that one CPU core learns it in minutes: the T begins 40 to 60 pixels beside its outline, and an action is a
place that the pusher goes to for 0.8 s, relative to the T and to the direction in which it must move. The learner reads state
(where T and pusher are), the reward model pictures.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from scipy.stats import bootstrap
from stable_baselines3 import SAC

from experiments.integrations.pusht import GOAL, GOAL_ANGLE, HELD, ID, centre
from roboreward_gym import VLMRewardWrapper, load_reward_model
from roboreward_gym._cli import run_program
from roboreward_gym.types import RewardModel

TASK = "push the T onto its outline"
REACH = 130.0
"""How far from the centre of the T an action of 1 sends the pusher, in [px]."""
START: dict[str, Any] = {"offset": (40.0, 60.0), "turn": 0.15}
PICTURE: dict[str, Any] = {"visualization_width": 160, "visualization_height": 160}
EVALUATION_SEEDS = 900_000_000
RESULT = Path("experiments/results/integrations/pusht_sac.json")


class Waypoints(gym.Wrapper):
    """An action is a place for 0.8 s: along the way that the T must go, and across it; the rewards on the way are added up."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (7,), np.float32)
        self._state = np.zeros(5)
        self._count = 0

    def reset(self, **settings: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        self._state, info = self.env.reset(**settings)
        self._count = 0
        return self._features(), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go to a place."""
        middle, ahead, across = self._frame()
        target = middle + REACH * (float(action[0]) * ahead + float(action[1]) * across)
        target, total = np.clip(target, 20, 492).astype(np.float32), 0.0
        for _ in range(HELD):
            self._state, reward, terminated, truncated, info = self.env.step(target)
            total += float(reward)
            if terminated or truncated:
                break
        self._count += 1
        return self._features(), total, terminated, truncated, info

    def _frame(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        middle = centre(self._state[2:4], self._state[4])
        way = centre(GOAL, GOAL_ANGLE) - middle
        ahead = way / max(float(np.linalg.norm(way)), 1e-6)
        return middle, ahead, np.array([-ahead[1], ahead[0]])

    def _features(self) -> np.ndarray:
        """Distance to go, pusher along and across, angle missing, angle to the way, and how many actions were taken."""
        middle, ahead, across = self._frame()
        way = float(np.linalg.norm(centre(GOAL, GOAL_ANGLE) - middle))
        off = self._state[:2] - middle
        missing = (GOAL_ANGLE - self._state[4] + np.pi) % (2 * np.pi) - np.pi
        turned = self._state[4] - np.arctan2(ahead[1], ahead[0])
        return np.array(
            [way / 50, off @ ahead / REACH, off @ across / REACH, missing, np.cos(turned), np.sin(turned),
             self._count / 2 - 1],
            np.float32,
        )  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What learns from whom."""

    reward_model: str
    """By name: `checkpoint:OUT/model` of `reward_models.nano.teach`."""
    report: Path | None = None
    """Its `OUT/report.json`, to be copied into the result."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the learner."""
    episodes: int = 800
    """Episodes that each learns from."""
    evaluated: int = 100
    """Episodes before and after, on the same starts for all."""
    out: Path = RESULT
    """Where the figures go."""


def learner_env(reward_model: RewardModel | str) -> gym.Env:
    """What the learner acts in: its reward is the model's alone."""
    env = gym.make(ID, render_mode="rgb_array", **START, **PICTURE)
    # Two frames a second are what the model samples, and each one has to be drawn.
    return Waypoints(
        VLMRewardWrapper(env, reward_model, TASK, reward_map="expected_progress", record_fps=2.0)
    )


def make_learner(env: gym.Env, seed: int) -> SAC:
    """SAC for episodes of four actions with one reward at their end."""
    return SAC(
        "MlpPolicy", env, seed=seed, device="cpu", gamma=1.0, learning_rate=1e-3, buffer_size=10_000,
        learning_starts=200, batch_size=128, ent_coef="auto_0.1", gradient_steps=4, policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip


def coverage(env: gym.Env, act: Any, count: int) -> np.ndarray:
    """`(count,)` part of the outline that is covered at the end, by the simulator's own measure."""
    found = []
    for number in range(count):
        observation, info = env.reset(seed=EVALUATION_SEEDS + number)
        ended = False
        while not ended:
            observation, _, terminated, truncated, info = env.step(act(observation))
            ended = terminated or truncated
        found.append(float(info["coverage"]))
    return np.array(found)


def run_seed(reward_model: RewardModel | str, config: Config, seed: int) -> dict[str, Any]:
    """One learner, from nothing."""
    began = time.process_time()
    env, blind = learner_env(reward_model), Waypoints(gym.make(ID, **START))
    learner = make_learner(env, seed)

    def act(observation: np.ndarray) -> np.ndarray:
        return learner.predict(observation, deterministic=True)[0]

    before = coverage(blind, act, config.evaluated)
    env.reset(seed=seed)
    learner.learn(4 * config.episodes, progress_bar=False)
    after = coverage(blind, act, config.evaluated)
    scores = [float(episode["r"]) for episode in learner.ep_info_buffer or ()]
    return {
        "seed": seed,
        "before": _summary(before),
        "after": _summary(after),
        "gain": _summary(after - before),
        "reward_of_last_episodes": round(float(np.mean(scores)), 3),
        "cpu_minutes": round((time.process_time() - began) / 60, 1),
    }


def _summary(values: np.ndarray) -> dict[str, float]:
    """Mean with its 95 % interval over episodes."""
    interval = bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    return {
        "mean": round(float(values.mean()), 3),
        "low": round(float(interval.low), 3),
        "high": round(float(interval.high), 3),
    }


def main(config: Config) -> None:
    """Learn with each seed; a finished one is not repeated."""
    torch.set_num_threads(1)
    reward_model = load_reward_model(config.reward_model)
    result: dict[str, Any] = {"seeds": []}
    if config.out.is_file():
        result = json.loads(config.out.read_text("utf-8"))
    done = {row["seed"] for row in result["seeds"]}
    if "standing_still" not in result:
        blind, rng = Waypoints(gym.make(ID, **START)), np.random.default_rng(0)
        idle = {
            "standing_still": lambda features: features[1:3],  # where the pusher is
            "random": lambda _: rng.uniform(-1, 1, 2),
        }
        for name, act in idle.items():
            result[name] = _summary(coverage(blind, act, config.evaluated))
    if config.report is not None:
        result["reward_model"] = json.loads(config.report.read_text("utf-8"))
    result |= {"env": ID, "episodes": config.episodes, "evaluated": config.evaluated}
    for seed in config.seeds:
        if seed not in done:
            result["seeds"].append(run_seed(reward_model, config, seed))
            config.out.parent.mkdir(parents=True, exist_ok=True)
            config.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
            print(json.dumps(result["seeds"][-1]))


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
