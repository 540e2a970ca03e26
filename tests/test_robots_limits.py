"""Safety limits in a file."""

import json
from pathlib import Path

import numpy as np
import pytest

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.limits import limits_from_json, limits_to_json, load_limits
from robots.safety import SafetyLimits


def write(folder: Path, content: object) -> Path:
    path = folder / "limits.json"
    path.write_text(json.dumps(content))
    return path


def test_what_the_file_does_not_name_keeps_its_default(tmp_path: Path) -> None:
    limits = load_limits(write(tmp_path, {"box_low": [0.15, -0.1, 0.03], "velocity_fraction": 0.5}))
    np.testing.assert_array_equal(limits.box_low, [0.15, -0.1, 0.03])
    assert limits.velocity_fraction == 0.5
    np.testing.assert_array_equal(limits.box_high, SafetyLimits().box_high)


def test_limits_come_back_from_json_as_they_were() -> None:
    limits = SafetyLimits(box_low=np.array([0.2, -0.1, 0.05]), image_max_age_s=0.25)
    again = limits_from_json(json.loads(json.dumps(limits_to_json(limits))), "a test")
    assert limits_to_json(again) == limits_to_json(limits)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "JSON object"),
        ({"box_low": [0.1, 0.2]}, "must be 3 numbers"),
        ({"box_low": "low"}, "must be 3 numbers"),
        ({"box_low": [0.1, float("nan"), 0.2]}, "must be 3 numbers"),
        ({"tilt_rad": [0.1]}, "must be a number"),
        ({"tilt_rad": True}, "must be a number"),
        ({"box_low": [0.5, -0.25, 0.02]}, "box_low must be below box_high"),
    ],
)
def test_values_that_are_none_are_refused(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        load_limits(write(tmp_path, content))


def test_a_limit_that_there_is_not_is_named_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="box_low"):
        load_limits(write(tmp_path, {"box_lo": [0, 0, 0]}))


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"missing\.json"):
        load_limits(tmp_path / "missing.json")
