"""What every arm has to do: simulated by MuJoCo, fake, behind an XS driver in memory, and behind one over ROS 2."""

from collections.abc import Iterator

import numpy as np
import pytest

from robots.arm import Arm
from robots.conventions import NEUTRAL_JOINTS
from robots.sim.mujoco_arm import MujocoArm
from robots.xs.arm import XsArm
from tests.fakes_robots import FakeArm
from tests.fakes_xs import FakeDriver

SIZE = (96, 128)


@pytest.fixture(scope="module")
def driver() -> Iterator[None]:
    """A simulated XS driver in a process of its own."""
    from tests.ros_driver import need_ros, running_driver

    need_ros()
    with running_driver("--scene", "toy"):
        yield


@pytest.fixture
def ros_arm(driver: None) -> Arm:
    """The arm over ROS 2."""
    from robots.ros.simulator.time import simulated_time_arm

    return simulated_time_arm(image_size=SIZE)


@pytest.fixture(params=["mujoco", "fake", "xs", pytest.param("ros", marks=pytest.mark.ros)])
def arm(request: pytest.FixtureRequest) -> Iterator[Arm]:
    match request.param:
        case "mujoco":
            arm = MujocoArm("toy", image_size=SIZE)
        case "fake":
            arm = FakeArm()
        case "xs":
            driver = FakeDriver()
            driver.size = SIZE
            arm = XsArm(driver, image_size=SIZE, timer=driver)
        case _:
            arm = request.getfixturevalue("ros_arm")
    yield arm
    arm.close()


def test_it_reads_back_the_reset(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.move(NEUTRAL_JOINTS, 1.0)
    np.testing.assert_allclose(arm.read().joints, NEUTRAL_JOINTS, atol=0.02)
    assert arm.read().gripper > 0.5


def test_it_goes_where_it_is_sent(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    target = NEUTRAL_JOINTS + np.array([0.1, 0.05, -0.05, 0.0, 0.1, 0.0])
    for _ in range(8):
        arm.move(target, 0.0)
    np.testing.assert_allclose(arm.read().joints, target, atol=0.02)
    assert arm.read().gripper < 0.1


def test_its_readings_are_of_now(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    reading = arm.read()
    assert reading.joints.shape == (6,)
    assert 0.0 <= reading.joints_age_s <= 1.0
    assert 0.0 <= reading.image_age_s <= 2.0
    assert reading.effort_ma is None or reading.effort_ma.shape == (6,)


def test_its_camera_returns_rgb_frames_that_callers_may_keep(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    first = arm.camera()
    kept = first.copy()
    arm.move(NEUTRAL_JOINTS + np.array([0.4, 0, 0, 0, 0, 0]), 1.0)
    second = arm.camera()
    assert first.shape == second.shape == (*arm.image_size, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, kept)
    assert (second != first).any()


def test_it_stays_where_it_holds(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.hold()
    before = arm.read().joints
    arm.move(before, 1.0)
    np.testing.assert_allclose(arm.read().joints, before, atol=0.02)


def test_it_closes_twice(arm: Arm) -> None:
    arm.close()
    arm.close()
