"""The simulated environments behind the registered ids."""

from typing import Any

from robots.catalogue import task_entry
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import WidowXEnv

IMAGE_SIZE = (192, 256)
"""Height, width: the 4:3 of BridgeData's 640x480 cameras, and multiples of 32 so that Qwen3-VL need not resize."""


def make(
    name: str,
    task: str | None = None,
    image_size: tuple[int, int] = IMAGE_SIZE,
    **kwargs: Any,
) -> WidowXEnv:
    """The simulated environment of a task.

    Args:
        name: Name of the task's entry in `robots.catalogue`.
        task: Another task of its scene.
        image_size: Height and width of observations [px].
        kwargs: Options of the scene, and of `WidowXEnv`.

    Raises:
        UnknownName: No such task.
    """
    entry = task_entry(name)
    arm = MujocoArm(entry.scene, image_size=tuple(image_size))
    of_scene = {option: kwargs.pop(option) for option in entry.mixed if option in kwargs}
    return WidowXEnv(arm, entry.load_scene()(arm, **of_scene), task or entry.task, **kwargs)
