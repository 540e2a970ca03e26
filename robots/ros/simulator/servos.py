"""Simulated Dynamixel servos: they turn commands into the controls of one MuJoCo joint each.

What is modelled because a client has to live with it: profiles, position registers that refuse a goal out of
range, a target that is held for ever, no torque while a mode is changed or after an error, registers that a
reboot forgets. What is not: heating, backlash, bus errors.
"""

from dataclasses import dataclass

import mujoco

from robots.conventions import FINGER_CLOSED_M, FINGER_OPEN_M, JOINT_VELOCITY
from robots.ros.simulator.profile import Trapezoid, plan
from robots.xs.gripper_linkage import angle_from_finger, finger_from_angle, finger_speed
from robots.xs.interface import CURRENT_UNIT_MA

PWM_MAX = 885  # of the servo
STALL_NM, STALL_MA = 4.1, 2300.0  # XM430-W350 at 12 V
DEFAULT_P_GAIN = 800
FINGER_STALL_N = 15.0
"""Force on the fingers at full PWM: a tenth of the real one, since in a simulation with soft contacts the pads
would sink into a light toy."""
FINGER_FREE_M_S = 0.067
"""Speed of a finger at full PWM without load: 46 rpm of the servo on a horn of 14 mm."""
FINGER_STIFFNESS, FINGER_DAMPING = 8000.0, 30.0  # [N/m] and [N s/m], of the position modes
FINGER_SLACK_M = 1e-4
"""A goal so little beyond the finger's range is its end: angles travel as float32."""
MAX_CURRENT = 1193
"""`Goal_Current` after a start, in its unit."""
POSITION_MODES = ("position", "ext_position", "current_based_position", "linear_position")


@dataclass
class Settings:
    """What a client has set; a reboot forgets the profile and the gains, which are kept in RAM."""

    mode: str
    profile: str = "time"
    velocity: int = 0
    acceleration: int = 0
    p_gain: int = DEFAULT_P_GAIN
    i_gain: int = 0
    d_gain: int = 0
    current: int = MAX_CURRENT


class ArmServo:
    """One joint of the arm, driven by `motors` servos side by side."""

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, joint: str, *, motors: int, mode: str
    ) -> None:
        self._model, self._data = model, data
        self._dof = model.joint(joint).dofadr[0]
        self._q = model.joint(joint).qposadr[0]
        self._actuator = model.actuator(joint).id
        self._range = model.jnt_range[model.joint(joint).id].copy()
        self._gain = model.actuator_gainprm[self._actuator].copy()
        self._bias = model.actuator_biasprm[self._actuator].copy()
        self._motors, self._stiffness = motors, 1.0
        stall = STALL_NM * motors
        model.actuator_forcerange[self._actuator] = [-stall, stall]
        self.settings = Settings(mode)
        self.torque, self.error = True, 0
        self._move = Trapezoid(self.position, 0.0, self.position, 0.0, 0.0)
        self._began = 0.0
        self._command = 0.0

    @property
    def position(self) -> float:
        """Where the joint is [rad]."""
        return float(self._data.qpos[self._q])

    @property
    def velocity(self) -> float:
        """Speed of the joint [rad/s]."""
        return float(self._data.qvel[self._dof])

    @property
    def effort(self) -> float:
        """Current of one of its motors [mA]."""
        return self._torque_now() / (STALL_NM * self._motors) * STALL_MA

    def command(self, value: float) -> None:
        """Take a command in the unit of the mode; a position out of range or not finite changes nothing."""
        if not self._range[0] <= value <= self._range[1] and self.settings.mode in POSITION_MODES:
            return  # a servo answers with a range error, and NaN is not a register value either
        self._command = value
        if self.settings.mode in POSITION_MODES:
            now = self._data.time
            start, entry = self._move.at(now - self._began)
            settings = self.settings
            self._move = plan(
                start,
                entry,
                value,
                kind=settings.profile,
                velocity=settings.velocity,
                acceleration=settings.acceleration,
                limit=JOINT_VELOCITY,
            )
            self._began = now

    def hold(self) -> None:
        """Make the present position the target: what torque on and a change of mode do."""
        self._move = Trapezoid(self.position, 0.0, self.position, 0.0, 0.0)
        self._began, self._command = float(self._data.time), 0.0

    def step(self) -> None:
        """Set the control of the next physics step."""
        data, settings = self._data, self.settings
        on = self.torque and not self.error
        if on and settings.mode == "velocity":
            speed = max(-JOINT_VELOCITY, min(JOINT_VELOCITY, self._command))
            goal = self._move.goal + speed * self._model.opt.timestep
            goal = max(self._range[0], min(self._range[1], goal))
            self._move = Trapezoid(goal, 0.0, goal, 0.0, 0.0)
        servoing = on and settings.mode not in ("pwm", "current")
        stiffness = settings.p_gain / DEFAULT_P_GAIN if servoing else 0.0
        if stiffness != self._stiffness:
            self._stiffness = stiffness
            self._model.actuator_gainprm[self._actuator] = self._gain * stiffness
            self._model.actuator_biasprm[self._actuator] = self._bias * stiffness
        data.ctrl[self._actuator] = self._move.at(data.time - self._began)[0]
        # The model holds the arm's weight for us, as the integral part of a servo does. Without it the arm falls.
        applied = 0.0 if servoing else -float(data.qfrc_gravcomp[self._dof])
        if on and settings.mode == "pwm":
            applied += max(-1.0, min(1.0, self._command / PWM_MAX)) * STALL_NM * self._motors
        if on and settings.mode == "current":
            applied += max(-1.0, min(1.0, self._command / STALL_MA)) * STALL_NM * self._motors
        data.qfrc_applied[self._dof] = applied

    def _torque_now(self) -> float:
        data = self._data
        if not self.torque or self.error:
            return 0.0
        gravity = float(data.qfrc_gravcomp[self._dof])
        return float(data.actuator_force[self._actuator]) + gravity + data.qfrc_applied[self._dof]


class GripperServo:
    """The gripper's servo: its horn pushes both fingers, which the model couples."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, *, mode: str) -> None:
        self._data = data
        joint = model.joint("left_finger")
        self._q, self._dof = joint.qposadr[0], joint.dofadr[0]
        self._actuator = model.actuator("gripper").id
        # From a spring to a force, less what turning the motor costs: without load PWM sets a speed.
        model.actuator_ctrllimited[self._actuator] = 0
        model.actuator_gainprm[self._actuator] = 0.0
        model.actuator_gainprm[self._actuator, 0] = 1.0
        model.actuator_biasprm[self._actuator] = 0.0
        model.actuator_biasprm[self._actuator, 2] = -FINGER_STALL_N / FINGER_FREE_M_S
        self.settings = Settings(mode)
        self.torque, self.error = True, 0
        self._command = 0.0
        self._goal = self.finger

    @property
    def finger(self) -> float:
        """Distance from the centre to the left finger [m]."""
        return float(self._data.qpos[self._q])

    @property
    def position(self) -> float:
        """Angle of the servo [rad]."""
        return angle_from_finger(self.finger)

    @property
    def velocity(self) -> float:
        """Speed of the servo [rad/s]."""
        return float(self._data.qvel[self._dof]) / finger_speed(self.position, 1.0)

    @property
    def effort(self) -> float:
        """Current of the motor [mA]."""
        on = self.torque and not self.error
        return (
            float(self._data.actuator_force[self._actuator]) / FINGER_STALL_N * STALL_MA
            if on
            else 0.0
        )

    def command(self, value: float) -> None:
        """Take a command in the unit of the mode: PWM, [mA], angle [rad], or [m] between the fingers."""
        if value != value:  # NaN is not a register value
            return
        self._command = value
        mode = self.settings.mode
        if mode in POSITION_MODES:
            finger = value / 2.0 if mode == "linear_position" else finger_from_angle(value)
            if FINGER_CLOSED_M - FINGER_SLACK_M <= finger <= FINGER_OPEN_M + FINGER_SLACK_M:
                self._goal = min(FINGER_OPEN_M, max(FINGER_CLOSED_M, finger))

    def hold(self) -> None:
        """Stop pushing, and make the present opening the target of the position modes."""
        self._command, self._goal = 0.0, self.finger

    def step(self) -> None:
        """Set the control of the next physics step."""
        force = 0.0
        if self.torque and not self.error:
            mode = self.settings.mode
            if mode in POSITION_MODES:
                speed = float(self._data.qvel[self._dof])
                force = FINGER_STIFFNESS * (self._goal - self.finger) - FINGER_DAMPING * speed
                if mode == "current_based_position":
                    most = self.settings.current * CURRENT_UNIT_MA / STALL_MA * FINGER_STALL_N
                    force = max(-most, min(most, force))
                # A current is held against the speed: the voltage makes up for what the model takes off.
                force += FINGER_STALL_N / FINGER_FREE_M_S * speed
            elif mode == "pwm":
                force = self._command / PWM_MAX * FINGER_STALL_N
            elif mode == "current":
                force = self._command / STALL_MA * FINGER_STALL_N
        self._data.ctrl[self._actuator] = max(-FINGER_STALL_N, min(FINGER_STALL_N, force))
