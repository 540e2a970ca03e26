"""The first motion of docs/robot.md runs as it stands, on the simulated driver."""

import re
from collections.abc import Iterator

import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("roboreward_sim_msgs", reason="needs ROS 2 and the messages (make setup-ros)")

from tests.ros_driver import ROOT, running_driver  # noqa: E402 - skips without ROS


@pytest.fixture(scope="module")
def driver() -> Iterator[None]:
    with running_driver("--scene", "toy"):
        yield


def test_the_first_motion_goes_ten_centimetres_down(driver: None) -> None:
    page = (ROOT / "docs" / "robot.md").read_text(encoding="utf-8")
    source = re.findall(r"## 4\..*?```python\n(.*?)```", page, re.DOTALL)[0]
    assert "watched=True" in source
    # Nobody watches a simulated driver, and its clock makes a slow machine only slower.
    source = source.replace("watched=True", "simulated_clock=True")
    before, after = source.split("for _ in range(10):")
    names: dict[str, object] = {"__name__": "walkthrough"}
    exec(compile(before, "docs/robot.md", "exec"), names)
    start = np.array(names["observation"]["state"])  # ty: ignore
    exec(compile(f"for _ in range(10):{after}", "docs/robot.md", "exec"), names)
    moved = np.array(names["observation"]["state"]) - start  # ty: ignore
    assert moved[2] == pytest.approx(-0.1, abs=0.03)
    assert np.abs(moved[:2]).max() < 0.02
