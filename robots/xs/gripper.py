"""The gripper's PWM: a P-controller on the finger's position, and a budget of heat.

In PWM mode the servo pushes with what it is told for as long as it is told, whether it moves or not; that is how
grippers burn. So the controller pushes hard to close, backs off once the fingers stand still on something, and a
budget that fills with the square of the PWM caps whatever is left.
"""

from dataclasses import dataclass

PWM_MAX = 350.0
"""Most that the gripper is ever given; the vendor's own limit."""
PWM_HOLD = 200.0
"""What holds a grasped object; the servo can keep it up."""
PWM_COOL = 150.0
"""All that it gets while it cools: the vendor's lowest pressure."""

GAIN = 300.0 * PWM_MAX
"""PWM per metre of error, as in BridgeData's robot."""
DEAD_BAND_M = 0.0005
STILL_M, STILL_S = 0.0005, 0.4
"""Fingers that move less than the first in the second stand still. Their speed is no measure: the driver always
reports 0 for it."""


@dataclass
class HeatBudget:
    """How long the gripper may push hard, in seconds of full PWM above what it can bear for ever.

    Attributes:
        capacity_s: Where it is cut back to `PWM_COOL`; it recovers at half of that.
        heat_s: How full it is.
        cooling: Whether it is cut back now.
    """

    capacity_s: float = 2.0
    heat_s: float = 0.0
    cooling: bool = False

    def spend(self, pwm: float, dt: float) -> float:
        """The PWM that may be sent for the next `dt` seconds; what is sent is counted."""
        if self.cooling:
            pwm = max(-PWM_COOL, min(PWM_COOL, pwm))
        excess = (pwm / PWM_MAX) ** 2 - (PWM_HOLD / PWM_MAX) ** 2
        self.heat_s = max(0.0, self.heat_s + excess * dt)
        if self.heat_s >= self.capacity_s:
            self.cooling = True
        elif self.heat_s <= self.capacity_s / 2:
            self.cooling = False
        return pwm


class GripperController:
    """Turns where a finger should be into PWM, one call per control tick."""

    def __init__(self, budget: HeatBudget | None = None) -> None:
        self.budget = budget or HeatBudget()
        self._target_m = float("nan")
        self._was_m = float("nan")
        self._still_s = 0.0

    def pwm(self, target_m: float, finger_m: float, dt: float) -> float:
        """PWM, plus opens, for a finger at `finger_m` [m] that should be at `target_m` [m].

        Args:
            target_m: From the centre to one finger.
            finger_m: Where it is.
            dt: Time until the next call [s].
        """
        if target_m != self._target_m or not abs(finger_m - self._was_m) < STILL_M:
            self._target_m, self._was_m, self._still_s = target_m, finger_m, 0.0
        self._still_s += dt
        error = target_m - finger_m
        if abs(error) < DEAD_BAND_M:
            return self.budget.spend(0.0, dt)
        most = PWM_HOLD if self._still_s > STILL_S else PWM_MAX
        return self.budget.spend(max(-most, min(most, GAIN * error)), dt)
