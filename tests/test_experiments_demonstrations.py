"""Demonstrations: what is recorded, and that it can be cloned."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from experiments.run_folder import RunFolderError
from experiments.simulation import demonstrations
from experiments.simulation.demonstrations import (
    ENV_IDS,
    MIXTURE,
    DemonstrationConfig,
    SceneName,
    record,
    record_episode,
)
from policies.demos import Demos
from policies.vision import downsample
from robots.conventions import MAX_STEP_M
from robots.widowx import widowx
from tests.fakes_workers import PoolInProcess

STEPS = 6
SEED = 500_000_000


@pytest.fixture(autouse=True, scope="module")
def _short() -> Iterator[None]:
    """Episodes of a second, and no other processes."""
    with pytest.MonkeyPatch.context() as patch:
        for scene, env_id in ENV_IDS.items():
            env = gym.make(env_id, look="train", max_episode_steps=STEPS)
            patch.setitem(demonstrations._ENVS, scene, env)
        patch.setattr(demonstrations, "worker_pool", PoolInProcess)
        yield
        for scene in ENV_IDS:
            demonstrations._ENVS[scene].close()


@pytest.mark.parametrize("scene", ["toy", "drawer"])
def test_an_episode_follows_from_its_seed(scene: SceneName) -> None:
    (first,) = record_episode(scene, SEED)
    (other,) = record_episode(scene, SEED + 1)
    (again,) = record_episode(scene, SEED)
    for name, rows in first.items():
        assert len(rows) == STEPS
        np.testing.assert_allclose(rows, again[name], rtol=0, atol=1e-6, err_msg=name)
        assert (rows != other[name]).any(), name


def test_rows_hold_what_was_seen_before_the_action_that_was_executed() -> None:
    (rows,) = record_episode("toy", SEED)
    env = demonstrations._env("toy")
    observation, _ = env.reset(seed=SEED)
    for step in range(STEPS):
        np.testing.assert_array_equal(rows["images"][step], downsample(observation["image"]))
        np.testing.assert_allclose(rows["states"][step], observation["state"], atol=1e-4)
        np.testing.assert_allclose(
            rows["landmarks"][step], widowx(env).scene.landmarks()[:, :3], atol=1e-4
        )
        observation, *_ = env.step(rows["actions"][step])
    assert np.abs(rows["states"][-1, :3] - rows["states"][0, :3]).max() > 0.02


def test_a_task_that_is_done_at_the_start_is_not_demonstrated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[tuple[bool, str]] = []  # whether the right drawer began shut, and the task
    make = demonstrations.ScriptedExpert

    def spy(base: Any, task: str, *rest: Any) -> Any:
        chosen.append((base.scene.askable("open the right drawer"), task))
        return make(base, task, *rest)

    monkeypatch.setattr(demonstrations, "ScriptedExpert", spy)
    for seed in range(SEED, SEED + 10):
        record_episode("drawer", seed)
    assert {task for _, task in chosen} <= set(MIXTURE["drawer"])
    assert {shut for shut, _ in chosen} == {True, False}
    assert (True, "open the right drawer") in chosen
    assert (False, "open the right drawer") not in chosen


def test_chances_of_each_scene_sum_to_one() -> None:
    for scene, chances in MIXTURE.items():
        assert sum(chances.values()) == pytest.approx(1.0)
        assert set(chances) <= set(widowx(demonstrations._env(scene)).tasks)


def test_only_the_named_tasks_are_demonstrated() -> None:
    left, right = "open the left drawer", "open the right drawer"
    config = DemonstrationConfig(Path("unused"), "drawer", (left, right, right))
    assert config.mixture == {left: 1, right: 2}
    (rows,) = record_episode("drawer", SEED, mixture={"pick up the duck": 1})
    assert rows["actions"][:, 6].max() > 0.0  # opening drawers keeps the gripper closed
    (rows,) = record_episode("drawer", SEED, mixture={left: 1})
    assert rows["actions"][:, 6].max() == -1.0


def test_the_policies_read_what_was_recorded(tmp_path: Path) -> None:
    config = DemonstrationConfig(tmp_path / "demos", "toy", episodes=3, seed=5)
    record(config)
    demos = Demos.load(config.out)
    assert list(demos.episode_ends) == [STEPS, 2 * STEPS, 3 * STEPS]
    assert list(config.seeds) == [500_000_005, 500_000_006, 500_000_007]
    (last,) = record_episode("toy", config.seeds[-1])
    for name in ("images", "states", "actions", "landmarks"):
        np.testing.assert_array_equal(getattr(demos, name)[-STEPS:], last[name])
    meta = json.loads((config.out / "meta.json").read_text())
    assert (meta["seed"], meta["fps"]) == (5, 5.0)
    assert meta["mixture"] == MIXTURE["toy"]


def test_a_detour_is_not_recorded_and_changes_where_the_demonstration_goes_on() -> None:
    (straight,) = record_episode("toy", SEED)
    for seed in range(SEED, SEED + 20):
        stretches = record_episode("toy", seed, 0.9)
        recorded = sum(len(rows["actions"]) for rows in stretches)
        if 0 < recorded < STEPS:
            break
    jump = np.abs(stretches[0]["states"][0, :3] - straight["states"][0, :3]).max()
    assert recorded < STEPS
    assert jump > 0.02


def test_the_hand_keeps_its_grip_on_a_later_detour() -> None:
    env = demonstrations._env("toy")
    observation, _ = env.reset(seed=SEED)
    before = widowx(env).target
    seen, truncated = demonstrations._go_astray(
        env, before + np.array([0.1, 0.0, 0.0]), gripper=-1.0, steps=2, observation=observation
    )
    moved = widowx(env).target - before
    assert not truncated
    assert seen["state"][6] < observation["state"][6]
    np.testing.assert_allclose(moved, [2 * MAX_STEP_M, 0.0, 0.0], atol=1e-6)


def test_standing_still_is_recorded_as_long_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demonstrations.ScriptedExpert, "finished", property(lambda _: True))
        (rows,) = record_episode("toy", SEED, idle=2)
    assert len(rows["actions"]) == 3
    (rows,) = record_episode("toy", SEED, idle=2)
    assert len(rows["actions"]) == STEPS


def test_detours_come_as_often_as_was_asked() -> None:
    rng = np.random.default_rng(0)
    plans = [demonstrations.plan_detours(rng, 0.5) for _ in range(400)]
    assert np.mean([0 in plan for plan in plans]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([any(at > 0 for at in plan) for plan in plans]) == pytest.approx(0.5, abs=0.08)
    assert demonstrations.plan_detours(rng, 0.0) == {}


def test_a_detour_ends_low_only_where_it_touches_no_toy() -> None:
    env = widowx(demonstrations._env("toy"))
    env.reset(seed=SEED)
    rng = np.random.default_rng(0)
    goals = np.array([demonstrations._anywhere(env, rng) for _ in range(300)])
    near = np.zeros(len(goals), bool)
    for toy in env.scene.movable():
        near |= np.linalg.norm(goals[:, :2] - toy[:2], axis=1) < demonstrations.CLEAR_XY_M
    assert near.any()
    assert (goals[near, 2] >= demonstrations.CLEAR_Z_M).all()
    assert (goals[~near, 2] < demonstrations.CLEAR_Z_M).any()


def test_recorded_demonstrations_are_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is there already"):
        record(DemonstrationConfig(tmp_path, "toy", episodes=1))
