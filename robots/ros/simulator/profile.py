"""How a Dynamixel servo moves its set-point to a new goal: a trapezoid of speed."""

import math
from dataclasses import dataclass

VELOCITY_UNIT = 0.229 * 2.0 * math.pi / 60.0
"""[rad/s] of one unit of `Profile_Velocity` with a velocity profile."""

ACCELERATION_UNIT = 214.577 * 2.0 * math.pi / 3600.0
"""[rad/s^2] of one unit of `Profile_Acceleration` with a velocity profile."""


@dataclass(frozen=True)
class Trapezoid:
    """A move from `start` [rad] with speed `entry` [rad/s] to `goal` [rad] at rest.

    Attributes:
        start: Set-point at time 0.
        entry: Its speed at time 0, carried over from the move that this one replaces.
        goal: Set-point at the end.
        duration: Length of the move [s].
        ramp: Length of speeding up, and of slowing down [s].
    """

    start: float
    entry: float
    goal: float
    duration: float
    ramp: float

    def __post_init__(self) -> None:
        if not 0.0 <= 2.0 * self.ramp <= self.duration + 1e-9:
            raise ValueError(
                f"0 <= 2 * ramp <= duration must hold, got {self.ramp} and {self.duration}."
            )

    @property
    def cruise(self) -> float:
        """Speed between the ramps [rad/s]."""
        if self.duration <= self.ramp:
            return 0.0
        return (self.goal - self.start - 0.5 * self.entry * self.ramp) / (self.duration - self.ramp)

    def at(self, time: float) -> tuple[float, float]:
        """Set-point [rad] and its speed [rad/s], `time` [s] after the start."""
        if time >= self.duration:
            return self.goal, 0.0
        cruise, ramp = self.cruise, self.ramp
        if time < ramp:
            speed = self.entry + (cruise - self.entry) * time / ramp
            return self.start + 0.5 * (self.entry + speed) * time, speed
        left = self.duration - time
        if left < ramp:
            speed = cruise * left / ramp
            return self.goal - 0.5 * speed * left, speed
        return self.start + 0.5 * (self.entry + cruise) * ramp + cruise * (time - ramp), cruise


def plan(
    start: float,
    entry: float,
    goal: float,
    *,
    kind: str,
    velocity: int,
    acceleration: int,
    limit: float,
) -> Trapezoid:
    """The move that a servo makes for a goal.

    Args:
        start: Set-point now [rad].
        entry: Its speed now [rad/s].
        goal: Where to [rad].
        kind: "time": `velocity` is the length of the move and `acceleration` that of a ramp, in [ms].
            "velocity": both are in units of the servo's registers, 0 being no limit.
        velocity: The register `Profile_Velocity`.
        acceleration: The register `Profile_Acceleration`.
        limit: What the servo can do at most [rad/s]; a move that asks for more takes longer.
    """
    distance = abs(goal - start)
    if kind == "time":
        duration = velocity / 1000.0
        ramp = min(acceleration / 1000.0, duration / 2.0)
    else:
        top = min(limit, velocity * VELOCITY_UNIT) if velocity else limit
        ramp = top / (acceleration * ACCELERATION_UNIT) if acceleration else 0.0
        duration = distance / top + ramp
        if duration < 2.0 * ramp:  # never reaches its top speed
            ramp = math.sqrt(distance / (acceleration * ACCELERATION_UNIT))
            duration = 2.0 * ramp
    entry = min(limit, max(-limit, entry)) if ramp > 0.0 else 0.0
    move = Trapezoid(start, entry, goal, duration, ramp)
    if duration <= ramp or abs(move.cruise) > limit:
        signed = math.copysign(limit, goal - start - 0.5 * entry * ramp)
        needed = (goal - start - 0.5 * entry * ramp) / signed + ramp
        move = Trapezoid(start, entry, goal, max(needed, 2.0 * ramp), ramp)
    return move
