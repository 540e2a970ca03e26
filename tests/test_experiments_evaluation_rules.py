"""What an evaluation counts as success, and what its noise depends on, in an environment that never changes by itself."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from experiments.evaluate import EpisodeRunner, Evaluation, Outcome, PolicySpec
from policies.policy import DiffusionPolicy, PolicyConfig

ENV_ID = "StandStill-v0"
STEPS = 6
TINY = PolicyConfig(maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=2)


class StandStill(gym.Env):
    """The same picture at every step of every seed; remembers the actions and ends with a given level."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    task = "stand still"
    observation_space = gym.spaces.Dict(
        {
            "image": gym.spaces.Box(0, 255, (96, 128, 3), np.uint8),
            "state": gym.spaces.Box(-np.inf, np.inf, (7,), np.float32),
        }
    )
    action_space = gym.spaces.Box(-1, 1, (7,), np.float32)
    final_level = 5
    actions: list[np.ndarray] = []  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.actions.clear()
        return self.observe(), self.truth()

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.actions.append(np.array(action))
        return self.observe(), 0.0, False, False, self.truth()

    def level(self, task: str) -> int:
        return self.final_level

    def truth(self) -> dict[str, float]:
        level = self.final_level
        return {"truth/level": float(level), "truth/success": float(level == 5)}

    def render(self) -> np.ndarray:
        return np.zeros((96, 128, 3), np.uint8)

    def observe(self) -> dict[str, np.ndarray]:
        return {"image": self.render(), "state": np.zeros(7, np.float32)}


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gym.register(ENV_ID, entry_point=StandStill, max_episode_steps=STEPS)
    yield
    del gym.registry[ENV_ID]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PolicySpec:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy")
    DiffusionPolicy(TINY).save(folder)
    return PolicySpec(ENV_ID, str(folder))


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_only_level_five_is_a_success(
    spec: PolicySpec, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    monkeypatch.setattr(StandStill, "final_level", level)
    outcome = EpisodeRunner(spec).play(0)
    assert outcome.level == level
    assert outcome.success == (level == 5)


def test_near_completion_adds_nothing_to_the_success_rate() -> None:
    outcomes = [
        Outcome(seed=i, success=level == 5, level=level, predicted=5.0, steps=STEPS)
        for i, level in enumerate([4.0, 4.0, 4.0, 5.0])
    ]
    assert Evaluation(tuple(outcomes)).rate.value == 0.25


def actions_of(spec: PolicySpec, *seeds: int) -> np.ndarray:
    """Actions of the last of these episodes, all played by one runner."""
    runner = EpisodeRunner(spec)
    for seed in seeds:
        runner.play(seed)
    return np.stack(StandStill.actions)


def test_the_noise_of_an_episode_follows_from_its_seed_alone(spec: PolicySpec) -> None:
    torch.manual_seed(1)
    alone = actions_of(spec, 7)
    torch.manual_seed(2)
    after_others = actions_of(spec, 3, 4, 7)
    np.testing.assert_array_equal(alone, after_others)


def test_another_seed_is_another_noise(spec: PolicySpec) -> None:
    # The environment is the same for every seed, so only the noise can differ.
    assert not np.array_equal(actions_of(spec, 7), actions_of(spec, 8))
