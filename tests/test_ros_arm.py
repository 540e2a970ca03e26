"""The environment over ROS 2: two processes, real messages on the loopback interface, real faults.

By the simulated clock of the driver, so that a slow machine only makes it slower; how fast the arm stops in real time
is measured by `benchmarks/ros_faults.py`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytestmark = pytest.mark.ros
pytest.importorskip("roboreward_sim_msgs", reason="needs ROS 2 and the messages (make setup-ros)")

import rclpy  # noqa: E402
from interbotix_xs_msgs.msg import JointSingleCommand, JointTrajectoryCommand  # noqa: E402
from roboreward_sim_msgs.srv import SetFault  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

import robots  # noqa: E402, F401
from roboreward_gym.errors import RobotFaultEpisode  # noqa: E402
from robots.conventions import NEUTRAL_JOINTS  # noqa: E402
from robots.errors import ArmUnavailable, MotionRefused  # noqa: E402
from robots.ros.link import RosConfig, RosLink  # noqa: E402
from robots.ros.ros_arm import RosArm  # noqa: E402
from robots.ros.simulator.time import simulated_time_arm  # noqa: E402
from robots.widowx import widowx  # noqa: E402
from robots.xs.interface import CAMERA_TOPIC, FAULT_SERVICE, RESET_SERVICE  # noqa: E402
from tests.ros_driver import PATIENCE_S, ROOT, running_driver, until  # noqa: E402 - skips without ROS

TOY = "robots:WidowXToyOnTowelRos-v0"


@pytest.fixture(scope="module")
def driver() -> Iterator[None]:
    with running_driver("--scene", "toy"):
        yield


@pytest.fixture(scope="module")
def env(driver: None) -> Iterator[gym.Env]:
    env = gym.make(TOY, simulated_clock=True, render_mode="rgb_array")
    yield env
    env.close()


def link_of(env: gym.Env) -> RosLink:
    arm = widowx(env).arm
    assert isinstance(arm, RosArm)
    return arm.link


def inject(env: gym.Env, **fault: Any) -> None:
    """Begin a fault of the driver, or end all."""
    answer = link_of(env).call(SetFault, FAULT_SERVICE, SetFault.Request(fault=json.dumps(fault)))
    assert answer.success, answer.message


def swing(env: gym.Env, steps: int = 40) -> None:
    for i in range(steps):
        opening = 1.0 if i % 10 < 5 else -1.0
        env.step(np.array([0, 0.6 if i % 6 < 3 else -0.6, 0, 0, 0, 0, opening], np.float32))


def test_a_real_arm_needs_somebody_who_watches_it(
    driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm = simulated_time_arm()
    monkeypatch.setattr(RosLink, "_is_simulation", lambda *_: False)
    with pytest.raises(MotionRefused, match="--i-am-watching"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.close()


def test_the_environment_of_an_unwatched_real_arm_says_that_it_is_real(
    driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = RosLink.call

    def without_simulation(link: RosLink, service: Any, name: str, request: Any) -> Any:
        if name == RESET_SERVICE:
            raise ArmUnavailable(f"{name} did not answer.")
        return call(link, service, name, request)

    monkeypatch.setattr(RosLink, "call", without_simulation)
    monkeypatch.setattr(RosLink, "_is_simulation", lambda *_: False)
    env = gym.make(TOY, simulated_clock=True)
    with pytest.raises(MotionRefused, match=r"real arm.*--i-am-watching"):
        env.reset(seed=0)
    env.close()


def test_a_real_arm_without_a_set_up_is_refused_before_anything_is_joined(tmp_path: Path) -> None:
    with pytest.raises(MotionRefused, match=r"has not been set up.*robots\.check"):
        gym.make(TOY, watched=True, setup=tmp_path)


def test_an_episode_over_ros_is_that_of_the_simulation(env: gym.Env) -> None:
    here = gym.make("robots:WidowXToyOnTowel-v0", render_mode="rgb_array")
    there, _ = env.reset(seed=5)
    expected, _ = here.reset(seed=5)
    # The same start; servos sag a little.
    np.testing.assert_allclose(there["state"][:3], expected["state"][:3], atol=5e-3)
    # The same scene from the same camera.
    difference = np.abs(there["image"].astype(int) - expected["image"].astype(int)).mean()
    assert difference < 12.0
    moved, _, terminated, truncated, info = env.step(np.array([0.4, 0, 0, 0, 0, 0, 1], np.float32))
    for _ in range(4):
        moved, _, terminated, truncated, info = env.step(np.array([0] * 6 + [1], np.float32))
    np.testing.assert_allclose(moved["state"][:3] - there["state"][:3], [0.02, 0, 0], atol=5e-3)
    assert (terminated, truncated, info["truth/level"]) == (False, False, 1.0)
    here.close()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"kind": "late_joint_states", "delay_s": 1.5}, "joint state must be at most 0.3 s"),
        ({"kind": "frozen_camera"}, "image must be at most 1.0 s|too slow"),
        ({"kind": "nan_joints"}, "positions must be finite"),
        ({"kind": "wrong_joint_order"}, "in this order"),
        ({"kind": "clock_jump", "offset_s": 3600.0}, "A clock jumped"),
        ({"kind": "lost_messages", "stream": "commands", "probability": 1.0}, "lost commands"),
        (
            {"kind": "servo_error", "joint": "shoulder"},
            "shoulder does not follow|may draw at most|misread",
        ),
        ({"kind": "servo_error", "joint": "gripper"}, "gripper does not follow"),
        ({"kind": "bus_error"}, "inside their limits"),
        ({"kind": "slow_camera", "hz": 3.0}, "too slow"),
        ({"kind": "image_size"}, "640x480 to 16x12"),
    ],
    ids=lambda value: (
        "-".join([value["kind"], value.get("joint", "")]) if isinstance(value, dict) else ""
    ),
)
def test_a_fault_spoils_the_episode_and_the_next_reset_recovers(
    env: gym.Env, fault: dict[str, Any], message: str
) -> None:
    env.reset(seed=1)
    swing(env, 3)
    inject(env, **fault)
    try:
        with pytest.raises(RobotFaultEpisode, match=message):
            swing(env)
    finally:
        inject(env)  # else the next test would have it too
    env.reset(seed=2)
    swing(env, 2)


def test_one_bad_read_on_the_bus_changes_nothing(env: gym.Env) -> None:
    env.reset(seed=1)
    inject(env, kind="bus_error", after_s=0.5, for_s=0.011)
    swing(env, 6)
    arm = widowx(env).arm
    assert isinstance(arm, RosArm)
    assert arm.joints.rejected > 0


def test_a_servo_that_does_not_answer_is_named_and_nothing_moves(env: gym.Env) -> None:
    inject(env, kind="short_registers", joint="elbow")
    try:
        with pytest.raises(ArmUnavailable, match="elbow did not answer"):
            env.reset(seed=1)
    finally:
        inject(env)
    env.reset(seed=1)


def test_other_publishers_on_the_command_topics_and_another_camera_are_noticed(
    env: gym.Env,
) -> None:
    env.reset(seed=1)
    link, node = link_of(env), rclpy.create_node("somebody")
    for kind, topic, counted in (
        (JointSingleCommand, "/wx250s/commands/joint_single", lambda: link.peers().others),
        (JointTrajectoryCommand, "/wx250s/commands/joint_trajectory", lambda: link.peers().others),
        (Image, CAMERA_TOPIC, lambda: link.peers().cameras - 1),
    ):
        publisher = node.create_publisher(kind, topic, 1)
        until(lambda: counted() == 1, f"{topic} to be noticed")  # noqa: B023 - called at once
        with pytest.raises(RobotFaultEpisode, match=r"other client|2 cameras"):
            swing(env)
        node.destroy_publisher(publisher)
        until(lambda: counted() == 0, "its end")  # noqa: B023
        env.reset(seed=1)
    node.destroy_node()


def test_two_clients_at_once_are_refused(env: gym.Env) -> None:
    env.reset(seed=1)
    code = (
        "from robots.ros.simulator.time import simulated_time_arm\n"
        "from robots.conventions import NEUTRAL_JOINTS\n"
        "simulated_time_arm().reset(NEUTRAL_JOINTS, 1.0)\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S * 5,
    )  # fmt: skip
    assert other.returncode == 1
    assert f"Another program drives /wx250s (process {os.getpid()})" in other.stderr


def test_another_namespace_names_the_robots_that_are_there(driver: None) -> None:
    arm = simulated_time_arm(RosConfig(robot_name="px100"), ready_s=3.0)
    with pytest.raises(ArmUnavailable, match=r"at /px100 .*Robots that are there: /wx250s"):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.close()
