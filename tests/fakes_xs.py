"""An XS driver in memory with a clock of its own: seconds of motion take milliseconds of test."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from robots.conventions import ARM_JOINTS, FINGER_CLOSED_M, FINGER_OPEN_M, JOINT_LOWER, JOINT_UPPER
from robots.errors import ArmUnavailable
from robots.xs.feeds import JointMessage
from robots.xs.images import RawImage
from robots.xs.interface import SLEEP_JOINTS, STATE_JOINTS
from robots.xs.link import Peers, RobotFacts

STEP_S = 0.01
FINGER_M_S = 0.05
"""Speed of a finger at full PWM."""
DATE_S = 1e9


class FakeDriver:
    """Is the link to a driver, the driver, the camera and the clock, all in one thread.

    Attributes that a test may change at any time stand in the first lines of `__init__`.
    """

    def __init__(self) -> None:
        self.peers_now = Peers(drivers=1, others=0, simulated=True)
        self.alive = True
        self.states_late_s = 0.0
        self.images_late_s = 0.0
        self.clock_offset_s = 0.0
        self.camera_on = True
        self.camera_repeats = False
        self.encoding = "rgb8"
        self.size = (48, 64)
        self.names: tuple[str, ...] = STATE_JOINTS
        self.swap: tuple[int, int] | None = None
        self.nan_joint: int | None = None
        self.effort_ma = np.zeros(9)
        self.limp: int | None = None
        self.obstacle_m = 0.0
        self.drop_commands = False
        self.arm_facts = RobotFacts("position", "time", ARM_JOINTS, JOINT_LOWER, JOINT_UPPER)
        self.gripper_mode = "pwm"
        self.errors = [0] * 6
        self.torques = [1] * 6
        self.position = SLEEP_JOINTS.copy()
        self.finger_m = FINGER_CLOSED_M

        self.log: list[tuple[Any, ...]] = []
        self.set_points: list[tuple[float, np.ndarray]] = []
        self.pwms: list[float] = []
        self.closed = 0
        self.on_time: list[tuple[float, Callable[[], None]]] = []
        self._goal = self.position.copy()
        self._time, self._velocity, self._pwm = 0.0, np.zeros(6), 0.0
        self._steps = 0
        self._late: list[tuple[float, JointMessage]] = []
        self._image: RawImage | None = None

    # --- the clock ----------------------------------------------------------------------------------

    def now(self) -> float:
        return self._time

    def date(self) -> float:
        return DATE_S + self._time

    def wait(self, event: threading.Event, until: float) -> bool:
        while self._time < until - 1e-9 and not event.is_set():
            self._step(min(STEP_S, until - self._time))
        return event.is_set()

    def stand_still(self) -> None:
        """Time goes on in `wait` and `run` only, anyway."""

    def go_on(self) -> None:
        """See `stand_still`."""

    def real(self) -> float:
        return self._time

    def pause(self, duration_s: float) -> None:
        self.run(duration_s)

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        self.wait(threading.Event(), self._time + duration_s)

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after some time."""
        self.on_time.append((self._time + delay_s, action))

    @property
    def last_motion_s(self) -> float:
        """When the arm moved last."""
        return self._moved_at

    # --- the link -----------------------------------------------------------------------------------

    def listen(
        self,
        on_joints: Callable[[JointMessage], None],
        on_image: Callable[[RawImage], None],
        on_tick: Callable[[], None],
    ) -> None:
        self._on_joints, self._on_image, self._on_tick = on_joints, on_image, on_tick

    def open(self, timeout_s: float) -> None:
        if not self.alive:
            self.run(timeout_s)
        if not self.alive:
            raise ArmUnavailable("Expected an XS driver, got none.")

    def peers(self) -> Peers:
        return self.peers_now

    def send_arm(self, joints: np.ndarray) -> None:
        self.set_points.append((self._time, joints.copy()))
        if not self.drop_commands:
            self._goal = joints.copy()

    def send_gripper(self, pwm: float) -> None:
        self.pwms.append(pwm)
        self._pwm = pwm

    def facts(self, kind: str, name: str) -> RobotFacts:
        if kind == "group":
            return self.arm_facts
        return RobotFacts(self.gripper_mode, "time", (name,), np.zeros(1), np.ones(1))

    def registers(self, register: str) -> list[int]:
        return {"Hardware_Error_Status": self.errors, "Torque_Enable": self.torques}[register]

    def set_register(self, register: str, value: int) -> None:
        self.log.append(("register", register, value))

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        self.log.append(("mode", kind, name, mode))

    def torque(self, *, enable: bool) -> None:
        self.log.append(("torque", enable, self.position.round(2).tolist()))
        self.torques = [int(enable)] * 6
        self._goal = self.position.copy()

    def reboot_failed(self) -> None:
        self.log.append(("reboot", list(self.errors)))
        self.torques = [1] * 6
        self.errors, self.limp = [0] * 6, None
        self._goal = self.position.copy()

    def close(self) -> None:
        self.closed += 1

    # --- physics ------------------------------------------------------------------------------------

    _moved_at = 0.0

    def _step(self, dt: float) -> None:
        self._time += dt
        self._steps += 1
        for item in [i for i in self.on_time if i[0] <= self._time + 1e-9]:
            self.on_time.remove(item)
            item[1]()
        if self.alive:
            self._simulate(dt)
            self._publish()
        if self._steps % 2 == 0:
            self._on_tick()

    def _simulate(self, dt: float) -> None:
        way = np.clip(self._goal - self.position, -3.0 * dt, 3.0 * dt)
        if self.limp is not None:
            way[self.limp] = 0.5 * dt  # falls
        if not all(self.torques):
            way[:] = 0.0
        self._velocity = way / dt
        self.position = np.clip(self.position + way, JOINT_LOWER, JOINT_UPPER)
        if np.abs(way).max() > 1e-6:
            self._moved_at = self._time
        speed = self._pwm / 350.0 * FINGER_M_S
        low = max(FINGER_CLOSED_M, self.obstacle_m)
        self.finger_m = float(np.clip(self.finger_m + speed * dt, low, FINGER_OPEN_M))

    def _publish(self) -> None:
        stamp = self.date() + self.clock_offset_s
        position = np.array([*self.position, 0.0, self.finger_m, -self.finger_m])
        if self.nan_joint is not None:
            position[self.nan_joint] = np.nan
        if self.swap is not None:
            a, b = self.swap
            position[[a, b]] = position[[b, a]]
        velocity = np.array([*self._velocity, 0.0, 0.0, 0.0])
        message = JointMessage(self.names, position, velocity, self.effort_ma.copy(), stamp)
        self._late.append((self._time + self.states_late_s, message))
        while self._late and self._late[0][0] <= self._time + 1e-9:
            self._on_joints(self._late.pop(0)[1])
        if self.camera_on and self._steps % 3 == 0:
            self._on_image(self._shoot(stamp - self.images_late_s))

    def _shoot(self, stamp: float) -> RawImage:
        if self.camera_repeats and self._image is not None:
            last = self._image
            return RawImage(last.data, stamp, last.encoding, last.height, last.width, last.step)
        height, width = self.size
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 0] = int(255 * (self.position[0] % 1.0))
        frame[..., 1] = self._steps % 256
        self._image = RawImage(frame.tobytes(), stamp, self.encoding, height, width, width * 3)
        return self._image
