"""Every answer of the driver that can be short, and everything that is written."""

from collections.abc import Callable

import numpy as np
import pytest

from robots.conventions import ARM_JOINTS, NEUTRAL_JOINTS
from robots.errors import ArmUnavailable, MotionRefused
from robots.xs.arm import XsArm
from robots.xs.interface import SERVOS, SHADOWS, SLEEP_JOINTS
from tests.fakes_xs import FakeDriver


def made() -> tuple[XsArm, FakeDriver]:
    driver = FakeDriver()
    return XsArm(driver, image_size=(48, 64), timer=driver), driver


def torque_offs(driver: FakeDriver) -> list[str]:
    return [entry[1] for entry in driver.log if entry[0] == "torque" and not entry[2]]


@pytest.mark.parametrize("servo", SERVOS)
def test_a_servo_that_never_answers_is_named_and_nothing_moves(servo: str) -> None:
    arm, driver = made()
    driver.silent[servo] = 10**6
    with pytest.raises(ArmUnavailable, match=f"{servo} did not answer 3 times"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []


@pytest.mark.parametrize("servo", SERVOS)
def test_a_servo_that_answers_at_the_third_time_is_fine(servo: str) -> None:
    arm, driver = made()
    driver.silent[servo] = 2
    arm.reset(NEUTRAL_JOINTS, 1.0)
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)


def test_at_the_end_a_servo_that_does_not_answer_leaves_the_arm_holding_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arm, driver = made()
    arm.reset(NEUTRAL_JOINTS, 1.0)
    driver.silent["elbow"] = 10**6
    arm.close()
    assert torque_offs(driver) == []
    assert "holds where it is, with torque on" in caplog.text
    assert "elbow did not answer" in caplog.text
    assert driver.closed == 1


@pytest.mark.parametrize("servo", SERVOS)
def test_every_servo_without_torque_gets_it(servo: str) -> None:
    arm, driver = made()
    driver.torques[servo] = 0
    arm.reset(NEUTRAL_JOINTS, 1.0)
    assert set(driver.torques.values()) == {1}
    assert [entry[1:3] for entry in driver.log if entry[0] == "torque"] == [(servo, True)]


def test_a_servo_that_stays_without_torque_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arm, driver = made()
    driver.torques["elbow"] = 0
    monkeypatch.setattr(driver, "torque", lambda *_, **__: None)
    with pytest.raises(ArmUnavailable, match="torque of elbow cannot be switched on"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []


@pytest.mark.parametrize("servo", SERVOS)
def test_an_error_of_any_servo_but_an_overload_needs_a_person(servo: str) -> None:
    arm, driver = made()
    driver.errors[servo] = 4
    with pytest.raises(ArmUnavailable, match=f"Hardware_Error_Status is .*{servo}"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []
    assert not [entry for entry in driver.log if entry[0] == "reboot"]


@pytest.mark.parametrize("servo", [*SHADOWS, "gripper"])
def test_an_overload_of_a_servo_in_no_group_is_mended(servo: str) -> None:
    arm, driver = made()
    driver.errors[servo], driver.torques[servo] = 32, 0
    arm.reset(NEUTRAL_JOINTS, 1.0)
    assert ("reboot", servo) in driver.log
    assert (driver.errors[servo], driver.torques[servo]) == (0, 1)


def test_an_error_that_comes_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arm, driver = made()
    driver.errors["elbow"], driver.torques["elbow"] = 32, 0
    monkeypatch.setattr(driver, "reboot", lambda name: None)
    with pytest.raises(ArmUnavailable, match="again after a restart"):
        arm.reset(NEUTRAL_JOINTS, 1.0)


def test_the_profile_is_that_of_the_published_robot_and_is_read_back() -> None:
    arm, driver = made()
    arm.reset(NEUTRAL_JOINTS, 1.0)
    for joint in ARM_JOINTS:
        assert driver.registers_now[joint] == {
            "Profile_Velocity": 250,  # [ms]: 1.25 periods of 5 Hz
            "Profile_Acceleration": 100,  # [ms]: half a period
        }


@pytest.mark.parametrize(
    ("lose", "message"),
    [
        (lambda driver: setattr(driver, "writes_lost", True), "Profile_Velocity should be 250"),
        (
            lambda driver: driver.registers_now.update(elbow=Deaf()),
            "Profile_Velocity .*elbow.*: 2000",
        ),
        (lambda driver: driver.registers_now.update(gripper=Deaf()), "Goal_Current .*gripper"),
    ],
)
def test_a_register_that_does_not_take_its_value_is_refused(
    lose: Callable[[FakeDriver], None], message: str
) -> None:
    arm, driver = made()
    lose(driver)
    with pytest.raises(ArmUnavailable, match=message):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []


class Deaf(dict[str, int]):
    """Registers that keep their value."""

    def __setitem__(self, register: str, value: int) -> None:
        super().__setitem__(register, 2000)


def test_a_mode_that_does_not_change_is_refused() -> None:
    arm, driver = made()
    driver.gripper_mode, driver.modes_stick = "pwm", True
    with pytest.raises(ArmUnavailable, match="operating mode of gripper"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []


def test_the_torque_stays_on_where_the_arm_would_fall(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    arm, driver = made()
    arm.reset(NEUTRAL_JOINTS, 1.0)
    travel = XsArm._travel

    def travel_but_not_to_sleep(self: XsArm, joints: np.ndarray, gripper: float) -> None:
        if not np.allclose(joints, SLEEP_JOINTS):
            travel(self, joints, gripper)

    monkeypatch.setattr(XsArm, "_travel", travel_but_not_to_sleep)
    arm.close()
    assert torque_offs(driver) == []
    assert "with torque on" in caplog.text


def test_a_restart_where_the_arm_would_fall_is_refused_for_a_shadow_too() -> None:
    arm, driver = made()
    arm.reset(NEUTRAL_JOINTS, 1.0)
    driver.errors["shoulder_shadow"] = 32
    with pytest.raises(MotionRefused, match="would fall"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
