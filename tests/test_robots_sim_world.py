"""The simulated world resembles the real one where a policy or a reward model could tell: gripper, camera, time limits."""

import gymnasium as gym
import numpy as np
import pytest

from robots.conventions import FINGER_CLOSED_M
from robots.sim.experts import ScriptedExpert
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import WidowXEnv, widowx

DRAWER, TOY = "robots:WidowXDrawer-v0", "robots:WidowXToyOnTowel-v0"
OPEN, CLOSE = (np.array([0, 0, 0, 0, 0, 0, g], np.float32) for g in (1.0, -1.0))


def simulated(env_id: str) -> tuple[WidowXEnv, MujocoArm]:
    env = widowx(gym.make(env_id, image=False))
    assert isinstance(env.arm, MujocoArm)
    return env, env.arm


def gap_m(arm: MujocoArm) -> float:
    """Distance [m] between the faces of the two pads."""
    pads = [arm.data.geom(f"{side}_pad").xpos for side in ("left", "right")]
    return float(np.linalg.norm(pads[0] - pads[1])) - 2 * float(arm.model.geom("left_pad").size[1])


def test_the_gripper_closes_fully_and_opens_again() -> None:
    env, arm = simulated(TOY)
    env.reset(seed=0)
    assert gap_m(arm) > 0.04
    for _ in range(3):
        observation, *_ = env.step(CLOSE)
    assert abs(gap_m(arm)) < 0.001
    assert arm.data.qpos[6] == pytest.approx(FINGER_CLOSED_M, abs=0.001)
    assert observation["state"][6] < 0.05
    for _ in range(3):
        observation, *_ = env.step(OPEN)
    assert gap_m(arm) > 0.04
    assert observation["state"][6] > 0.95


@pytest.mark.parametrize("toy", ["duck", "block"])
def test_a_grasp_holds_while_the_arm_hurries(toy: str) -> None:
    env, arm = simulated(TOY)
    task = f"pick up the {toy}"
    for seed in range(2):
        env.reset(seed=seed, options={"task": task})
        expert = ScriptedExpert(env, task, np.random.default_rng(seed))
        while not expert.finished:
            env.step(expert.act())
        assert env.level(task) == 5
        in_hand = arm.data.body(toy).xpos - arm.data.site("ee").xpos
        for side in (1.0, -1.0, 1.0, -1.0):
            env.step(np.array([0.2, side, 0.2, 0, 0, 0, -1.0]))
        now = arm.data.body(toy).xpos - arm.data.site("ee").xpos
        assert np.linalg.norm(now - in_hand) < 0.006
        assert env.level(task) == 5


@pytest.mark.parametrize("env_id", [DRAWER, TOY])
def test_the_field_of_view_is_that_of_the_camera_of_bridge_data(env_id: str) -> None:
    env, arm = simulated(env_id)
    c920 = np.rad2deg(2 * np.arctan(240 / 623.588))  # fy in [px] of 480
    fields = []
    for seed in range(12):
        env.reset(seed=seed)
        fields.append(float(arm.model.camera("front").fovy[0]))
    assert np.mean(fields) == pytest.approx(c920, abs=1.0)
    assert max(abs(f - c920) for f in fields) < 2.0


@pytest.mark.parametrize("task", ["open both drawers", "close both drawers"])
def test_both_drawers_take_no_longer_than_an_episode(task: str) -> None:
    env = gym.make(DRAWER, image=False, task=task)
    successes = 0
    for seed in range(10):
        env.reset(seed=seed)
        expert = ScriptedExpert(widowx(env), task, np.random.default_rng(seed))
        truncated = False
        while not truncated:
            _, _, _, truncated, info = env.step(expert.act())
        successes += info["truth/success"] == 1.0
    assert successes >= 9


def test_a_drawer_slides_without_sticking() -> None:
    env, arm = simulated(DRAWER)
    env.reset(seed=0, options={"task": "open the left drawer"})
    joint = arm.model.joint("left_drawer")
    arm.data.qfrc_applied[joint.dofadr[0]] = 1.5  # [N], a light pull
    arm.settle(1.0)
    assert arm.data.qpos[joint.qposadr[0]] > 0.05
