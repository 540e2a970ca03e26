"""Consent, faults, recovery and an orderly end, on a driver in memory."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from robots.conventions import ARM_JOINTS, JOINT_LOWER, JOINT_UPPER, NEUTRAL_JOINTS
from robots.errors import ArmFault, ArmUnavailable, CameraError, MotionRefused
from robots.xs.arm import READY_S, XsArm
from robots.xs.interface import GRIPPER_CURRENT_MA, SLEEP_JOINTS
from robots.xs.link import Peers, RobotFacts
from tests.fakes_xs import FakeDriver

UP = NEUTRAL_JOINTS + np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0])


def made(*, watched: bool = False) -> tuple[XsArm, FakeDriver]:
    driver = FakeDriver()
    return XsArm(driver, image_size=(48, 64), timer=driver, watched=watched), driver


def driving() -> tuple[XsArm, FakeDriver]:
    arm, driver = made()
    arm.reset(NEUTRAL_JOINTS, 1.0)
    return arm, driver


# --- nothing moves that should not -----------------------------------------------------------------


def test_construction_and_closing_send_nothing() -> None:
    arm, driver = made()
    driver.run(1.0)
    arm.close()
    assert (driver.set_points, driver.gripper_angles, driver.log, driver.closed) == ([], [], [], 1)


def test_a_real_arm_does_not_move_unless_it_is_watched() -> None:
    arm, driver = made()
    driver.peers_now = Peers(drivers=1, others=0, simulated=False)
    with pytest.raises(MotionRefused, match="--i-am-watching"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    with pytest.raises(ArmFault, match=r"reset\(\)"):
        arm.move(NEUTRAL_JOINTS, 1.0)
    arm.close()
    assert (driver.set_points, driver.gripper_angles, driver.log) == ([], [], [])


def test_a_watched_real_arm_moves() -> None:
    arm, driver = made(watched=True)
    driver.peers_now = Peers(drivers=1, others=0, simulated=False)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)


def bad_facts(**changes: object) -> Callable[[FakeDriver], None]:
    facts = {"joints": ARM_JOINTS, "lower": JOINT_LOWER, "upper": JOINT_UPPER, **changes}

    def change(driver: FakeDriver) -> None:
        driver.arm_facts = RobotFacts("position", "time", **facts)  # ty: ignore[invalid-argument-type]

    return change


def set_to(**changes: object) -> Callable[[FakeDriver], None]:
    def change(driver: FakeDriver) -> None:
        for name, value in changes.items():
            assert hasattr(driver, name)
            setattr(driver, name, value)

    return change


@pytest.mark.parametrize(
    ("hurt", "error", "message"),
    [
        (set_to(alive=False), ArmUnavailable, "XS driver"),
        (set_to(peers_now=Peers(0, 0, simulated=True)), ArmUnavailable, "0 drivers"),
        (set_to(peers_now=Peers(2, 0, simulated=True)), ArmUnavailable, "2 drivers"),
        (set_to(peers_now=Peers(1, 1, simulated=True)), ArmUnavailable, "1 other client"),
        (set_to(peers_now=Peers(1, 0, simulated=True, cameras=2)), ArmUnavailable, "2 cameras"),
        (bad_facts(joints=ARM_JOINTS[::-1]), ArmUnavailable, "in this order"),
        (bad_facts(lower=np.zeros(0)), ArmUnavailable, "6 finite lower joint limits"),
        (bad_facts(upper=np.full(6, np.nan)), ArmUnavailable, "6 finite upper joint limits"),
        (bad_facts(upper=JOINT_UPPER + 0.5), ArmUnavailable, "of a wx250s"),
        (set_to(names=("elbow", "waist")), ArmUnavailable, "the joints elbow, waist"),
        (set_to(nan_joint=1), ArmUnavailable, "positions must be finite"),
        (set_to(states_late_s=0.3), ArmUnavailable, "No joint states that can be used"),
        (set_to(clock_offset_s=-3600.0), ArmUnavailable, "A clock jumped"),
        (set_to(clock_offset_s=60.0), ArmUnavailable, "A clock jumped"),
        (set_to(camera_on=False), ArmUnavailable, "No images that can be used"),
        (set_to(encoding="mono8"), CameraError, "rgb8 or bgr8, got 'mono8'"),
        (set_to(size=(48, 80)), CameraError, "4:3 .* got 80x48"),
        (set_to(size=(24, 32)), CameraError, "32x24 are smaller"),
        (set_to(picture="black with noise"), CameraError, "dark"),
        (set_to(picture="covered"), CameraError, "shows nothing"),
    ],
)
def test_what_is_wrong_before_the_start_is_said_and_nothing_moves(
    hurt: Callable[[FakeDriver], None], error: type[Exception], message: str
) -> None:
    arm, driver = made()
    hurt(driver)
    with pytest.raises(error, match=message):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    driver.run(0.5)
    arm.close()
    assert driver.set_points == []
    np.testing.assert_array_equal(driver.position, SLEEP_JOINTS)


def test_a_learner_that_the_network_lists_late_is_noticed_before_anything_moves() -> None:
    arm, driver = made()
    driver.at(1.5, lambda: setattr(driver, "peers_now", Peers(1, 1, simulated=True)))
    with pytest.raises(ArmUnavailable, match="1 other client"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []


def test_modes_change_in_the_sleep_pose() -> None:
    arm, driver = made()
    driver.gripper_mode = "pwm"  # as the vendor's driver starts it
    driver.arm_facts = replace(driver.arm_facts, mode="velocity")
    arm.reset(NEUTRAL_JOINTS, 1.0)
    assert ("mode", "group", "arm", "position") in driver.log
    assert ("mode", "single", "gripper", "current_based_position") in driver.log


def test_modes_do_not_change_anywhere_else() -> None:
    arm, driver = made()
    driver.arm_facts = replace(driver.arm_facts, mode="velocity")
    driver.put(NEUTRAL_JOINTS)
    with pytest.raises(MotionRefused, match="would fall"):
        arm.reset(UP, 1.0)
    assert not [entry for entry in driver.log if entry[0] == "mode"]
    assert driver.set_points == []


# --- motion ----------------------------------------------------------------------------------------


def test_a_reset_is_slow_and_ends_at_its_target() -> None:
    arm, driver = made()
    arm.reset(NEUTRAL_JOINTS, 1.0)
    points = np.array([joints for _, joints in driver.set_points])
    speeds = np.abs(np.diff(points, axis=0)) * 20.0
    assert speeds.max() <= 0.6 * 1.05
    np.testing.assert_allclose(points[-1], NEUTRAL_JOINTS, atol=1e-9)


def test_a_reset_that_was_held_up_makes_up_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    arm, driver = made()
    send = driver.send_arm

    def slow_send(joints: np.ndarray) -> None:
        send(joints)
        if len(driver.set_points) == 10:
            driver.run(0.5)  # the computer does something else

    monkeypatch.setattr(driver, "send_arm", slow_send)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    times = np.array([time for time, _ in driver.set_points])
    assert np.diff(times).max() > 0.5
    assert np.diff(times).min() > 0.049


def test_set_points_come_at_5_hz_without_drift() -> None:
    arm, driver = driving()
    driver.set_points.clear()
    for _ in range(20):
        arm.move(NEUTRAL_JOINTS, 1.0)
        driver.run(0.03)  # a policy thinks
    times = np.array([time for time, _ in driver.set_points])
    assert arm.clock.periods == 20
    np.testing.assert_allclose(times[-1] - times[1], 18 * 0.2, atol=0.011)
    assert arm.clock.hz == pytest.approx(5.0, rel=0.01)


def test_without_set_points_the_arm_stays_put() -> None:
    arm, driver = driving()
    arm.move(UP, 1.0)
    driver.set_points.clear()
    driver.run(30.0)
    assert driver.set_points == []
    np.testing.assert_allclose(driver.position, UP, atol=1e-6)


def test_the_gripper_holds_an_object_with_a_bounded_current_and_that_is_no_fault() -> None:
    arm, driver = driving()
    driver.obstacle_m = 0.02
    for _ in range(20):
        arm.move(NEUTRAL_JOINTS, 0.0)
    assert arm.joints.newest is not None
    assert abs(arm.joints.newest.gripper_ma) == pytest.approx(GRIPPER_CURRENT_MA, rel=0.01)
    driver.run(120.0)
    arm.read()


def test_the_gripper_is_never_in_a_mode_that_pushes_on_by_itself() -> None:
    arm, driver = made()
    driver.gripper_mode = "pwm"
    arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.gripper_mode == "current_based_position"
    assert driver.registers_now["gripper"]["Goal_Current"] == round(GRIPPER_CURRENT_MA / 2.69)


@pytest.mark.parametrize("end", ["rest", "close"])
def test_nothing_is_sent_to_the_gripper_after_the_end(end: str) -> None:
    arm, driver = driving()
    swing(arm, 3)
    getattr(arm, end)()
    driver.gripper_angles.clear()
    driver.run(600.0)
    assert driver.gripper_angles == []
    assert driver.torques["gripper"] == (end == "rest")


# --- faults in the middle of motion ----------------------------------------------------------------

FAULTS = {
    "the driver dies": (set_to(alive=False), "joint state must be at most", 0.13),
    "late joint states": (set_to(states_late_s=0.3), "joint state must be at most", 0.13),
    "a bus that fails for good": (set_to(bus_errors=10**6), "inside their limits", 0.13),
    "an image that changes its size": (set_to(size=(96, 128)), "64x48 to 128x96", 0.4),
    "a covered camera": (set_to(picture="covered"), "shows nothing", 0.4),
    "darkness": (set_to(picture="black with noise"), "dark", 0.4),
    "a slow camera": (set_to(camera_every=33), "too slow: 3 of the last", 3.0),
    "another camera": (set_to(peers_now=Peers(1, 0, simulated=True, cameras=2)), "2 cameras", 0.52),
    "a gripper in overload": (set_to(gripper_limp=True), "gripper does not follow", 2.0),
    "a frozen camera": (set_to(camera_on=False), "image must be at most", 0.56),
    "late images": (set_to(images_late_s=0.8), "image must be at most", 0.56),
    "NaN joints": (set_to(nan_joint=2), "positions must be finite", 0.13),
    "another joint order": (set_to(names=("elbow", "waist", "x")), "in this order", 0.13),
    "values in another order": (set_to(swap=(1, 2)), "misread", 0.13),
    "a clock that jumps": (set_to(clock_offset_s=3600.0), "A clock jumped", 0.13),
    "a collision": (set_to(effort_ma=np.array([0, 2500.0, 0, 0, 0, 0, 0, 0, 0])), "mA", 0.08),
    "a servo in error": (set_to(limp=1), "shoulder does not follow", 1.2),
    "another client": (set_to(peers_now=Peers(1, 1, simulated=True)), "other client", 0.52),
}


def swing(arm: XsArm, steps: int = 100) -> None:
    """Keep the waist and the gripper moving, with an image a step."""
    for i in range(steps):
        arm.move(NEUTRAL_JOINTS + np.array([0.5 * np.sin(0.4 * i), 0, 0, 0, 0, 0]), i % 10 > 4)
        arm.camera()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stops_the_arm_in_time_and_the_next_reset_recovers(name: str) -> None:
    hurt, message, within_s = FAULTS[name]
    arm, driver = driving()
    swing(arm, 5)
    began: list[float] = []

    def begin() -> None:
        began.append(driver.now())
        hurt(driver)

    driver.at(0.05, begin)
    with pytest.raises(ArmFault, match=message):
        swing(arm)
    assert driver.now() - began[0] <= within_s + 1e-6
    driver.run(0.4)
    # A hold was sent, and again, since messages can be lost.
    holds = [point for at, point in driver.set_points if at > driver.now() - 0.4]
    assert 5 <= len(holds) <= 6
    sent = len(driver.set_points)
    driver.run(1.0)
    assert len(driver.set_points) == sent  # nothing streams after the stop
    with pytest.raises(ArmFault):
        arm.move(NEUTRAL_JOINTS, 1.0)
    fresh = FakeDriver()
    for attribute in ("states_late_s", "images_late_s", "clock_offset_s", "camera_on", "names",
                      "swap", "nan_joint", "effort_ma", "peers_now", "alive", "bus_errors", "size",
                      "picture", "camera_every"):  # fmt: skip
        setattr(driver, attribute, getattr(fresh, attribute))
    for servo in (("shoulder",) if driver.limp else ()) + (
        ("gripper",) if driver.gripper_limp else ()
    ):
        driver.errors[servo], driver.torques[servo] = 32, 0
    arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.move(NEUTRAL_JOINTS, 1.0)
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)


def test_the_hold_is_where_the_arm_is_and_not_where_it_was_sent() -> None:
    arm, driver = driving()
    target = NEUTRAL_JOINTS + np.array([0.5, 0, 0, 0, 0, 0])
    arm.move(NEUTRAL_JOINTS, 1.0)
    driver.speed_rad_s = 1.0
    driver.at(0.05, lambda: setattr(driver, "effort_ma", np.full(9, 2500.0)))
    with pytest.raises(ArmFault, match="mA"):
        arm.move(target, 1.0)
    stopped = driver.position.copy()
    driver.run(1.0)
    assert 0.05 < target[0] - stopped[0] < 0.5
    np.testing.assert_allclose(driver.set_points[-1][1], stopped, atol=0.03)
    np.testing.assert_allclose(driver.position, stopped, atol=0.03)


def test_a_driver_that_was_there_before_gets_time_to_be_started_again() -> None:
    arm, driver = driving()
    driver.alive = False
    driver.at(60.0, lambda: setattr(driver, "alive", True))
    arm.reset(UP, 1.0)
    np.testing.assert_allclose(driver.position, UP, atol=0.02)


def test_the_end_does_not_wait_long_for_a_driver_that_died() -> None:
    arm, driver = driving()
    driver.alive = False
    began = driver.now()
    arm.close()
    assert driver.now() - began < READY_S + 1.0
    assert driver.closed == 1


def test_a_camera_that_repeats_itself_is_noticed() -> None:
    arm, driver = driving()
    driver.camera_repeats = True
    with pytest.raises(ArmFault, match="It is frozen"):
        swing(arm)


def test_lost_commands_are_noticed() -> None:
    arm, driver = driving()
    driver.drop_commands = True
    with pytest.raises(ArmFault, match="lost commands"):
        swing(arm)


def test_an_overloaded_servo_is_restarted_between_episodes_only_once() -> None:
    arm, driver = driving()
    driver.errors["shoulder"], driver.torques["shoulder"] = 32, 0
    arm.reset(NEUTRAL_JOINTS, 1.0)
    assert [entry for entry in driver.log if entry[0] == "reboot"] == [("reboot", "shoulder")]
    assert set(driver.torques.values()) == {1}


def test_a_servo_with_torque_is_not_restarted_where_the_arm_would_fall() -> None:
    arm, driver = driving()
    driver.errors["shoulder"] = 32
    with pytest.raises(MotionRefused, match="would fall"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert not [entry for entry in driver.log if entry[0] == "reboot"]


def test_a_start_after_a_kill_begins_where_the_arm_was_left() -> None:
    killed, driver = driving()
    swing(killed, 3)
    left = driver.position.copy()
    driver.set_points.clear()
    arm = XsArm(driver, image_size=(48, 64), timer=driver)  # the other one was never closed
    arm.reset(NEUTRAL_JOINTS, 1.0)
    first = driver.set_points[0][1]
    assert np.abs(first - left).max() < 0.05
    assert not [entry for entry in driver.log if entry[0] in ("mode", "reboot", "torque")]


def torque_offs(driver: FakeDriver) -> list[tuple[Any, ...]]:
    return [entry for entry in driver.log if entry[0] == "torque" and entry[2] is False]


# --- the end ---------------------------------------------------------------------------------------


def test_closing_goes_to_sleep_before_the_torque_goes_off() -> None:
    arm, driver = driving()
    arm.close()
    assert driver.log[-2:] == [
        ("torque", "arm", False, SLEEP_JOINTS.tolist()),
        ("torque", "gripper", False, SLEEP_JOINTS.tolist()),
    ]
    np.testing.assert_allclose(driver.position, SLEEP_JOINTS, atol=0.02)


def test_closing_after_a_fault_goes_to_sleep_too() -> None:
    arm, driver = driving()
    driver.at(0.5, lambda: setattr(driver, "camera_on", False))
    with pytest.raises(ArmFault):
        swing(arm)
    arm.close()
    assert driver.log[-1][:3] == ("torque", "gripper", False)


def test_one_stale_reading_on_the_way_to_sleep_does_not_leave_the_arm_under_torque() -> None:
    arm, driver = driving()
    driver.at(1.0, lambda: setattr(driver, "states_late_s", 0.3))
    driver.at(1.5, lambda: setattr(driver, "states_late_s", 0.0))
    arm.close()
    assert driver.log[-1] == ("torque", "gripper", False, SLEEP_JOINTS.tolist())


def test_an_arm_that_cannot_go_to_sleep_keeps_its_torque(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arm, driver = driving()
    driver.limp = 1
    arm.close()
    assert not torque_offs(driver)
    assert "holds where it is, with torque on" in caplog.text
    assert driver.closed == 1


def test_a_second_ctrl_c_leaves_the_arm_holding() -> None:
    arm, driver = driving()

    def interrupt() -> None:
        raise KeyboardInterrupt

    driver.at(0.5, interrupt)
    with pytest.raises(KeyboardInterrupt):
        arm.close()
    assert not torque_offs(driver)
    assert driver.closed == 1
    driver.run(1.0)
    assert driver.now() - driver.last_motion_s > 0.5


def test_between_episodes_hands_may_be_on_the_table() -> None:
    arm, driver = driving()
    swing(arm, 4)
    arm.retreat()
    np.testing.assert_allclose(driver.position, NEUTRAL_JOINTS, atol=0.02)
    driver.camera_on = False  # somebody stands before it
    driver.run(5.0)
    driver.camera_on = True
    arm.reset(UP, 1.0)
    arm.move(UP, 1.0)


# --- a computer that is too busy -------------------------------------------------------------------


def starve(driver: FakeDriver, for_s: float) -> None:
    """Give this process no time: neither messages nor ticks come."""
    driver.ticks_on = driver.alive = False

    def end() -> None:
        driver.ticks_on = True

    driver.at(for_s, end)


def test_a_computer_that_is_too_busy_is_named_as_the_cause() -> None:
    arm, driver = driving()
    driver.at(0.15, lambda: starve(driver, 0.2))
    arm.move(NEUTRAL_JOINTS, 1.0)
    with pytest.raises(ArmFault, match=r"too busy: the watch over the arm ran 0\.2 s late.*load"):
        arm.move(NEUTRAL_JOINTS, 1.0)


def test_a_high_load_is_named_although_the_watch_is_on_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arm, driver = driving()
    monkeypatch.setattr(os, "getloadavg", lambda: (15.0, 15.0, 15.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    driver.at(0.05, lambda: setattr(driver, "alive", False))
    with pytest.raises(ArmFault, match=r"too busy: its load is 15\.0 on 2 cores"):
        arm.move(NEUTRAL_JOINTS, 1.0)


def test_a_driver_that_dies_is_no_busy_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    arm, driver = driving()
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))
    driver.at(0.05, lambda: setattr(driver, "alive", False))
    with pytest.raises(ArmFault) as fault:
        arm.move(NEUTRAL_JOINTS, 1.0)
    assert "busy" not in str(fault.value)


def test_torque_is_not_taken_off_an_arm_that_has_left_its_sleep_pose(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody lifts it after it has arrived: too little for the watch, too far to be dropped."""
    arm, driver = driving()
    settle = XsArm._settle

    def lifted(self: XsArm, joints: np.ndarray) -> None:
        settle(self, joints)
        if np.array_equal(joints, SLEEP_JOINTS):
            driver._goal = SLEEP_JOINTS + np.array([0.0, 0.23, 0.0, 0.0, 0.0, 0.0])
            driver.run(0.5)

    monkeypatch.setattr(XsArm, "_settle", lifted)
    arm.close()
    assert [entry for entry in driver.log if entry[0] == "torque" and not entry[2]] == []
    assert "would fall without torque" in caplog.text
    assert "torque on" in arm.condition()
