"""The gripper of the toolbox's API: push with a pressure until the fingers meet something."""

import threading

from robots.conventions import FINGER_CLOSED_M, FINGER_OPEN_M
from robots.ros.toolbox.core import InterbotixRobotXSCore

PWM_LOW, PWM_HIGH = 150, 350
"""PWM at pressure 0 and 1, the vendor's; the servo takes 885, but heats beyond 350."""
PERIOD_S = 0.02
MARGIN_M = 0.0005
"""So near its limit the gripper stops pushing: to push on against a stop only heats the servo."""


def pwm_from_pressure(
    pressure: float, low: float = float(PWM_LOW), high: float = float(PWM_HIGH)
) -> float:
    """Magnitude of the gripper's PWM for a pressure in 0..1; plus opens, minus closes."""
    return low + min(1.0, max(0.0, pressure)) * (high - low)


def at_limit(effort: float, finger_m: float) -> bool:
    """Whether pushing with PWM `effort` leads nowhere for a finger at `finger_m` [m]."""
    if effort > 0.0:
        return finger_m >= FINGER_OPEN_M - MARGIN_M
    return effort < 0.0 and finger_m <= FINGER_CLOSED_M + MARGIN_M


class InterbotixGripperXSInterface:
    """Opens and closes by PWM; the vendor's `.gripper`.

    Args:
        core: The connection.
        gripper_name: "gripper".
        gripper_pressure: 0..1.
        gripper_pressure_lower_limit: PWM at pressure 0.
        gripper_pressure_upper_limit: PWM at pressure 1; the servo heats beyond 350.
    """

    def __init__(
        self,
        core: InterbotixRobotXSCore,
        gripper_name: str = "gripper",
        gripper_pressure: float = 0.5,
        gripper_pressure_lower_limit: float = float(PWM_LOW),
        gripper_pressure_upper_limit: float = float(PWM_HIGH),
    ) -> None:
        self.core, self.gripper_name = core, gripper_name
        self._limits = (gripper_pressure_lower_limit, gripper_pressure_upper_limit)
        self._lock = threading.Lock()
        self._command = 0.0
        self._ready = False
        self.set_pressure(gripper_pressure)
        self._timer = core.get_node().create_timer(PERIOD_S, self._watch)

    @property
    def gripper_moving(self) -> bool:
        """Whether it still pushes: on its way, or holding something."""
        return self._command != 0.0

    def set_pressure(self, pressure: float) -> None:
        """How hard the next `grasp` or `release` pushes, 0..1."""
        self.gripper_value = pwm_from_pressure(pressure, *self._limits)

    def release(self, delay: float = 1.0) -> None:
        """Open; returns after `delay` [s]."""
        self.gripper_controller(self.gripper_value, delay)

    def grasp(self, delay: float = 1.0) -> None:
        """Close, and keep pushing on what is held; returns after `delay` [s]."""
        self.gripper_controller(-self.gripper_value, delay)

    def gripper_controller(self, effort: float, delay: float) -> None:
        """Push with PWM `effort`, plus to open, for `delay` [s] and on until a limit."""
        self._prepare()
        if not at_limit(effort, self.get_finger_position()):
            self._push(effort)
            self.core.sleep(delay)

    def get_finger_position(self) -> float:
        """Distance from the centre to the left finger [m]."""
        return self.core.robot_get_single_joint_state("left_finger")["position"]

    def get_gripper_position(self) -> float:
        """Angle of the gripper's servo [rad]."""
        return self.core.robot_get_single_joint_state(self.gripper_name)["position"]

    def get_gripper_velocity(self) -> float:
        """Speed of the gripper's servo [rad/s]."""
        return self.core.robot_get_single_joint_state(self.gripper_name)["velocity"]

    def get_gripper_effort(self) -> float:
        """Current of the gripper's servo [mA]."""
        return self.core.robot_get_single_joint_state(self.gripper_name)["effort"]

    def _prepare(self) -> None:
        """Put the gripper into PWM mode at its first use; only the gripper loses its torque for a moment."""
        if self._ready:
            return
        if self.core.robot_get_robot_info("single", self.gripper_name).mode != "pwm":
            self.core.robot_set_operating_modes("single", self.gripper_name, "pwm")
        self._ready = True

    def _push(self, effort: float) -> None:
        with self._lock:
            self._command = effort
            self.core.robot_write_joint_command(self.gripper_name, effort)

    def _watch(self) -> None:
        states = self.core.client.newest
        if self._command == 0.0 or states is None:
            return
        if at_limit(self._command, states.position[list(states.name).index("left_finger")]):
            self._push(0.0)
