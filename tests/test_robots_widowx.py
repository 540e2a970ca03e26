"""The environment's contract, on the simulated arm and on a fake one."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.spatial.transform import Rotation

import robots  # noqa: F401
from roboreward_gym import VLMRewardWrapper
from roboreward_gym.errors import InvalidSetting, RobotFaultEpisode, UnknownName
from robots.conventions import GRIPPER_DOWN, NEUTRAL_JOINTS, rotation_from_euler
from robots.errors import InvalidAction, NoTruth
from robots.kinematics import Kinematics
from robots.safety import SafetyLimits, lowest_finger
from robots.sim.experts import ScriptedExpert
from robots.sim.tasks.drawer import DrawerScene
from robots.sim.tasks.toy import ToyScene
from robots.widowx import WidowXEnv, widowx
from tests.fakes import FakeRewardModel
from tests.fakes_robots import EmptyScene, FakeArm

IDS = ("robots:WidowXToyOnTowel-v0", "robots:WidowXDrawer-v0")


def fake_env(arm: FakeArm | None = None, limits: SafetyLimits | None = None) -> WidowXEnv:
    return WidowXEnv(arm or FakeArm(), EmptyScene(), "wave", render_mode="rgb_array", limits=limits)


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


def test_both_scenes_have_twelve_tasks_or_more() -> None:
    assert len({*ToyScene.tasks, *DrawerScene.tasks}) >= 12


@pytest.mark.parametrize("env_id", IDS)
def test_experts_solve_every_task(env_id: str) -> None:
    env = widowx(gym.make(env_id, image=False))
    limit = gym.spec(env_id.removeprefix("robots:")).max_episode_steps or 0
    for seed, task in enumerate(env.tasks):
        env.reset(seed=seed, options={"task": task})
        assert env.level(task) < 5
        expert = ScriptedExpert(env, task, np.random.default_rng(seed))
        for _ in range(limit):
            _, reward, _, _, info = env.step(expert.act())
        assert (reward, info["truth/level"]) == (1.0, 5.0), task


def test_the_observation_shows_the_state_after_the_step() -> None:
    env = fake_env()
    observation, _ = env.reset(seed=0)
    assert observation["image"].max() == 0
    observation, *_ = env.step(np.zeros(7))
    assert observation["image"].max() == 1
    np.testing.assert_array_equal(env.render(), observation["image"])


@pytest.mark.parametrize("env_id", IDS)
def test_the_truth_is_that_of_the_state_after_the_step(env_id: str) -> None:
    env = gym.make(env_id, image=False)
    _, info = env.reset(seed=3)
    base, levels = widowx(env), [info["truth/level"]]
    expert, ended = ScriptedExpert(base, base.task, np.random.default_rng(3)), False
    while not ended:
        _, reward, _, ended, info = env.step(expert.act())
        levels.append(info["truth/level"])
        assert levels[-1] == base.level(base.task)
        assert reward == info["truth/success"] == float(levels[-1] == 5)
    assert len(set(levels)) > 2
    env.close()


def test_deltas_add_to_the_target_and_the_executed_action_is_in_info() -> None:
    env = fake_env()
    start, _ = env.reset(seed=0)
    observation, _, _, _, info = env.step(np.array([0.4, 0.2, -0.2, 0, 0, 0, 1.0]))
    moved = observation["state"][:3] - start["state"][:3]
    np.testing.assert_allclose(moved, [0.02, 0.01, -0.01], atol=2e-4)
    np.testing.assert_allclose(info["action"], [0.4, 0.2, -0.2, 0, 0, 0, 1.0], atol=1e-5)


def test_the_box_bounds_the_executed_action() -> None:
    env = fake_env()
    env.reset(seed=0)
    for _ in range(12):
        observation, _, _, _, info = env.step(np.array([0, 0, -1.0, 0, 0, 0, 1.0]))
    assert observation["state"][2] == pytest.approx(0.022, abs=2e-3)
    assert info["action"][2] == 0.0


# --- what was executed -----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_rotation_turns_about_the_world_axes_by_a_quarter_radian(axis: int, sign: float) -> None:
    env = fake_env()
    start, _ = env.reset(seed=0)
    action = np.array([0, 0, 0.4, 0, 0, 0, 1.0])
    action[3 + axis] = sign
    observation, _, _, _, info = env.step(action)
    turned = (
        rotation_from_euler(observation["state"][3:6]) @ rotation_from_euler(start["state"][3:6]).T
    )
    expected = np.zeros(3)
    expected[axis] = sign * 0.25  # [rad]: BridgeData V2's scale
    np.testing.assert_allclose(Rotation.from_matrix(turned).as_rotvec(), expected, atol=5e-3)
    np.testing.assert_allclose(info["action"], action, atol=1e-6)


def test_after_a_turn_of_the_gripper_rotations_still_go_about_the_world_axes() -> None:
    env = fake_env()
    env.reset(seed=0)
    for _ in range(4):
        observation, *_ = env.step(np.array([0, 0, 0, 0, 0, 1.0, 1.0]))  # one radian of yaw
    before = rotation_from_euler(observation["state"][3:6])
    observation, *_ = env.step(np.array([0, 0, 0, 1.0, 0, 0, 1.0]))
    turned = rotation_from_euler(observation["state"][3:6]) @ before.T
    np.testing.assert_allclose(Rotation.from_matrix(turned).as_rotvec(), [0.25, 0, 0], atol=8e-3)


def test_where_joints_are_too_fast_the_executed_action_and_the_target_are_where_they_were_sent() -> (
    None
):
    arm = FakeArm()
    env = fake_env(arm, limits=SafetyLimits(velocity_fraction=0.1))
    start, _ = env.reset(seed=0)
    observation, _, _, _, info = env.step(np.array([1.0, 1.0, 0, 0, 0, 0, 1.0]))
    moved = observation["state"][:3] - start["state"][:3]
    assert info["clipped"] == 1.0
    assert 0.005 < np.linalg.norm(moved) < 0.05
    np.testing.assert_allclose(info["action"][:3] * 0.05, moved, atol=1e-4)
    np.testing.assert_allclose(env.target, observation["state"][:3], atol=1e-4)
    info = env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))[4]
    assert (info["clipped"], info["held"]) == (0.0, 0.0)


def test_a_step_too_fast_for_the_joints_leaves_the_fingers_above_the_table_and_the_hand_in_the_box() -> (
    None
):
    arm, kinematics, limits = FakeArm(), Kinematics(), SafetyLimits(velocity_fraction=0.4)
    env = fake_env(arm, limits=limits)
    counts = np.zeros(2)
    for seed in range(4):
        env.reset(seed=seed)
        rng = np.random.default_rng(seed)
        drift = rng.uniform(-1, 1, 7) * [1, 1, 0, 1, 1, 1, 1] - [0, 0, 0.5, 0, 0, 0, 0]
        for _ in range(40):
            info = env.step(np.clip(drift + 0.7 * rng.normal(size=7), -1, 1))[4]
            counts += [info["clipped"], info["held"]]
            position, rotation = kinematics.forward(arm.reading.joints)
            assert lowest_finger(position, rotation) > -3e-3
            assert (position > limits.box_low - 3e-3).all()
            assert (position < limits.box_high + 3e-3).all()
    assert counts.min() > 0


def test_where_no_joints_are_found_the_arm_holds_and_info_reports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = fake_env()
    start, _ = env.reset(seed=0)
    monkeypatch.setattr(Kinematics, "inverse", lambda *_, **__: None)
    observation, _, _, _, info = env.step(np.array([1.0, 0, 0, 0.5, 0, 0, 1.0]))
    np.testing.assert_allclose(observation["state"][:6], start["state"][:6], atol=1e-6)
    np.testing.assert_array_equal(info["action"], [0, 0, 0, 0, 0, 0, 1.0])
    assert info["held"] == 1.0


def test_the_executed_actions_played_again_lead_to_the_same_place() -> None:
    rng = np.random.default_rng(3)
    env = fake_env(limits=SafetyLimits(velocity_fraction=0.3))
    env.reset(seed=1)
    executed, clipped = [], 0.0
    for _ in range(15):
        observation, _, _, _, info = env.step(rng.uniform(-1, 1, 7))
        executed.append(info["action"])
        clipped += info["clipped"]
    assert clipped > 0.0
    again = fake_env()
    again.reset(seed=1)
    for action in executed:
        repeated, *_ = again.step(action)
    np.testing.assert_allclose(repeated["state"][:6], observation["state"][:6], atol=6e-3)


def test_actions_that_are_none_are_refused_and_nothing_moves() -> None:
    arm = FakeArm()
    env = fake_env(arm)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match="finite"):
        env.step(np.full(7, np.nan))
    with pytest.raises(InvalidAction, match=r"shape \(7,\), got \(6,\)"):
        env.step(np.zeros(6))
    with pytest.raises(InvalidAction, match=r"7 numbers, got .*up"):
        env.step(np.array("up"))
    assert arm.moves == 0


def test_construction_moves_nothing() -> None:
    arm = FakeArm()
    fake_env(arm)
    assert arm.moves == 0
    scene = EmptyScene()
    WidowXEnv(FakeArm(), scene, "wave")
    assert scene.resets == 0


def test_unknown_tasks_get_the_closest() -> None:
    with pytest.raises(UnknownName, match="put the duck on the towel"):
        gym.make(IDS[0], task="put the duck on a towel")
    env = gym.make(IDS[0], image=False)
    with pytest.raises(UnknownName, match="Unknown task 5"):
        env.reset(options={"task": 5})


@pytest.mark.parametrize(("name", "value"), [("look", "tset"), ("layout", "side")])
def test_settings_that_do_not_exist_are_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} must be .*, got '{value}'"):
        gym.make(IDS[0], **{name: value})


def test_the_task_can_change_for_one_episode() -> None:
    env = widowx(gym.make(IDS[1], image=False))
    env.reset(seed=0, options={"task": "close both drawers"})
    assert env.task == "close both drawers"
    env.reset(seed=0)
    assert env.task == "open the left drawer"


def test_a_task_that_is_set_holds_from_the_next_reset_on() -> None:
    env = gym.make(IDS[1])
    env.reset(seed=0)
    before = env.unwrapped.task
    env.unwrapped.task = "close both drawers"
    assert env.unwrapped.task == before
    for options in (None, {"task": "open both drawers"}, None):
        env.reset(options=options)
        assert env.unwrapped.task == (options or {"task": "close both drawers"})["task"]
    with pytest.raises(UnknownName, match="Unknown task"):
        env.unwrapped.task = "wave"


def test_the_task_of_the_wrapper_is_that_of_the_simulation() -> None:
    env = VLMRewardWrapper(gym.make(IDS[1], render_mode="rgb_array"), FakeRewardModel())
    env.reset(seed=0)
    env.task = "close both drawers"
    with pytest.raises(UnknownName, match="Unknown task"):
        env.task = "wave"
    for _ in range(2):
        env.reset()
        assert env.task == env.unwrapped.task == "close both drawers"


def test_neutral_joints_point_the_gripper_down() -> None:
    _, rotation = Kinematics().forward(NEUTRAL_JOINTS)
    assert float((rotation * GRIPPER_DOWN).sum()) > 2.5  # trace of the difference: nearly aligned


def test_a_hurt_arm_spoils_the_episode_and_the_next_reset_goes_on() -> None:
    arm = FakeArm()
    env = fake_env(arm)
    env.reset(seed=0)
    arm.reading = replace(arm.reading, joints_age_s=0.3)
    with pytest.raises(RobotFaultEpisode, match=r"got 0\.30 s"):
        env.step(np.zeros(7))
    assert (arm.moves, arm.holds) == (0, 1)
    env.reset(seed=1)
    env.step(np.zeros(7))
    assert arm.moves == 1


def test_where_nobody_knows_the_truth_it_is_nan() -> None:
    class RealTable(EmptyScene):
        def level(self, task: str) -> int:
            raise NoTruth("A real table has no simulated truth.")

    env = WidowXEnv(FakeArm(), RealTable(), "wave")
    _, info = env.reset(seed=0)
    assert np.isnan(info["truth/level"])
    assert np.isnan(env.step(np.zeros(7))[1])
