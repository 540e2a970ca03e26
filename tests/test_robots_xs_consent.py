"""A real arm that was stopped does not move before the person beside it has agreed, and space stops any motion."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robots.conventions import NEUTRAL_JOINTS
from robots.errors import ArmFault, MotionRefused
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.interface import SLEEP_JOINTS
from robots.xs.link import Peers
from robots.xs.table import RealTable
from tests.fakes_xs import FakeDriver, FakePerson, real_arm

UP = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])


def real_table(script: Path | None = None) -> tuple[WidowXEnv, XsArm, FakePerson, FakeDriver]:
    arm, operator, person, driver = real_arm(takes_s=5.0)
    table = RealTable(arm, ("wave",), operator, script=script)
    return WidowXEnv(arm, table, "wave"), arm, person, driver


def stopped_by(env: WidowXEnv, steps: int = 40) -> str:
    try:
        for _ in range(steps):
            env.step(np.zeros(7))
    except ArmFault as fault:
        return str(fault)
    raise AssertionError("The arm was not stopped.")


@pytest.mark.parametrize(
    ("hurt", "message"),
    [
        (lambda person, driver: person.press(" "), "operator stopped the arm"),
        (lambda person, driver: person.press("i"), "spoiled"),
        (lambda person, driver: setattr(driver, "camera_on", False), "image must be at most"),
        (
            lambda person, driver: setattr(driver, "states_late_s", 0.5),
            "joint state must be at most",
        ),
        (lambda person, driver: setattr(driver, "effort_ma", np.full(9, 2500.0)), "mA"),
    ],
)
def test_after_a_stop_nothing_moves_before_the_person_has_agreed(
    hurt: Callable[[FakePerson, FakeDriver], None], message: str
) -> None:
    env, _, person, driver = real_table()
    env.reset(seed=0)
    env.step(UP)
    driver.at(0.5, lambda: hurt(person, driver))
    assert message in stopped_by(env)
    fresh = FakeDriver()
    for name in ("camera_on", "states_late_s", "effort_ma"):
        setattr(driver, name, getattr(fresh, name))
    driver.run(0.5)
    sent, stood = len(driver.set_points), driver.position.copy()
    env.reset(seed=1)
    assert message in person.questions[-2]
    assert "Put everything back" in person.questions[-1]
    np.testing.assert_array_equal(person.places[-2], stood)
    assert person.sent[-2] == sent
    env.step(np.zeros(7))


def test_who_does_not_agree_leaves_the_arm_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    env, arm, person, driver = real_table()
    env.reset(seed=0)
    person.keys = " "
    stopped_by(env)
    driver.run(0.5)
    stood = driver.position.copy()
    person.answers = ["q", "q"]
    with pytest.raises(KeyboardInterrupt):
        env.reset(seed=1)
    with pytest.raises(KeyboardInterrupt):
        arm.close()
    driver.run(5.0)
    np.testing.assert_array_equal(driver.position, stood)
    assert not [entry for entry in driver.log if entry[0] == "torque" and not entry[2]]
    assert "with torque on" in caplog.text


def test_the_end_after_a_stop_goes_to_sleep_once_the_person_agrees() -> None:
    env, arm, person, driver = real_table()
    env.reset(seed=0)
    person.keys = " "
    stopped_by(env)
    arm.close()
    assert "operator stopped the arm" in person.questions[-1]
    np.testing.assert_allclose(driver.position, SLEEP_JOINTS, atol=0.02)


def test_without_an_operator_a_stopped_real_arm_waits_for_allow_motion() -> None:
    driver = FakeDriver()
    driver.peers_now = Peers(drivers=1, others=0, simulated=False)
    arm = XsArm(driver, image_size=(48, 64), timer=driver, watched=True)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    driver.states_late_s = 0.5
    with pytest.raises(ArmFault):
        arm.move(NEUTRAL_JOINTS, 1.0)
    driver.states_late_s = 0.0
    with pytest.raises(MotionRefused, match="allow_motion"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.allow_motion()
    arm.reset(NEUTRAL_JOINTS, 1.0)


def test_a_hold_by_the_program_needs_consent_too() -> None:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=(48, 64), timer=driver, watched=True)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.hold()
    with pytest.raises(MotionRefused, match="program stopped it"):
        arm.retreat()


def first_reset(env: WidowXEnv, arm: XsArm) -> None:
    env.reset(seed=0)


def retreat(env: WidowXEnv, arm: XsArm) -> None:
    arm.retreat()


def sleep(env: WidowXEnv, arm: XsArm) -> None:
    arm.close()


@pytest.mark.parametrize("motion", [first_reset, retreat, sleep])
def test_space_stops_every_slow_motion_at_once(
    motion: Callable[[WidowXEnv, XsArm], None],
) -> None:
    env, arm, person, driver = real_table()
    if motion is not first_reset:
        env.reset(seed=0)
        for _ in range(3):
            env.step(UP)
    speeds: list[float] = []

    def press() -> None:
        person.press(" ")
        driver.at(0.1, lambda: speeds.append(float(np.abs(driver._velocity).max())))

    pressed = len(person.questions)
    # Well into the motion: after a look for others before the first one.
    _when_moving(driver, press)
    person.answers = ["", "q"] if motion is first_reset else ["q"]
    with pytest.raises((ArmFault, KeyboardInterrupt)):
        motion(env, arm)
    driver.run(1.0)
    assert speeds == [0.0]
    assert len(person.questions) >= pressed


def _when_moving(driver: FakeDriver, action: Callable[[], None]) -> None:
    """Do something a second after the arm has begun to move."""

    def look() -> None:
        if np.abs(driver._velocity).max() > 0.05:
            driver.at(1.0, action)
        else:
            driver.at(0.02, look)

    driver.at(0.02, look)


def test_space_stops_a_scripted_reset(tmp_path: Path) -> None:
    script = tmp_path / "shut.json"
    push = NEUTRAL_JOINTS + np.array([0.9, 0, 0, 0, 0.1, 0])
    script.write_text(json.dumps([{"joints": push.tolist(), "gripper": 0.0}]))
    env, _, person, driver = real_table(script)
    _when_moving(driver, lambda: person.press(" "))
    with pytest.raises(ArmFault, match="operator stopped the arm"):
        env.reset(seed=0)


def test_a_space_before_the_episode_is_not_thrown_away() -> None:
    env, _, person, driver = real_table()
    person.ask = lambda question: person.press(" ") or ""
    with pytest.raises(ArmFault, match="operator stopped the arm"):
        env.reset(seed=0)
    assert driver.set_points == []


def test_blind_motion_ends_although_the_watching_thread_is_dead() -> None:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=(48, 64), timer=driver)

    def die() -> None:
        driver.ticks_on = driver.alive = False
        began.append((driver.now(), driver.position.copy()))

    began: list[tuple[float, np.ndarray]] = []
    _when_moving(driver, die)
    with pytest.raises(ArmFault, match="joint state must be at most"):
        arm.reset(NEUTRAL_JOINTS + np.array([1.5, 0, 0, 0, 0, 0]), 1.0)
    assert driver.now() - began[0][0] < 0.2
    assert np.abs(driver.set_points[-1][1] - began[0][1]).max() < 0.2


def test_a_step_that_is_too_large_is_refused_and_nothing_is_sent() -> None:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=(48, 64), timer=driver)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    sent = len(driver.set_points)
    with pytest.raises(MotionRefused, match=r"at most 0\.565 rad, got 2\.000"):
        arm.move(NEUTRAL_JOINTS + np.array([2.0, 0, 0, 0, 0, 0]), 1.0)
    assert len(driver.set_points) == sent


def test_one_bad_read_on_the_bus_is_left_out() -> None:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=(48, 64), timer=driver)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    for i in range(20):
        driver.at(0.07, lambda: setattr(driver, "bus_errors", 1))
        arm.move(NEUTRAL_JOINTS + np.array([0.3 * np.sin(0.4 * i), 0, 0, 0, 0, 0]), 1.0)
        assert np.abs(arm.read().joints - NEUTRAL_JOINTS).max() < 0.5
    assert arm.joints.rejected == 20


def test_a_bus_that_fails_for_a_tenth_of_a_second_stops_the_arm() -> None:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=(48, 64), timer=driver)
    arm.reset(NEUTRAL_JOINTS, 1.0)
    driver.bus_errors = 13
    with pytest.raises(ArmFault, match="inside their limits"):
        arm.move(NEUTRAL_JOINTS, 1.0)
