"""Pictures with and without OpenGL."""

import mujoco
import numpy as np
import pytest

import robots  # noqa: F401
from robots.errors import CameraError
from robots.sim import camera
from robots.sim.camera import GlCamera, RayCamera, make_camera
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks.toy import ToyScene

SIZE = (96, 128)


@pytest.fixture(scope="module")
def arm() -> MujocoArm:
    arm = MujocoArm("toy", image_size=SIZE)
    ToyScene(arm).reset(np.random.default_rng(0), "pick up the duck", "any")
    mujoco.mj_forward(arm.model, arm.data)
    return arm


@pytest.mark.parametrize("error", [RuntimeError("no EGL"), mujoco.FatalError("no screen")])
def test_without_opengl_pictures_come_from_rays_and_the_packages_are_named(
    arm: MujocoArm, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(camera, "GlCamera", broken)
    with pytest.warns(RuntimeWarning, match="libegl1"):
        made = make_camera(arm.model, *SIZE, "front")
    assert isinstance(made, RayCamera)
    assert made.render(arm.data).shape == (*SIZE, 3)


def test_rays_show_the_same_scene_as_opengl(arm: MujocoArm) -> None:
    made = make_camera(arm.model, *SIZE, "front")
    if not isinstance(made, GlCamera):
        pytest.skip("no OpenGL here")
    drawn = made.render(arm.data).astype(float)
    cast = RayCamera(arm.model, *SIZE, "front").render(arm.data).astype(float)
    assert np.median(np.abs(drawn - cast)) < 25
    assert np.corrcoef(drawn.ravel(), cast.ravel())[0, 1] > 0.9


def test_red_is_the_first_channel(arm: MujocoArm) -> None:
    for geom in ("duck_body", "duck_head"):
        arm.model.geom(geom).rgba = [1.0, 0.0, 0.0, 1.0]
    picture = RayCamera(arm.model, *SIZE, "front").render(arm.data).astype(int)
    red = (picture[..., 0] - picture[..., 2] > 90) & (picture[..., 1] < 80)
    assert red.sum() > 10


def test_projection_points_at_what_is_seen(arm: MujocoArm) -> None:
    for geom in ("duck_body", "duck_head", "duck_beak"):
        arm.model.geom(geom).rgba = [0.0, 1.0, 1.0, 1.0]
    arm.model.geom("block_body").rgba = [1.0, 0.0, 0.0, 1.0]
    picture = arm.camera().astype(int)
    cyan = (picture[..., 1] - picture[..., 0] > 60) & (picture[..., 2] - picture[..., 0] > 60)
    rows, columns = np.nonzero(cyan)
    x, y = arm.project(arm.data.body("duck").xpos[None])[0]
    assert abs(columns.mean() / SIZE[1] - x) < 0.03
    assert abs(rows.mean() / SIZE[0] - y) < 0.05


def test_tiny_images_are_refused(arm: MujocoArm) -> None:
    with pytest.raises(CameraError, match="16x16"):
        make_camera(arm.model, 4, 4, "front")
