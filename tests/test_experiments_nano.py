"""The shipped reward model on real episodes of the simulation."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import reward_models.nano
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import Clip
from robots.sim.experts import ScriptedExpert
from robots.widowx import widowx

METRICS = Path(reward_models.nano.__file__).parent / "metrics.json"
SEEDS = range(900_000_000, 900_000_004)
"""Below the seeds of experiments, above those of training data."""


@pytest.fixture(scope="module")
def nano() -> RoboReward:
    model = load_reward_model("roboreward-nano")
    assert isinstance(model, RoboReward)
    return model


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    """Scripted episodes that put the duck on the towel, `(41, H, W, 3)` each."""
    env = gym.make("robots:WidowXToyOnTowel-v0", render_mode="rgb_array")
    videos = []
    for seed in SEEDS:
        observation, _ = env.reset(seed=seed)
        expert = ScriptedExpert(
            widowx(env), "put the duck on the towel", np.random.default_rng(seed)
        )
        frames, truncated = [observation["image"]], False
        while not truncated:
            observation, _, _, truncated, info = env.step(expert.act())
            frames.append(observation["image"])
        assert info["truth/success"] == 1.0
        videos.append(np.stack(frames))
    env.close()
    return videos


def levels(nano: RoboReward, clips: list[Clip]) -> np.ndarray:
    scores = nano.score(clips)
    assert all(score.readable for score in scores)
    return np.array([score.level for score in scores])


def test_success_scores_above_another_task_and_an_early_end(
    nano: RoboReward, videos: list[np.ndarray]
) -> None:
    own = levels(nano, [Clip(f, "put the duck on the towel", 5.0) for f in videos])
    other = levels(nano, [Clip(f, "pick up the block", 5.0) for f in videos])
    cut = levels(nano, [Clip(f[:10], "put the duck on the towel", 5.0) for f in videos])
    assert own.mean() >= 4
    assert other.mean() <= 2
    assert cut.mean() <= 2


def test_scores_do_not_depend_on_company(nano: RoboReward, videos: list[np.ndarray]) -> None:
    clips = [Clip(f, "put the duck on the towel", 5.0) for f in videos]
    together = nano.score(clips)
    alone = [nano.score([clip])[0] for clip in clips]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-4)


def test_the_shipped_numbers_meet_what_is_claimed() -> None:
    numbers = json.loads(METRICS.read_text())
    assert numbers["examples"] >= 2000
    assert numbers["videos"] >= 1000
    assert numbers["split"] == "test"
    assert numbers["macro_mae"] <= 0.5
    assert numbers["macro_mae"] < numbers["always_three_macro_mae"]
    assert numbers["macro_mae"] < numbers["no_negatives"]["macro_mae"]
    assert numbers["false_positive_rate"] < numbers["no_negatives"]["false_positive_rate"] / 5
