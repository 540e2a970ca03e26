"""The tasks that there are, one entry each: everything else about a task is derived from its entry.

To add one: a scene class with its `waypoints` for scripted play, a MuJoCo model `robots/sim/assets/<scene>.xml`, and an entry
here. It is then registered in simulation and over ROS 2, and is known to the simulated driver, demonstrations, reward data,
experiments and benchmarks by its name. Importing this loads no simulation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium.envs.registration import load_env_creator

from roboreward_gym.errors import UnknownName


@dataclass(frozen=True)
class TaskEntry:
    """One task, and the scene that it is set in.

    Attributes:
        name: What experiments, weights and results are named after.
        env: Stem of the environments' ids, such as `WidowXDrawer` of `WidowXDrawer-v0`.
        scene: Name of the scene and of its MuJoCo model.
        scene_class: Where the scene is, as `module:class`; loaded when an environment is made.
        task: What the robot is told to do.
        max_episode_steps: Time limit at 5 Hz.
        demonstrations: How often each task of the scene is demonstrated to the base policy; those that make no sense
            from a start are left out there.
        training_episodes: Episodes of fine-tuning in the named experiments.
        objects: What a description of the scene may name.
        mixed: Options of the scene with which things lie anywhere; a scene has no other options.
    """

    name: str
    env: str
    scene: str
    scene_class: str
    task: str
    max_episode_steps: int
    demonstrations: Mapping[str, float]
    training_episodes: int
    objects: tuple[str, ...]
    mixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def env_id(self) -> str:
        """Id of the simulated environment, with the module that registers it."""
        return f"robots:{self.env}-v0"

    def load_scene(self) -> Any:
        """The class of the scene, which is made of a `MujocoArm`."""
        return load_env_creator(self.scene_class)


TASKS = (
    TaskEntry(
        name="toy-on-towel",
        env="WidowXToyOnTowel",
        scene="toy",
        scene_class="robots.sim.tasks.toy:ToyScene",
        task="put the duck on the towel",
        max_episode_steps=40,
        demonstrations={
            "put the duck on the towel": 0.4,
            "put the duck on the plate": 0.2,
            "put the block on the towel": 0.2,
            "put the block on the plate": 0.2,
        },
        training_episodes=100,
        objects=("duck", "block", "towel", "plate", "gripper", "table"),
        mixed={"layout": "any"},
    ),
    TaskEntry(
        name="drawer",
        env="WidowXDrawer",
        scene="drawer",
        scene_class="robots.sim.tasks.drawer:DrawerScene",
        task="open the left drawer",
        max_episode_steps=24,
        demonstrations={
            "open the left drawer": 0.25,
            "open the right drawer": 0.5,
            "pick up the duck": 0.25,
        },
        training_episodes=100,
        objects=("left drawer", "right drawer", "drawers", "cabinet", "duck", "gripper", "table"),
    ),
)
SCENES = tuple(entry.scene for entry in TASKS)


def task_entry(name: str) -> TaskEntry:
    """The entry of a task's name.

    Raises:
        UnknownName: There is none; suggests the closest.
    """
    return _find("task", name, {entry.name: entry for entry in TASKS})


def entry_of_scene(scene: str) -> TaskEntry:
    """The entry of a scene's name.

    Raises:
        UnknownName: There is none; suggests the closest.
    """
    return _find("scene", scene, {entry.scene: entry for entry in TASKS})


def _find(kind: str, name: str, known: Mapping[str, TaskEntry]) -> TaskEntry:
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]
