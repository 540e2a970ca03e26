"""Forward and inverse kinematics of the WidowX 250S, on our own MuJoCo model, solved by mink."""

from pathlib import Path

import mink
import mujoco
import numpy as np

from robots.conventions import JOINT_LOWER, JOINT_UPPER

ARM_XML = Path(__file__).parent / "wx250s.xml"
POSITION_TOLERANCE_M = 2e-3
ROTATION_TOLERANCE_RAD = 2e-2


class Kinematics:
    """End-effector poses from joints and back; holds no state that a caller can see.

    Args:
        fixed: Joints that inverse kinematics leaves where it starts, for an arm that has not got them.
    """

    def __init__(self, fixed: tuple[str, ...] = ()) -> None:
        self._model = mujoco.MjModel.from_xml_path(str(ARM_XML))
        self._configuration = mink.Configuration(self._model)
        self._task = mink.FrameTask(
            "ee", "site", position_cost=1.0, orientation_cost=0.3, lm_damping=1e-4
        )
        dofs = [int(self._model.joint(joint).dofadr[0]) for joint in fixed]
        self._constraints = [mink.DofFreezingTask(self._model, dofs)] if dofs else None
        self._limits: list[mink.Limit] = [mink.ConfigurationLimit(self._model)]
        self._site = self._model.site("ee").id

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position `(3,)` [m] and rotation `(3, 3)` of the end effector for joints `(6,)` [rad]."""
        self._set(joints)
        data = self._configuration.data
        return data.site_xpos[self._site].copy(), data.site_xmat[self._site].reshape(3, 3).copy()

    def inverse(
        self, position: np.ndarray, rotation: np.ndarray, start: np.ndarray, *, iterations: int = 20
    ) -> np.ndarray | None:
        """Joints `(6,)` [rad] that reach a pose, found from `start`; None if none was found."""
        self._set(start)
        target = mink.SE3.from_rotation_and_translation(mink.SO3.from_matrix(rotation), position)
        self._task.set_target(target)
        for _ in range(iterations):
            error = self._task.compute_error(self._configuration)
            if np.linalg.norm(error[:3]) < 1e-4 and np.linalg.norm(error[3:]) < 1e-3:
                break
            velocity = mink.solve_ik(
                self._configuration,
                [self._task],
                1.0,
                "daqp",
                damping=1e-6,
                limits=self._limits,
                constraints=self._constraints,
            )
            self._configuration.integrate_inplace(velocity, 1.0)
        error = self._task.compute_error(self._configuration)
        reached = (
            np.linalg.norm(error[:3]) < POSITION_TOLERANCE_M
            and np.linalg.norm(error[3:]) < ROTATION_TOLERANCE_RAD
        )
        return self._configuration.q[:6].copy() if reached else None

    def _set(self, joints: np.ndarray) -> None:
        q = self._model.qpos0.copy()
        q[:6] = np.clip(joints, JOINT_LOWER, JOINT_UPPER)
        q[6:8] = self._model.jnt_range[6:8].mean(axis=1)
        self._configuration.update(q)
