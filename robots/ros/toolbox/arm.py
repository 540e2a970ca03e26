"""The arm of the toolbox's API: joint positions, poses of the end effector, straight lines."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from robots.conventions import ARM_JOINTS
from robots.errors import ArmUnavailable, MotionRefused
from robots.kinematics import Kinematics
from robots.ros.toolbox.core import InterbotixRobotXSCore
from robots.xs.models import arm_model

GUESSED_WAIST_RAD = np.deg2rad([0.0, -120.0, 120.0])
"""Where inverse kinematics starts, after the present joints: ahead, and turned to either side."""

POSITION_MODES = ("position", "ext_position")


def pose_matrix(position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """`(4, 4)` pose from `(3,)` [m] and `(3, 3)`."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def pose_from_components(
    x: float, y: float, z: float, roll: float, pitch: float, yaw: float | None
) -> np.ndarray:
    """`(4, 4)` pose in the base frame [m, rad]; without a yaw the gripper points away from the base."""
    if yaw is None:
        yaw = math.atan2(y, x)
    return pose_matrix(
        np.array([x, y, z]), Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
    )


def straight_line(pose: np.ndarray, move: Sequence[float], count: int) -> list[np.ndarray]:
    """Poses `(4, 4)` on the way of a relative move, the last one at its end.

    The move `(6,)` is x, y, z [m] and roll, pitch, yaw [rad] in a frame at the base that is turned about the
    vertical as the end effector is, so that x is "forward" for the arm.
    """
    roll, pitch, yaw = Rotation.from_matrix(pose[:3, :3]).as_euler("xyz")
    turn = Rotation.from_euler("z", yaw).as_matrix()
    position = turn.T @ pose[:3, 3]
    angles = np.array([roll, pitch, 0.0])
    poses = []
    for i in range(1, count + 1):
        part = np.asarray(move, dtype=float) * i / count
        rotation = Rotation.from_euler("xyz", angles + part[3:]).as_matrix()
        poses.append(pose_matrix(turn @ (position + part[:3]), turn @ rotation))
    return poses


class InterbotixArmXSInterface:
    """Moves a group of joints in position mode with a time profile; the vendor's `.arm`.

    Args:
        core: The connection.
        robot_model: "wx250s" or "wx250".
        group_name: "arm".
        moving_time: Length of a move [s].
        accel_time: Length of its ramps [s], at most half of it.
        iterative_update_fk: Taken and not needed: forward kinematics are computed when they are asked for.
    """

    def __init__(
        self,
        core: InterbotixRobotXSCore,
        robot_model: str,
        group_name: str = "arm",
        moving_time: float = 2.0,
        accel_time: float = 0.3,
        iterative_update_fk: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> None:
        self.core, self.group_name = core, group_name
        model = arm_model(robot_model)
        self._places = [ARM_JOINTS.index(joint) for joint in model.joints]
        self.moving_time, self.accel_time = moving_time, accel_time
        self.group_info = core.robot_get_robot_info("group", group_name)
        if tuple(self.group_info.joint_names) != model.joints:
            raise ArmUnavailable(
                f"/{core.robot_name} is not a {robot_model}: its group {group_name!r} has the joints "
                f"{list(self.group_info.joint_names)}. Name the model that the driver was started for."
            )
        self._kinematics = Kinematics(model.fixed)
        self._written: tuple[int, int] | None = None
        self.capture_joint_positions()

    def capture_joint_positions(self) -> None:
        """Take the measured joints as the last command, after something else has moved the arm."""
        self.joint_commands = self.get_joint_positions()

    def get_joint_positions(self) -> list[float]:
        """Measured joints `(N,)` [rad]."""
        return self._measured("position")

    def get_joint_velocities(self) -> list[float]:
        """Measured speeds `(N,)` [rad/s]."""
        return self._measured("velocity")

    def get_joint_efforts(self) -> list[float]:
        """Measured currents `(N,)` [mA]."""
        return self._measured("effort")

    def get_number_of_joints(self) -> int:
        """Joints of the group."""
        return self.group_info.num_joints

    def get_joint_commands(self) -> list[float]:
        """Last commanded joints `(N,)` [rad]."""
        return list(self.joint_commands)

    def get_single_joint_command(self, joint_name: str) -> float:
        """Last command of one joint [rad]."""
        return self.joint_commands[self._index(joint_name)]

    def get_ee_pose(self) -> np.ndarray:
        """Measured pose `(4, 4)` of the end effector in the base frame."""
        return self._forward(self.get_joint_positions())

    def get_ee_pose_command(self) -> np.ndarray:
        """Pose `(4, 4)` of the last command."""
        return self._forward(self.joint_commands)

    def set_trajectory_time(
        self, moving_time: float | None = None, accel_time: float | None = None
    ) -> None:
        """Length of the next moves and of their ramps [s]; None keeps the present one."""
        self.moving_time = self.moving_time if moving_time is None else moving_time
        self.accel_time = self.accel_time if accel_time is None else accel_time
        self._write_profile(self.moving_time, self.accel_time)

    def set_joint_positions(
        self,
        joint_positions: Sequence[float],
        moving_time: float | None = None,
        accel_time: float | None = None,
        blocking: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> bool:
        """Move to `(N,)` [rad]; False, and no motion, for joints out of their limits or a move too fast."""
        if not self._allowed(joint_positions, moving_time):
            return False
        self.set_trajectory_time(moving_time, accel_time)
        self._publish(joint_positions)
        if blocking:
            self.core.sleep(self.moving_time)
        return True

    def set_single_joint_position(
        self,
        joint_name: str,
        position: float,
        moving_time: float | None = None,
        accel_time: float | None = None,
        blocking: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> bool:
        """Move one joint to `position` [rad]."""
        goal = list(self.joint_commands)
        goal[self._index(joint_name)] = position
        return self.set_joint_positions(goal, moving_time, accel_time, blocking)

    def go_to_home_pose(
        self,
        moving_time: float | None = None,
        accel_time: float | None = None,
        blocking: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> bool:
        """All joints at zero: the arm stretched out forward."""
        home = [0.0] * self.group_info.num_joints
        return self.set_joint_positions(home, moving_time, accel_time, blocking)

    def go_to_sleep_pose(
        self,
        moving_time: float | None = None,
        accel_time: float | None = None,
        blocking: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> bool:
        """Folded up, where the torque may be taken off."""
        sleep = list(self.group_info.joint_sleep_positions)
        return self.set_joint_positions(sleep, moving_time, accel_time, blocking)

    def set_ee_pose_matrix(
        self,
        T_sd: np.ndarray,  # noqa: N803 - the vendor's name
        custom_guess: Sequence[float] | None = None,
        execute: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
        moving_time: float | None = None,
        accel_time: float | None = None,
        blocking: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> tuple[list[float], bool]:
        """Find joints for a pose `(4, 4)` in the base frame, and go there unless `execute` is False.

        Returns:
            The joints `(N,)` [rad], those of the last command if none were found, and whether it worked.
        """
        guesses = self._guesses() if custom_guess is None else [custom_guess]
        pose = np.asarray(T_sd, dtype=float)
        why = "No joints reach that pose."
        for guess in guesses:
            found = self._kinematics.inverse(
                pose[:3, 3], pose[:3, :3], self._all_joints(guess), iterations=100
            )
            if found is None:
                continue
            refused = self._refusal(found[self._places], moving_time)
            if refused:
                why = refused
                continue
            # As the vendor's.
            joints = [int(joint * 1000) / 1000.0 for joint in found[self._places]]
            if execute:
                return joints, self.set_joint_positions(joints, moving_time, accel_time, blocking)
            return joints, True
        self._warn(why)
        return list(self.joint_commands), False

    def set_ee_pose_components(
        self,
        x: float = 0.0,
        y: float = 0.0,
        z: float = 0.0,
        roll: float = 0.0,
        pitch: float = 0.0,
        yaw: float | None = None,
        custom_guess: Sequence[float] | None = None,
        execute: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
        moving_time: float | None = None,
        accel_time: float | None = None,
        blocking: bool = True,  # noqa: FBT001, FBT002 - the vendor's signature
    ) -> tuple[list[float], bool]:
        """As `set_ee_pose_matrix`, for a pose in components [m, rad]."""
        pose = pose_from_components(x, y, z, roll, pitch, yaw)
        return self.set_ee_pose_matrix(
            pose, custom_guess, execute, moving_time, accel_time, blocking
        )

    def set_ee_cartesian_trajectory(
        self,
        x: float = 0.0,
        y: float = 0.0,
        z: float = 0.0,
        roll: float = 0.0,
        pitch: float = 0.0,
        yaw: float = 0.0,
        moving_time: float | None = None,
        wp_moving_time: float = 0.2,
        wp_accel_time: float = 0.1,
        wp_period: float = 0.05,
    ) -> bool:
        """Move the end effector on a straight line by a relative move; False, and no motion, if it leaves the reach.

        Blocks for `moving_time` and the last way point [s]. See `straight_line` for the frame.
        """
        duration = self.moving_time if moving_time is None else moving_time
        count = max(1, int(duration / wp_period))
        joints, path = list(self.joint_commands), []
        move = (x, y, z, roll, pitch, yaw)
        for pose in straight_line(self.get_ee_pose_command(), move, count):
            before = joints
            joints, found = self.set_ee_pose_matrix(
                pose, before, execute=False, moving_time=duration
            )
            speed = np.abs(np.subtract(joints, before)) / wp_moving_time
            if not found or (speed > np.asarray(self.group_info.joint_velocity_limits)).any():
                self._warn(f"Only {len(path)} of {count} way points can be reached in time.")
                return False
            path.append(joints)
        self._write_profile(wp_moving_time, wp_accel_time)
        for joints in path:
            self._publish(joints)
            self.core.sleep(wp_period)
        self.core.sleep(wp_moving_time)
        return True

    def _measured(self, field: str) -> list[float]:
        states = self.core.joint_states
        at = dict(zip(states.name, getattr(states, field), strict=True))
        return [at[name] for name in self.group_info.joint_names]

    def _index(self, joint_name: str) -> int:
        return list(self.group_info.joint_names).index(joint_name)

    def _forward(self, joints: Sequence[float]) -> np.ndarray:
        return pose_matrix(*self._kinematics.forward(self._all_joints(joints)))

    def _all_joints(self, joints: Sequence[float]) -> np.ndarray:
        """Joints `(6,)` [rad] of the kinematics: those that the arm has not got are zero."""
        full = np.zeros(len(ARM_JOINTS))
        full[self._places] = np.asarray(joints, dtype=float)
        return full

    def _guesses(self) -> list[list[float]]:
        turned = [[waist, *[0.0] * (len(self._places) - 1)] for waist in GUESSED_WAIST_RAD]
        return [self.joint_commands, *turned]

    def _allowed(self, joints: Sequence[float], moving_time: float | None) -> bool:
        refused = self._refusal(joints, moving_time)
        if refused:
            self._warn(refused)
        return not refused

    def _refusal(self, joints: Sequence[float] | np.ndarray, moving_time: float | None) -> str:
        """Why the arm may not go there in that time; empty if it may."""
        goal, info = np.asarray(joints, dtype=float), self.group_info
        if goal.shape != (info.num_joints,) or not np.isfinite(goal).all():
            return f"{joints} are not {info.num_joints} finite joints."
        duration = self.moving_time if moving_time is None else moving_time
        inside = (goal >= np.asarray(info.joint_lower_limits) - 1e-3) & (
            goal <= np.asarray(info.joint_upper_limits) + 1e-3
        )
        needed = np.abs(goal - np.asarray(self.joint_commands)) / duration
        if not inside.all():
            return f"{goal.round(3)} rad is out of the joint limits."
        if (needed > np.asarray(info.joint_velocity_limits)).any():
            return f"{needed.max():.1f} rad/s would be needed to be there within {duration:g} s."
        return ""

    def _warn(self, why: str) -> None:
        """The vendor's methods return False for a move that is refused; that alone is easily missed."""
        self.core.get_node().get_logger().warning(f"Nothing moves. {why}")

    def _publish(self, joints: Sequence[float]) -> None:
        self.joint_commands = [float(joint) for joint in joints]
        self.core.robot_write_commands(self.group_name, self.joint_commands)

    def _write_profile(self, moving_time: float, accel_time: float) -> None:
        """Write the profile if it is another one; changing registers moves nothing."""
        if self._written is None:
            self._check_mode()
        wanted = (int(moving_time * 1000), int(accel_time * 1000))
        if wanted == self._written:
            return
        for register, value in zip(
            ("Profile_Velocity", "Profile_Acceleration"), wanted, strict=True
        ):
            self.core.robot_set_motor_registers("group", self.group_name, register, value)
        self._written = wanted

    def _check_mode(self) -> None:
        info = self.core.robot_get_robot_info("group", self.group_name)
        if info.mode not in POSITION_MODES or info.profile_type != "time":
            raise MotionRefused(
                f"Group {self.group_name!r} is in mode {info.mode!r} with a {info.profile_type!r} profile, not in "
                "position mode with a time profile. In the sleep pose, since a change of mode drops the arm, call "
                "core.robot_set_operating_modes('group', 'arm', 'position', 'time', 2000, 300)."
            )
