"""The simulated WidowX 250S as its driver sees it: motors, groups, registers, and a scene on the table.

Plain Python without ROS, and without a clock: `advance` moves the simulated time on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import mujoco
import numpy as np
from gymnasium.utils import seeding

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.catalogue import entry_of_scene
from robots.conventions import ARM_JOINTS, CONTROL_HZ, GRIPPER_DOWN
from robots.kinematics import Kinematics
from robots.ros.simulator.servos import POSITION_MODES, ArmServo, GripperServo
from robots.scene import Scene, Split, check_task
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import NEUTRAL_JOINTS, START_JITTER_M, START_POSITION
from robots.xs.interface import (
    ARM_GROUP,
    ARM_MODE,
    CURRENT_UNIT_MA,
    GRIPPER,
    GRIPPER_START_MODE,
    MODES,
    PROFILE_ACCELERATION,
    PROFILE_VELOCITY,
    PROFILES,
    SHADOWS,
    SLEEP_JOINTS,
)
from robots.xs.models import arm_model

PAIRED = ("shoulder", "elbow")
SETTLE_S = 0.2
UINT32 = 2**32
DRIVER_PROFILED = ("position", "ext_position", "linear_position")
"""Modes with which the vendor's driver writes a profile."""


@dataclass(frozen=True, eq=False)
class JointReading:
    """Values of `joint_states`, in the order of the model's `state_joints` [rad or m], [rad/s or m/s] and [mA]."""

    position: np.ndarray
    velocity: np.ndarray
    effort: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What only a simulation knows; see `roboreward_sim_msgs/srv/GetTruth`."""

    task: str
    level: int
    askable: bool
    caption: str
    time_s: float
    seed: int


class SimulatedRobot:
    """Arm in the sleep pose with torque on, as the vendor's driver leaves it after its start.

    Args:
        scene: One of `robots.catalogue.SCENES`.
        model: "wx250s", or "wx250", which has no roll of the forearm.
        image_size: Height and width of the camera's images [px].
    """

    def __init__(
        self, scene: str, *, model: str = "wx250s", image_size: tuple[int, int] = (480, 640)
    ) -> None:
        self.model, self.model_name = arm_model(model), model
        entry = entry_of_scene(scene)
        self.arm = MujocoArm(scene, image_size=image_size)
        self.scene: Scene = entry.load_scene()(self.arm)
        self._kinematics = Kinematics(self.model.fixed)
        self._place(0, self.scene.tasks[0], "any")
        self.arm.reset(SLEEP_JOINTS, 0.0)
        model, data = self.arm.model, self.arm.data
        self.servos: dict[str, ArmServo | GripperServo] = {
            joint: ArmServo(model, data, joint, motors=1 + (joint in PAIRED), mode=ARM_MODE)
            for joint in ARM_JOINTS
        }
        self.servos[GRIPPER] = self._gripper = GripperServo(model, data, mode=GRIPPER_START_MODE)
        for joint in ARM_JOINTS:
            self._set_profile(joint, "time", PROFILE_VELOCITY, PROFILE_ACCELERATION)
        self._set_profile(GRIPPER, "velocity", 0, 0)
        self._shadow_errors = dict.fromkeys(SHADOWS, 0)
        self._path: list[tuple[float, tuple[str, ...], list[float]]] = []
        self._path_ends = 0.0
        self._owed_s = 0.0
        self._begin_episode()

    @property
    def time(self) -> float:
        """Simulated time [s]."""
        return float(self.arm.data.time)

    def motors(self, kind: str, name: str) -> tuple[str, ...]:
        """Servos that a "group" or "single" name means; a shadow can be named singly.

        Raises:
            UnknownName: No such kind, group or joint.
        """
        if kind == "group":
            groups = {ARM_GROUP: self.model.joints, "all": self.model.motors}
            if name not in groups:
                raise UnknownName("group", name, groups)
            return groups[name]
        if kind != "single":
            raise UnknownName("cmd_type", kind, ("group", "single"))
        if name not in self.model.servos:
            raise UnknownName("joint", name, self.model.servos)
        return (name,)

    def command(self, joints: tuple[str, ...], values: list[float]) -> None:
        """Give each joint a command in the unit of its mode; the servos hold it until the next one.

        Raises:
            InvalidSetting: Another number of values than of joints; nothing moves then.
        """
        if len(values) != len(joints):
            raise InvalidSetting(f"{joints} need {len(joints)} commands, got {len(values)}.")
        for joint, value in zip(joints, values, strict=True):
            self._servo(joint).command(value)

    def follow(self, joints: tuple[str, ...], path: Sequence[tuple[int, list[float]]]) -> None:
        """Play a trajectory as the vendor's driver does: commands and times [ns] in the unit of the mode.

        The first point is where the arm should be, and is not sent; each other one is sent when the one before it is
        due. Of the times the driver takes the nanoseconds within a second only, and subtracts them without a sign: across a
        whole second it waits for up to 4.3 s (interbotix_ros_manipulators#176), and whole seconds are no time at all.

        Raises:
            InvalidSetting: Another one is running, it has less than two points, or one of another size.
        """
        if self.time < self._path_ends - 1e-9:
            raise InvalidSetting("Another trajectory is running; the new one is rejected.")
        if len(path) < 2:
            raise InvalidSetting(f"A trajectory needs at least 2 points, got {len(path)}.")
        for _, values in path[1:]:
            if len(values) != len(joints):
                raise InvalidSetting(f"Each point needs {len(joints)} values, got {len(values)}.")
        at = self.time
        for (before_ns, _), (this_ns, values) in pairwise(path):
            self._path.append((at, joints, values))
            at += (this_ns % 10**9 - before_ns % 10**9) % UINT32 * 1e-9
        self._path_ends = at

    def mode(self, joints: tuple[str, ...]) -> str:
        """Mode of the first joint; a group's joints are in one."""
        return self._servo(joints[0]).settings.mode

    def set_mode(
        self, joints: tuple[str, ...], mode: str, profile: str, velocity: int, acceleration: int
    ) -> None:
        """Change mode and profile; the caller takes the torque off before and puts it on after, as the servos need.

        Raises:
            UnknownName: No such mode or profile.
        """
        if mode not in MODES:
            raise UnknownName("mode", mode, MODES)
        if mode in POSITION_MODES and profile not in PROFILES:
            raise UnknownName("profile", profile, PROFILES)
        for joint in joints:
            settings = self._servo(joint).settings
            settings.mode, settings.profile = mode, profile
            # The driver writes these registers for the modes that it thinks need them.
            if mode in DRIVER_PROFILED:
                settings.velocity = velocity
            if mode in (*DRIVER_PROFILED, "velocity"):
                settings.acceleration = acceleration

    def set_torque(self, joints: tuple[str, ...], *, enable: bool) -> None:
        """Torque on holds where the joint is; torque off lets it fall. A servo in error keeps its torque off."""
        for joint in joints:
            servo = self._servo(joint)
            if enable and not servo.torque:
                servo.hold()
            servo.torque = enable

    def fail(self, joint: str, bits: int) -> None:
        """Put a servo into the error state `bits`: it loses its torque until it is rebooted."""
        if joint in SHADOWS:
            self._shadow_errors[joint] = bits  # the first servo bears the joint alone
        else:
            self.servos[joint].error = bits

    def reboot(self, joints: tuple[str, ...], *, only_failed: bool) -> tuple[str, ...]:
        """Restart servos: errors, torque, profile, current and gains are gone; returns which were restarted."""
        restarted = tuple(j for j in joints if not only_failed or self._error(j))
        for joint in restarted:
            if joint in SHADOWS:
                self._shadow_errors[joint] = 0
                continue
            servo = self.servos[joint]
            servo.error = 0
            servo.settings = type(servo.settings)(servo.settings.mode, servo.settings.profile)
            servo.torque = False
        return restarted

    def set_gains(self, joints: tuple[str, ...], p: int, i: int, d: int) -> None:
        """Set the position gains; only the proportional one changes the simulated motion."""
        for joint in joints:
            settings = self._servo(joint).settings
            settings.p_gain, settings.i_gain, settings.d_gain = p, i, d

    def set_register(self, joints: tuple[str, ...], register: str, value: int) -> None:
        """Write a register.

        Raises:
            InvalidSetting: A register that cannot be written.
        """
        names = {
            "Profile_Velocity": "velocity",
            "Profile_Acceleration": "acceleration",
            "Position_P_Gain": "p_gain",
            "Position_I_Gain": "i_gain",
            "Position_D_Gain": "d_gain",
            "Goal_Current": "current",
        }
        if register == "Torque_Enable":
            self.set_torque(joints, enable=bool(value))
            return
        if register not in names:
            raise InvalidSetting(
                f"The register must be one of {[*names, 'Torque_Enable']}, got {register!r}."
            )
        for joint in joints:
            setattr(self._servo(joint).settings, names[register], value)

    def registers(self, joints: tuple[str, ...], register: str) -> list[int]:
        """Read a register of each joint, in the servo's units.

        Raises:
            UnknownName: A register that is not modelled.
        """
        return [self._register(joint, register) for joint in joints]

    def read(self) -> JointReading:
        """Joints and gripper now."""
        servos = [self.servos[motor] for motor in self.model.motors]
        finger = self._gripper.finger
        return JointReading(
            np.array([*(s.position for s in servos), finger, -finger]),
            np.array([*(s.velocity for s in servos), 0.0, 0.0]),
            np.array([*(s.effort for s in servos), 0.0, 0.0]),
        )

    def advance(self, duration_s: float) -> None:
        """Simulate `duration_s` [s]; what does not fill a physics step is done with the next call."""
        self._owed_s += duration_s
        data, timestep = self.arm.data, self.arm.model.opt.timestep
        while self._owed_s >= timestep - 1e-9:
            self._owed_s -= timestep
            while self._path and self._path[0][0] <= data.time + 1e-9:
                _, joints, values = self._path.pop(0)
                self.command(joints, values)
            for servo in self.servos.values():
                servo.step()
            mujoco.mj_step(self.arm.model, data)
            if data.time >= self._observe_at - 1e-9:
                self._observe_at += 1.0 / CONTROL_HZ
                self.scene.observe()

    def reset(self, seed: int, task: str = "", look: Split = "any") -> str:
        """Shuffle the scene and put the arm at its start, exactly as the environment does for this seed.

        Returns:
            The task the scene was reset for; the scene's first one if `task` is empty.

        Raises:
            UnknownName: No such task or look.
        """
        task = task or self.scene.tasks[0]
        check_task(task, self.scene.tasks)
        if look not in ("train", "test", "any"):
            raise UnknownName("look", look, ("train", "test", "any"))
        start = self._place(seed, task, look)
        joints = self._kinematics.inverse(start, GRIPPER_DOWN, NEUTRAL_JOINTS, iterations=100)
        if joints is None:
            raise InvalidSetting(f"No joints reach the start at {start} m.")
        self.arm.reset(joints, 1.0)
        self._path.clear()
        self._path_ends = self.time
        for servo in self.servos.values():
            servo.hold()
        self._begin_episode()
        return task

    def truth(self, task: str = "") -> Truth:
        """What the scene knows about a task; the one it was reset for if `task` is empty."""
        task = check_task(task or self._task, self.scene.tasks)
        return Truth(
            task,
            self.scene.level(task),
            self.scene.askable(task),
            self.scene.caption(),
            self.time - self._started,
            self._seed,
        )

    def _place(self, seed: int, task: str, look: Split) -> np.ndarray:
        rng, _ = seeding.np_random(seed)  # as `Env.reset` makes it
        self.scene.reset(rng, task, look)
        self._seed, self._task = seed, task
        return START_POSITION + rng.uniform(-START_JITTER_M, START_JITTER_M, 3)

    def _begin_episode(self) -> None:
        self._started = self.time
        self._observe_at = self.time + 1.0 / CONTROL_HZ
        self.scene.observe()

    def _set_profile(self, joint: str, profile: str, velocity: int, acceleration: int) -> None:
        settings = self._servo(joint).settings
        settings.profile, settings.velocity = profile, velocity
        settings.acceleration = acceleration

    def _servo(self, name: str) -> ArmServo | GripperServo:
        """The servo of a joint; a shadow follows that of its joint."""
        return self.servos[SHADOWS.get(name, name)]

    def _error(self, name: str) -> int:
        return self._shadow_errors[name] if name in SHADOWS else self.servos[name].error

    def _register(self, joint: str, register: str) -> int:
        servo, error = self._servo(joint), self._error(joint)
        settings = servo.settings
        values = {
            "Profile_Velocity": settings.velocity,
            "Profile_Acceleration": settings.acceleration,
            "Hardware_Error_Status": error,
            "Torque_Enable": int(servo.torque and not error),
            "Present_Position": round(2048 + servo.position * 4096 / (2.0 * np.pi)),
            "Present_Temperature": 35,
            "Present_Input_Voltage": 120,
            "Present_Current": round(servo.effort / CURRENT_UNIT_MA),
            "Goal_Current": settings.current,
            "Position_P_Gain": settings.p_gain,
            "Position_I_Gain": settings.i_gain,
            "Position_D_Gain": settings.d_gain,
        }
        if register not in values:
            raise UnknownName("register", register, values)
        return values[register]
