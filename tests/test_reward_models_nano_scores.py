"""The shipped nano scores painted clips as it did when its scores were written down, whatever changes around it."""

import json
from pathlib import Path

import numpy as np
import pytest

from reward_models.nano.tasks import TASKS
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.registry import load_reward_model
from tests.painted_scenes import painted_clip
from tests.tiny_vlm import probabilities_of

RECORDED = json.loads((Path(__file__).parent / "nano_scores.json").read_text(encoding="utf-8"))
TOLERANCE = 2e-3
"""Probabilities move by less than this between processors and versions of torch; a wrong input moves them by far more."""


@pytest.fixture(scope="module")
def nano() -> RoboReward:
    model = load_reward_model("roboreward-nano?abstain=never")  # painted clips are another world
    assert isinstance(model, RoboReward)
    return model


def test_the_recorded_clips_cover_every_level_and_task() -> None:
    assert len(RECORDED) >= 64
    assert {row["level"] for row in RECORDED} == {1, 2, 3, 4, 5}
    assert {row["task"] for row in RECORDED} == {t for tasks in TASKS.values() for t in tasks}


def test_levels_and_probabilities_are_the_recorded_ones(nano: RoboReward) -> None:
    scores = nano.score([painted_clip(row["seed"], row["task"]) for row in RECORDED])
    assert [score.level for score in scores] == [row["level"] for row in RECORDED]
    found = np.stack([probabilities_of(score) for score in scores])
    recorded = np.array([row["probabilities"] for row in RECORDED])
    np.testing.assert_allclose(found, recorded, atol=TOLERANCE)
