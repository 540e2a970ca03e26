"""A task is one entry: nothing else in the code names the tasks."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import robots  # noqa: F401 - registers the environments
from experiments.config import CONFIGS
from experiments.simulation.demonstrations import ENV_IDS, MIXTURE
from experiments.simulation.reward_data import SCENE_OFFSET
from experiments.simulation.reward_episodes import HORIZON
from roboreward_gym.errors import UnknownName
from robots import catalogue
from robots.catalogue import SCENES, TASKS, TaskEntry, entry_of_scene, task_entry
from robots.environments.simulated import make
from robots.sim.experts import ScriptedExpert

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("entry", TASKS, ids=lambda entry: entry.name)
def test_an_entry_is_all_that_the_rest_needs(entry: TaskEntry) -> None:
    for name in (f"{entry.env}-v0", f"{entry.env}Ros-v0"):
        assert gym.spec(name).max_episode_steps == entry.max_episode_steps
    scene = entry.load_scene()
    assert entry.task in scene.tasks
    assert set(entry.demonstrations) <= set(scene.tasks)
    assert sum(entry.demonstrations.values()) == pytest.approx(1.0)
    assert CONFIGS[f"{entry.name}-nano"].training_episodes == entry.training_episodes
    assert ENV_IDS[entry.scene] == CONFIGS[f"{entry.name}-nano"].env_id == entry.env_id
    assert MIXTURE[entry.scene] == entry.demonstrations
    assert HORIZON[entry.scene] == entry.max_episode_steps
    assert (task_entry(entry.name), entry_of_scene(entry.scene)) == (entry, entry)


def test_seeds_of_reward_data_are_those_of_before() -> None:
    assert {scene: SCENE_OFFSET[scene] for scene in SCENES[:2]} == {"toy": 0, "drawer": 50_000_000}


def test_a_new_entry_makes_an_environment_with_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(TASKS[0], name="duck-on-plate", task="put the duck on the plate")
    monkeypatch.setattr(catalogue, "TASKS", (*TASKS, other))
    env = make("duck-on-plate", image=False, layout="any")
    env.reset(seed=3)
    assert env.task == "put the duck on the plate"
    expert = ScriptedExpert(env, env.task, np.random.default_rng(0))
    for _ in range(other.max_episode_steps):
        info = env.step(expert.act())[4]
    assert info["truth/level"] == 5.0
    env.close()


def test_tasks_are_named_in_their_entries_only() -> None:
    """Defaults of options aside (the first task and its scene), and what the paper reports of its two tasks."""
    ids = re.compile("|".join(f'"(robots:)?{entry.env}' for entry in TASKS))
    scenes = re.compile("|".join(f'"{entry.scene}": ' for entry in TASKS))
    found = {
        str(path.relative_to(ROOT))
        for package in ("robots", "experiments", "policies")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if (ids.search(line) and "env: str = " not in line) or scenes.search(line)
    }
    assert found <= {"robots/catalogue.py", "experiments/report/published.py"}


def test_names_that_there_are_not_are_refused_with_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'drawer'"):
        task_entry("drawers")
    with pytest.raises(UnknownName, match="Known: drawer, toy"):
        entry_of_scene("kitchen")


def test_reading_the_entries_loads_no_simulation() -> None:
    code = "import sys, robots.catalogue; assert not {'mujoco', 'cv2', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
