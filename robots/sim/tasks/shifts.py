"""Looks far outside of those that training has: they are laid on a scene after its reset, and taken off again.

Parts of every range are held out for tests, as in `look`.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import mujoco
import numpy as np

from robots.sim.tasks import look

LookShift = Literal["camera", "field_of_view", "table", "toys", "light", "texture", "distractors"]

CAMERA_SHIFT_M = 0.12
"""Largest move of the camera along each axis [m]; the ranges of training end at 0.03."""
FOVY_DEG = (36.0, 50.0)
MATERIALS = ("checks", "stripes", "speckles")
EXTRAS = ("extra_can", "extra_book", "extra_ball", "extra_cube")
PLACES = np.array(
    [[0.1, -0.16], [0.42, -0.2], [0.08, 0.19], [0.2, 0.27], [0.14, 0.36], [0.27, 0.36], [0.05, 0.3]]
)  # fmt: skip
"""Where extra things may lie [m]: in view, beside what the tasks need, and not behind the cabinet."""
OBJECTS = ("duck_body", "duck_head", "block", "towel_cloth", "plate_rim", "cabinet", *(f"{d}_{part}" for d in ("left", "right") for part in ("front", "bottom", "side")))  # fmt: skip


def camera(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """Move the camera by up to 12 cm along each axis, and no less than 4 cm in all; it goes on looking at the workspace."""
    offset = np.zeros(3)
    while np.linalg.norm(offset) < 0.04:
        offset = CAMERA_SHIFT_M * (2 * np.array([look.banded(rng, split) for _ in range(3)]) - 1)
    look.look_at(
        model,
        model.camera("front").id,
        look.CAMERA_FROM + offset,
        look.CAMERA_TO + rng.uniform(-0.02, 0.02, 3),
    )


def field_of_view(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """Another lens."""
    low, high = FOVY_DEG
    model.cam_fovy[model.camera("front").id] = low + (high - low) * look.banded(rng, split)


def table(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """Any colour but that of wood: blue, green, red, dark, white."""
    hue = 0.2 + 0.8 * look.banded(rng, split)
    kind = rng.choice(["colour", "dark", "white"], p=[0.6, 0.2, 0.2])
    saturation, value = {
        "colour": (rng.uniform(0.5, 0.95), rng.uniform(0.35, 0.85)),
        "dark": (rng.uniform(0.0, 0.4), rng.uniform(0.06, 0.2)),
        "white": (rng.uniform(0.0, 0.06), rng.uniform(0.9, 1.0)),
    }[str(kind)]
    look.set_colours(model, {"table": look.colour(hue, saturation, value)})


def toys(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """Every object in any colour: a green towel, a blue duck; things that are one stay one."""
    duck = _any_colour(rng, split)
    front = _any_colour(rng, split)
    fronts = {name: front for name in OBJECTS if name.startswith(("left", "right"))}
    others = {
        name: _any_colour(rng, split) for name in ("block", "towel_cloth", "plate_rim", "cabinet")
    }
    look.set_colours(model, {"duck_body": duck, "duck_head": duck, **fronts, **others})


def light(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """Dim or glaring, from one side, and tinted."""
    at = 2.0 * look.banded(rng, split)
    strength = 0.1 + 0.2 * at if at < 1.0 else 0.9 + 0.4 * (at - 1.0)
    tint = 1.0 + rng.uniform(-0.25, 0.25, 3)
    model.light_diffuse[0] = np.clip(strength * tint, 0.0, 1.5)
    direction = np.array([rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 1.2), -1.0])
    model.light_dir[0] = direction / np.linalg.norm(direction)
    model.vis.headlight.ambient[:] = rng.uniform(0.15, 0.55) * tint
    model.vis.headlight.diffuse[:] = rng.uniform(0.1, 0.45)


def texture(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """A pattern on the table, now and then on the cabinet too; the last pattern is held out."""
    allowed = {"train": MATERIALS[:-1], "test": MATERIALS[-1:], "any": MATERIALS}[split]
    material = model.material(str(rng.choice(allowed))).id
    prefixes = ("table", "cabinet") if rng.random() < 0.5 else ("table",)
    for i in range(model.ngeom):
        if model.geom(i).name.startswith(prefixes):
            model.geom_matid[i] = material


def distractors(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, split: look.Split
) -> None:
    """One to four things that no task is about, at the sides; the last one is held out."""
    allowed = EXTRAS if split != "train" else EXTRAS[:-1]
    chosen = rng.permutation(allowed)[: int(rng.integers(1, len(allowed) + 1))]
    places = rng.permutation(PLACES)
    for name, place in zip(chosen, places, strict=False):
        body = model.body(str(name)).mocapid[0]
        yaw = rng.uniform(0, np.pi)
        data.mocap_pos[body] = [*(place + rng.uniform(-0.02, 0.02, 2)), 0.0]
        data.mocap_quat[body] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        look.set_colours(model, {str(name): _any_colour(rng, split)})


def _any_colour(rng: np.random.Generator, split: look.Split) -> np.ndarray:
    return look.colour(look.banded(rng, split), rng.uniform(0.3, 1.0), rng.uniform(0.25, 1.0))


LOOK_SHIFTS: Mapping[
    LookShift, Callable[[mujoco.MjModel, mujoco.MjData, np.random.Generator, look.Split], None]
] = {
    "camera": camera, "field_of_view": field_of_view, "table": table, "toys": toys, "light": light,
    "texture": texture, "distractors": distractors,
}  # fmt: skip


class Shifted:
    """Takes shifts off again: what a reset does not set is put back as the scene was loaded."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        headlight = model.vis.headlight
        self._ambient, self._diffuse = headlight.ambient.copy(), headlight.diffuse.copy()
        self._materials = model.geom_matid.copy()
        self._colours = model.geom_rgba.copy()

    def lay_on(
        self, names: tuple[LookShift, ...], rng: np.random.Generator, split: look.Split
    ) -> None:
        """Lay shifts on a scene that was reset."""
        for name in names:
            LOOK_SHIFTS[name](self._model, self._data, rng, split)
        mujoco.mj_forward(self._model, self._data)

    def take_off(self) -> None:
        """Back to the world of training; call before a reset, which sets the rest."""
        model, data = self._model, self._data
        model.vis.headlight.ambient[:] = self._ambient
        model.vis.headlight.diffuse[:] = self._diffuse
        model.geom_matid[:] = self._materials
        model.geom_rgba[:] = self._colours
        for name in EXTRAS:
            data.mocap_pos[model.body(name).mocapid[0]] = [0.0, 0.0, -3.0]
