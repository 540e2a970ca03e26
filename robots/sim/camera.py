"""Images of a MuJoCo scene: through OpenGL where there is one, by ray casting where there is none."""

import warnings

import mujoco
import numpy as np

from robots.errors import CameraError
from robots.gl import RENDERER_ERRORS, advice

FAR_M = 20.0


class GlCamera:
    """OpenGL renderer of one named camera; shadows and anti-aliasing off, because they cost most of the time."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera: str) -> None:
        self._renderer = mujoco.Renderer(model, height, width)
        self._camera = camera

    def render(self, data: mujoco.MjData) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB."""
        self._renderer.update_scene(data, self._camera)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


class RayCamera:
    """GL-free renderer: one ray per pixel, geometry colours, Lambert shading. Slower, same geometry."""

    def __init__(self, model: mujoco.MjModel, height: int, width: int, camera: str) -> None:
        self._model, self._id = model, model.camera(camera).id
        self._size = (height, width)
        u, v = np.meshgrid(np.arange(width) + 0.5 - width / 2, height / 2 - np.arange(height) - 0.5)
        self._pixels = np.stack([u, v, np.zeros_like(u)], axis=-1).reshape(-1, 3)  # (H*W, 3)

    def render(self, data: mujoco.MjData) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB."""
        model, height = self._model, self._size[0]
        focal = 0.5 * height / np.tan(np.deg2rad(model.cam_fovy[self._id]) / 2)
        rays = self._pixels / focal + np.array([0.0, 0.0, -1.0])
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        rays = np.ascontiguousarray(rays @ data.cam_xmat[self._id].reshape(3, 3).T)
        n = len(rays)
        geom, distance, normal = np.full(n, -1, np.int32), np.zeros(n), np.zeros(3 * n)
        # The geom groups that OpenGL shows by default.
        visible = np.array([1, 1, 1, 0, 0, 0], np.uint8)
        mujoco.mj_multiRay(
            model,
            data,
            data.cam_xpos[self._id],
            rays.ravel(),
            visible,
            1,
            -1,
            geom,
            distance,
            normal,
            n,
            FAR_M,
        )
        normal = normal.reshape(-1, 3)
        facing = np.clip(-(normal * rays).sum(axis=1), 0.0, 1.0)
        lit = np.clip(-(normal * data.light_xdir[0]).sum(axis=1), 0.0, 1.0)
        shade = (
            model.vis.headlight.ambient[0]
            + model.vis.headlight.diffuse[0] * facing
            + model.light_diffuse[0, 0] * lit
        )
        colour = model.geom_rgba[geom, :3] * shade[:, None]
        colour[geom < 0] = 0.0
        return (np.clip(colour, 0, 1) * 255).astype(np.uint8).reshape(*self._size, 3)

    def close(self) -> None:
        """Nothing to free."""


def make_camera(
    model: mujoco.MjModel, height: int, width: int, camera: str
) -> GlCamera | RayCamera:
    """An OpenGL camera, or the ray-casting one with a warning that names the missing packages."""
    if height < 16 or width < 16:
        raise CameraError(f"Images must have at least 16x16 pixels, got {height}x{width}.")
    try:
        return GlCamera(model, height, width, camera)
    except (*RENDERER_ERRORS, mujoco.FatalError) as error:  # the latter: a screen that is not there
        warnings.warn(advice(str(error)), RuntimeWarning, stacklevel=2)
    return RayCamera(model, height, width, camera)
