"""The simulated environments behind the registered ids."""

from typing import Any

from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks.drawer import DrawerScene
from robots.sim.tasks.toy import Layout, ToyScene
from robots.widowx import WidowXEnv

IMAGE_SIZE = (192, 256)
"""Height, width: the 4:3 of BridgeData's 640x480 cameras, and multiples of 32 so that Qwen3-VL need not resize."""


def make_toy_on_towel(
    task: str = "put the duck on the towel",
    image_size: tuple[int, int] = IMAGE_SIZE,
    layout: Layout = "sides",
    **kwargs: Any,
) -> WidowXEnv:
    """Two toys, a towel and a plate; `layout` "any" mixes their places; `kwargs` go to `WidowXEnv`."""
    arm = MujocoArm("toy", image_size=tuple(image_size))
    return WidowXEnv(arm, ToyScene(arm, layout), task, **kwargs)


def make_drawer(
    task: str = "open the left drawer",
    image_size: tuple[int, int] = IMAGE_SIZE,
    **kwargs: Any,
) -> WidowXEnv:
    """A cabinet with two drawers and a duck; `kwargs` go to `WidowXEnv`."""
    arm = MujocoArm("drawer", image_size=tuple(image_size))
    return WidowXEnv(arm, DrawerScene(arm), task, **kwargs)
