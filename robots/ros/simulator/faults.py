"""Faults that the simulated driver makes on request, so that the safety of a client can be tested.

A fault is one JSON object, sent to `/simulation/fault`, for example
`{"kind": "late_joint_states", "delay_s": 0.3, "after_s": 1.0, "for_s": 2.0}`.
"""

import json
import math
from dataclasses import dataclass, fields

import numpy as np

from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.xs.interface import OVERLOAD, SERVOS

KINDS = {
    "driver_death": "the process ends at once, without a message",
    "frozen_camera": "no new image; with `repeat` the last one again and again, with fresh stamps",
    "late_joint_states": "joint states arrive `delay_s` late",
    "servo_error": "the servo of `joint` reports `bits` and loses its torque until it is rebooted",
    "lost_messages": "each message of `stream` is lost with `probability`",
    "wrong_joint_order": "joint states in another order, names and values alike",
    "nan_joints": "the position of `joint` is NaN",
    "clock_jump": "stamps are `offset_s` off",
    "bus_error": "joint states of -pi rad without effort, as after a read on the bus that failed",
    "short_registers": "the servo of `joint` does not answer when registers are read",
    "late_services": "the driver's services answer `delay_s` late",
    "failed_services": "the driver's services answer with nothing, as the vendor's after an error",
    "slow_camera": "`hz` images a second",
    "image_size": "images of 16x12 pixels",
}

STREAMS = ("commands", "joint_states", "images", "all")


@dataclass(frozen=True)
class Fault:
    """One fault; the fields that its kind does not name are ignored.

    Attributes:
        kind: One of `KINDS`.
        after_s: When it begins, counted from the request.
        for_s: How long it lasts; None until every fault is ended.
        delay_s: Delay of late joint states, or of late answers.
        joint: Whose servo or whose value.
        bits: Value of `Hardware_Error_Status`.
        probability: Probability of losing a message.
        stream: Which messages are lost: "commands", "joint_states", "images" or "all".
        offset_s: Offset of the clock [s].
        hz: Rate of a slow camera.
        repeat: Whether a frozen camera repeats its last image.
    """

    kind: str
    after_s: float = 0.0
    for_s: float | None = None
    delay_s: float = 0.3
    joint: str = "shoulder"
    bits: int = OVERLOAD
    probability: float = 0.5
    stream: str = "all"
    offset_s: float = 3600.0
    repeat: bool = False
    hz: float = 3.0

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("fault", self.kind, KINDS),
            ("stream", self.stream, STREAMS),
            ("joint", self.joint, SERVOS),
        ):
            if name not in known:
                raise UnknownName(kind, str(name), known)
        for name in ("after_s", "for_s", "delay_s", "probability", "offset_s", "hz"):
            value = getattr(self, name)
            if value is None and name == "for_s":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidSetting(f"{name} must be a number, got {value!r}.")
            if not math.isfinite(value) or (value < 0.0 and name != "offset_s"):
                raise InvalidSetting(f"{name} must be finite and >= 0, got {value!r}.")
        if self.probability > 1.0:
            raise InvalidSetting(f"probability must be in 0..1, got {self.probability}.")


def parse_fault(text: str) -> Fault | None:
    """The fault of a JSON text; None for `{}`, which ends every fault.

    Raises:
        InvalidSetting: Not a JSON object, an unknown key, or a value out of range.
        UnknownName: An unknown kind, stream or joint.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidSetting(f"{text!r} is not a JSON object ({error}).") from error
    if not isinstance(values, dict):
        raise InvalidSetting(f"{text!r} is not a JSON object.")
    known = [field.name for field in fields(Fault)]
    for key in values:
        if key not in known:
            raise UnknownName("key of a fault", key, known)
    if not values:
        return None
    if "kind" not in values:
        raise InvalidSetting(f"{text!r} has no 'kind'. Choose one of {', '.join(KINDS)}.")
    return Fault(**values)


class FaultSchedule:
    """Which faults are on at a time; times are whatever clock the caller has [s]."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[tuple[float, Fault]] = []  # when it was asked for
        self._rng = np.random.default_rng(seed)

    def add(self, fault: Fault, now: float) -> None:
        """Schedule a fault from `now` on."""
        self._faults.append((now + fault.after_s, fault))

    def clear(self) -> None:
        """End every fault."""
        self._faults.clear()

    def active(self, kind: str, now: float) -> Fault | None:
        """The newest fault of a kind that is on, or None."""
        for begin, fault in reversed(self._faults):
            end = math.inf if fault.for_s is None else begin + fault.for_s
            if fault.kind == kind and begin <= now < end:
                return fault
        return None

    def loses(self, stream: str, now: float) -> bool:
        """Whether the next message of a stream is lost."""
        fault = self.active("lost_messages", now)
        if fault is None or fault.stream not in (stream, "all"):
            return False
        return bool(self._rng.random() < fault.probability)
