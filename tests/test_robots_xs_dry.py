"""A dry run: the whole loop goes on, and nothing is sent."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from robots.errors import ArmFault, ArmUnavailable
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.dry import DryLink
from robots.xs.interface import SERVOS, SLEEP_JOINTS
from robots.xs.link import Peers
from robots.xs.operator import Operator
from robots.xs.rating import AskRating
from robots.xs.table import RealTable
from tests.fakes_xs import FakeDriver, FakePerson

FORWARD = np.array([0.5, 0.2, -0.3, 0.1, 0.0, 0.0, -1.0])


def dry() -> tuple[AskRating, WidowXEnv, FakePerson, FakeDriver]:
    """A dry run with a real arm that lies in its sleep pose, without torque, in other modes."""
    driver = FakeDriver()
    person = FakePerson(driver)
    person.answer = lambda question: "4" if "How far" in question else ""
    driver.peers_now = Peers(drivers=1, others=0, simulated=False)
    driver.torques = dict.fromkeys(SERVOS, 0)
    driver.gripper_mode = "pwm"
    driver.arm_facts = replace(driver.arm_facts, profile="velocity")
    driver.camera_repeats = True  # nothing moves, so a perfect camera sees the same again and again
    operator = Operator(person)
    arm = XsArm(
        DryLink(driver),
        image_size=(48, 64),
        timer=driver,
        watched=True,
        operator=operator,
        dry=True,
    )
    env = WidowXEnv(arm, RealTable(arm, ("wave",), operator), "wave", render_mode="rgb_array")
    return AskRating(TimeLimit(env, 20)), env, person, driver


def step_many(env: AskRating) -> None:
    for _ in range(5):
        env.step(FORWARD)


def nothing_was_sent(driver: FakeDriver) -> bool:
    asleep = np.array_equal(driver.position, SLEEP_JOINTS)
    return asleep and (driver.set_points, driver.gripper_angles, driver.log) == ([], [], [])


def test_whole_episodes_are_played_and_nothing_is_sent() -> None:
    env, inner, person, driver = dry()
    for seed in range(2):
        before, _ = env.reset(seed=seed)
        ended, info = False, {}
        while not ended:
            after, _, _, ended, info = env.step(FORWARD)
        moved = after["state"][:3] - before["state"][:3]
        assert moved[0] > 0.1
        assert after["state"][6] < 0.05  # the gripper seems to have closed
        assert info["truth/level"] == 4.0
    assert sum("Put everything back" in question for question in person.questions) == 2
    env.close()
    assert nothing_was_sent(driver)
    assert inner.arm.condition() == "It was a dry run: nothing was sent to the arm."  # ty: ignore


def test_the_space_bar_stops_a_dry_run_too() -> None:
    env, _, person, driver = dry()
    env.reset(seed=0)
    person.keys = " "
    with pytest.raises(ArmFault, match="operator stopped"):
        env.step(FORWARD)
    env.reset(seed=1)
    assert any("let it move" in question for question in person.questions)
    assert nothing_was_sent(driver)


def test_what_is_wrong_with_the_real_driver_is_found() -> None:
    env, _, _, driver = dry()
    env.reset(seed=0)
    driver.states_late_s = 0.5
    with pytest.raises(ArmFault, match="joint state must be at most"):
        step_many(env)
    driver.states_late_s = 0.0
    driver.peers_now = Peers(drivers=1, others=1, simulated=False)
    with pytest.raises(ArmUnavailable, match="other client"):
        env.reset(seed=1)
    assert nothing_was_sent(driver)
