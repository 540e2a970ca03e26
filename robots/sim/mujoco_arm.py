"""The simulated WidowX 250S: MuJoCo physics behind the `Arm` protocol."""

from pathlib import Path

import mujoco
import numpy as np

from robots.arm import ArmReading
from robots.conventions import CONTROL_HZ, finger_from_gripper, gripper_from_finger
from robots.sim.camera import GlCamera, RayCamera, make_camera

ASSETS = Path(__file__).parent / "assets"
RAMP_FRACTION = 0.8
"""Part of a control period over which the joint target moves; the rest lets the arm settle."""


class MujocoArm:
    """Owns model, data and camera of one scene; tasks read and randomise it through `model` and `data`."""

    def __init__(self, scene: str, *, image_size: tuple[int, int] = (192, 256)) -> None:
        """Load `assets/<scene>.xml`; `image_size` is (height, width). Nothing moves."""
        self.model = mujoco.MjModel.from_xml_path(str(ASSETS / f"{scene}.xml"))
        self.data = mujoco.MjData(self.model)
        # An integer number of physics steps per control period; rounding in the other direction loses one.
        self.substeps = round(1.0 / (CONTROL_HZ * self.model.opt.timestep))
        self.image_size = image_size
        self._camera: GlCamera | RayCamera | None = None

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        """Put the arm at `joints` `(6,)` [rad] and `gripper` 0..1 at rest; the objects stay where the task put them."""
        finger = finger_from_gripper(gripper)
        self.data.qpos[:8] = [*joints, finger, -finger]
        self.data.qvel[:] = 0.0
        self.data.qacc_warmstart[:] = 0.0  # else the solver starts from the last episode's contacts
        self.data.ctrl[:] = [*joints, finger]
        mujoco.mj_forward(self.model, self.data)

    def settle(self, duration_s: float) -> None:
        """Let the objects come to rest."""
        mujoco.mj_step(self.model, self.data, nstep=round(duration_s / self.model.opt.timestep))

    def read(self) -> ArmReading:
        """Joints `(6,)` [rad] and gripper opening as simulated."""
        return ArmReading(self.data.qpos[:6].copy(), gripper_from_finger(self.data.qpos[6]))

    def move(self, joints: np.ndarray, gripper: float) -> None:
        """Simulate one control period of 0.2 s towards `joints` `(6,)` [rad] and `gripper` 0..1."""
        start = self.data.ctrl[:6].copy()
        self.data.ctrl[6] = finger_from_gripper(gripper)
        ramp = RAMP_FRACTION * self.substeps
        for i in range(self.substeps):
            self.data.ctrl[:6] = start + (joints - start) * min(1.0, (i + 1) / ramp)
            mujoco.mj_step(self.model, self.data)

    def hold(self) -> None:
        """Nothing to do: simulated time stands still between moves."""

    def camera(self) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB of the scene now; the renderer is made at the first call."""
        if self._camera is None:
            self._camera = make_camera(self.model, *self.image_size, "front")
        return self._camera.render(self.data)

    def picture_at(self, qpos: np.ndarray) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB of the scene with other joint positions `(nq,)`, which it keeps."""
        self.data.qpos[:] = qpos
        mujoco.mj_forward(self.model, self.data)
        return self.camera()

    def project(self, points: np.ndarray) -> np.ndarray:
        """Image positions `(N, 2)` of `(N, 3)` points [m]: x, y as fractions of width and height."""
        camera = self.model.camera("front").id
        local = (points - self.data.cam_xpos[camera]) @ self.data.cam_xmat[camera].reshape(3, 3)
        focal = 0.5 / np.tan(np.deg2rad(self.model.cam_fovy[camera]) / 2)  # in image heights
        height, width = self.image_size
        x = 0.5 + focal * local[:, 0] / -local[:, 2] * height / width
        y = 0.5 - focal * local[:, 1] / -local[:, 2]
        return np.stack([x, y], axis=-1)

    def touching(self, body: str) -> tuple[bool, bool]:
        """Whether the left and the right finger touch a body."""
        wanted = self.model.body(body).id
        fingers = (self.model.body("left_finger_link").id, self.model.body("right_finger_link").id)
        contact = self.data.contact
        bodies = self.model.geom_bodyid[contact.geom]  # (ncon, 2)
        mine = bodies[(bodies == wanted).any(axis=1)]
        return bool((mine == fingers[0]).any()), bool((mine == fingers[1]).any())

    def close(self) -> None:
        """Free the renderer; the simulation itself is plain memory."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None
