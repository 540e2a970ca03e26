import math
from typing import Any

import numpy as np
import pytest

from roboreward_gym import Clip, InvalidClip, InvalidScore, ProgressScore, RewardModel
from tests.fakes import FakeRewardModel

FRAMES = np.zeros((5, 4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": [[[[0, 0, 0]]]]}, "of type list. Pass a NumPy array"),
        ({"frames": FRAMES[0]}, r"\(4, 6, 3\)"),
        ({"frames": FRAMES[:0]}, "T >= 1"),
        ({"frames": FRAMES.transpose(0, 3, 1, 2)}, "channels last"),
        ({"frames": FRAMES.astype(np.float32)}, "uint8"),
        ({"task": ""}, "task is empty"),
        ({"task": None}, "NoneType"),
        ({"fps": 0.0}, "0 Hz"),
        ({"fps": math.nan}, "nan"),
        ({"fps": "5"}, "got '5'"),
        ({"fps": True}, "got True"),
        ({"indices": np.arange(5)}, "together"),
        ({"num_frames": 5}, "together"),
        (
            {"indices": np.arange(4), "num_frames": 4},
            r"5 frames need one whole number each in indices, which is int64 of shape \(4,\)",
        ),
        ({"indices": np.arange(5) / 1.0, "num_frames": 5}, "whole number each in indices"),
        ({"indices": np.array([0, 1, 1, 3, 8]), "num_frames": 9}, "must increase"),
        ({"indices": np.array([-1, 1, 2, 3, 8]), "num_frames": 9}, "must increase"),
        ({"indices": np.array([0, 1, 2, 3, 7]), "num_frames": 9}, "to 8, the last frame"),
    ],
)
def test_impossible_clips_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidClip, match=message):
        Clip(**{"frames": FRAMES, "task": "lift", "fps": 5.0, **changes})


def test_duration_is_frames_over_frame_rate() -> None:
    assert Clip(FRAMES, "lift", 2.5).duration_s == 2.0


def test_a_thinned_clip_has_the_duration_of_the_whole_recording() -> None:
    thinned = Clip(FRAMES, "lift", 2.5, np.array([0, 4, 8, 12, 14]), num_frames=15)
    assert thinned.duration_s == 6.0


@pytest.mark.parametrize(
    "fields",
    [
        {"level": 0},
        {"level": 6},
        {"level": 4.0},
        {"level": True},
        {"level": "4"},
        {"level": 3, "off_format": -0.1},
        {"level": 3, "off_format": 1.1},
        {"level": 3, "off_format": math.nan},
        {"level": 3, "probabilities": np.ones(5)},
        {"level": 3, "probabilities": np.ones(4) / 4},
        {"level": 3, "probabilities": np.array([2.0, -1.0, 0.0, 0.0, 0.0])},
        {"level": 3, "probabilities": np.array([np.nan, 1.0, 0.0, 0.0, 0.0])},
    ],
)
def test_impossible_scores_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidScore):
        ProgressScore(**fields)


def test_numbers_of_a_score_come_from_its_probabilities() -> None:
    score = ProgressScore(5, np.array([0.0, 0.0, 0.0, 0.25, 0.75]))
    assert score.expected == pytest.approx(4.75)
    assert score.success_probability == pytest.approx(0.75)
    assert score.entropy == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))


def test_a_bare_level_is_certain_and_has_no_entropy() -> None:
    score = ProgressScore(5)
    assert (score.expected, score.success_probability) == (5.0, 1.0)
    assert math.isnan(score.entropy)
    assert ProgressScore(4).success_probability == 0.0


def test_an_unreadable_score_has_no_numbers() -> None:
    score = ProgressScore(None, np.full(5, 0.2), text="?")
    assert not score.readable
    assert all(map(math.isnan, (score.expected, score.success_probability, score.entropy)))


def test_anything_that_scores_is_a_reward_model() -> None:
    assert isinstance(FakeRewardModel(), RewardModel)
    assert not isinstance(object(), RewardModel)
