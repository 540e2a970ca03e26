"""The environment's contract, on the simulated arm and on a fake one."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import robots  # noqa: F401
from roboreward_gym.errors import UnknownName
from robots.arm import Arm, ArmReading
from robots.errors import InvalidAction
from robots.experts import ScriptedExpert
from robots.kinematics import Kinematics
from robots.layout import GRIPPER_DOWN, LANDMARKS
from robots.mujoco_arm import MujocoArm
from robots.tasks.drawer import DrawerScene
from robots.tasks.toy import ToyScene
from robots.widowx import NEUTRAL_JOINTS, WidowXEnv, widowx

IDS = ("robots:WidowXToyOnTowel-v0", "robots:WidowXDrawer-v0")


class FakeArm:
    """Reaches every target at once; its camera shows how often it moved."""

    image_size = (96, 128)

    def __init__(self) -> None:
        self.moves = 0
        self._reading = ArmReading(np.zeros(6), 1.0)

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        self.moves = 0
        self._reading = ArmReading(joints.copy(), gripper)

    def read(self) -> ArmReading:
        return self._reading

    def move(self, joints: np.ndarray, gripper: float) -> None:
        self.moves += 1
        self._reading = ArmReading(joints.copy(), gripper)

    def camera(self) -> np.ndarray:
        return np.full((*self.image_size, 3), self.moves, np.uint8)

    def close(self) -> None:
        pass


class EmptyScene:
    """A table with nothing on it."""

    commands = ("wave",)

    def reset(self, rng: np.random.Generator, task: str, split: str) -> None:
        self.resets = getattr(self, "resets", 0) + 1

    def observe(self) -> None:
        pass

    def level(self, task: str) -> int:
        return 1

    def askable(self, task: str) -> bool:
        return True

    def caption(self) -> str:
        return "an empty table"

    def landmarks(self) -> np.ndarray:
        return np.zeros((len(LANDMARKS), 4), np.float32)


@pytest.fixture(params=["mujoco", "fake"])
def arm(request: pytest.FixtureRequest) -> Iterator[Arm]:
    arm = MujocoArm("toy", image_size=(96, 128)) if request.param == "mujoco" else FakeArm()
    yield arm
    arm.close()


# --- contract of every arm -------------------------------------------------------------------------


def test_an_arm_reads_back_the_reset(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    np.testing.assert_allclose(arm.read().joints, NEUTRAL_JOINTS, atol=1e-6)
    assert arm.read().gripper == pytest.approx(1.0, abs=1e-6)


def test_an_arm_goes_where_it_is_sent(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    target = NEUTRAL_JOINTS + np.array([0.1, 0.05, -0.05, 0.0, 0.1, 0.0])
    for _ in range(5):
        arm.move(target, 0.0)
    np.testing.assert_allclose(arm.read().joints, target, atol=0.02)
    assert arm.read().gripper < 0.1


def test_an_arm_films_rgb_frames_that_callers_may_keep(arm: Arm) -> None:
    arm.reset(NEUTRAL_JOINTS, 1.0)
    first = arm.camera()
    kept = first.copy()
    arm.move(NEUTRAL_JOINTS + np.array([0.4, 0, 0, 0, 0, 0]), 1.0)
    second = arm.camera()
    assert first.shape == (96, 128, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, kept)
    assert (second != first).any()


def test_an_arm_closes_twice(arm: Arm) -> None:
    arm.close()
    arm.close()


# --- contract of the environment -------------------------------------------------------------------


def fake_env(arm: FakeArm | None = None) -> WidowXEnv:
    return WidowXEnv(arm or FakeArm(), EmptyScene(), "wave", render_mode="rgb_array")


@pytest.mark.parametrize("env_id", IDS)
def test_check_env_passes(env_id: str) -> None:
    env = gym.make(env_id, render_mode="rgb_array", image_size=(48, 64), disable_env_checker=True)
    check_env(env.unwrapped, skip_render_check=False)
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_time_limit_truncates_and_nothing_terminates(env_id: str) -> None:
    env = gym.make(env_id, image=False)
    env.reset(seed=0)
    limit = gym.spec(env_id.removeprefix("robots:")).max_episode_steps or 0
    ends = [env.step(np.zeros(7, np.float32))[2:4] for _ in range(limit)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


@pytest.mark.parametrize("env_id", IDS)
def test_the_same_seed_gives_the_same_episode_and_another_seed_another(env_id: str) -> None:
    def run(seed: int) -> tuple[np.ndarray, np.ndarray]:
        env = gym.make(env_id, image_size=(48, 64)).unwrapped
        env.reset(seed=seed)
        observation, *_ = env.step(np.array([0.5, -0.5, -1, 0, 0, 0.2, -1], np.float32))
        env.close()
        return observation["state"], observation["image"]

    first, again, other = run(3), run(3), run(4)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != other[1]).any()


def test_both_scenes_ask_twelve_commands_or_more() -> None:
    assert len({*ToyScene.commands, *DrawerScene.commands}) >= 12


@pytest.mark.parametrize("env_id", IDS)
def test_experts_solve_every_command(env_id: str) -> None:
    env = widowx(gym.make(env_id, image=False))
    for seed, task in enumerate(env.commands):
        env.reset(seed=seed, options={"task": task})
        assert env.level(task) < 5
        expert = ScriptedExpert(env, task, np.random.default_rng(seed))
        for _ in range(48 if "both" in task else 40):
            _, reward, _, _, info = env.step(expert.act())
        assert (reward, info["truth/level"]) == (1.0, 5.0), task


def test_the_observation_shows_the_state_after_the_step() -> None:
    env = fake_env()
    observation, _ = env.reset(seed=0)
    assert observation["image"].max() == 0
    observation, *_ = env.step(np.zeros(7))
    assert observation["image"].max() == 1
    np.testing.assert_array_equal(env.render(), observation["image"])


def test_deltas_add_to_the_target_and_the_executed_action_is_told() -> None:
    env = fake_env()
    start, _ = env.reset(seed=0)
    observation, _, _, _, info = env.step(np.array([0.4, 0.2, -0.2, 0, 0, 0, 1.0]))
    moved = observation["state"][:3] - start["state"][:3]
    np.testing.assert_allclose(moved, [0.02, 0.01, -0.01], atol=2e-4)
    np.testing.assert_allclose(info["action"], [0.4, 0.2, -0.2, 0, 0, 0, 1.0], atol=1e-5)


def test_the_box_holds_and_the_executed_action_says_so() -> None:
    env = fake_env()
    env.reset(seed=0)
    for _ in range(12):
        observation, _, _, _, info = env.step(np.array([0, 0, -1.0, 0, 0, 0, 1.0]))
    assert observation["state"][2] == pytest.approx(0.022, abs=2e-3)
    assert info["action"][2] == 0.0


def test_nan_actions_are_refused_and_nothing_moves() -> None:
    arm = FakeArm()
    env = fake_env(arm)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="finite"):
        env.step(np.full(7, np.nan))
    assert arm.moves == 0


def test_construction_moves_nothing() -> None:
    arm = FakeArm()
    fake_env(arm)
    assert arm.moves == 0
    assert not hasattr(fake_env().scene, "resets")


def test_unknown_commands_get_the_closest() -> None:
    with pytest.raises(UnknownName, match="put the duck on the towel"):
        gym.make(IDS[0], task="put the duck on a towel")


def test_the_command_can_change_for_one_episode() -> None:
    env = widowx(gym.make(IDS[1], image=False))
    env.reset(seed=0, options={"task": "close both drawers"})
    assert env.task == "close both drawers"
    env.reset(seed=0)
    assert env.task == "open the left drawer"


def test_neutral_joints_point_the_gripper_down() -> None:
    _, rotation = Kinematics().forward(NEUTRAL_JOINTS)
    assert float((rotation * GRIPPER_DOWN).sum()) > 2.5  # trace of the difference: nearly aligned
