"""An XS driver in memory with a clock of its own: seconds of motion take milliseconds of test."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from robots.conventions import ARM_JOINTS, FINGER_CLOSED_M, FINGER_OPEN_M, JOINT_LOWER, JOINT_UPPER
from robots.errors import ArmUnavailable
from robots.xs.arm import XsArm
from robots.xs.feeds import JointMessage
from robots.xs.gripper_linkage import angle_from_finger, finger_from_angle
from robots.xs.images import RawImage
from robots.xs.interface import (
    CURRENT_UNIT_MA,
    GRIPPER,
    GRIPPER_MODE,
    MOTORS,
    SERVOS,
    SHADOWS,
    SLEEP_JOINTS,
    STATE_JOINTS,
)
from robots.xs.link import Peers, RobotFacts
from robots.xs.operator import Operator

STEP_S = 0.01
FINGER_M_S = 0.05
"""Speed of a finger."""
DATE_S = 1e9


def picture(height: int, width: int) -> np.ndarray:
    """What the camera sees: a brown table with a green thing to its left, `(H, W, 3)` uint8."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[...] = (40, 60, 90)
    frame[height // 2 :] = (160, 120, 60)
    frame[2 * height // 3 : 5 * height // 6, width // 8 : width // 4] = (40, 200, 40)
    return frame


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
        self.speed_rad_s = 3.0
        self.bus_errors = 0
        """So many joint states from now on are those of a read on the bus that failed."""
        self.effort_ma = np.zeros(9)
        self.limp: int | None = None
        self.gripper_limp = False
        self.obstacle_m = 0.0
        self.ticks_on = True
        self.camera_every = 3
        """Steps of `STEP_S` between two images."""
        self.picture = "table"
        self.drop_commands = False
        self.arm_facts = RobotFacts("position", "time", ARM_JOINTS, JOINT_LOWER, JOINT_UPPER)
        self.gripper_mode = GRIPPER_MODE
        self.modes_stick = False
        self.errors = dict.fromkeys(SERVOS, 0)
        self.torques = dict.fromkeys(SERVOS, 1)
        self.registers_now = {name: {} for name in SERVOS}
        self.silent: dict[str, int] = {}
        """Servos that do not answer the next so many reads."""
        self.writes_lost = False
        self.position = SLEEP_JOINTS.copy()
        self.finger_m = FINGER_CLOSED_M

        self.log: list[tuple[Any, ...]] = []
        self.set_points: list[tuple[float, np.ndarray]] = []
        self.gripper_angles: list[float] = []
        self.closed = 0
        self.on_time: list[tuple[float, Callable[[], None]]] = []
        self._goal = self.position.copy()
        self._time, self._velocity = 0.0, np.zeros(6)
        self._finger_goal_m = self.finger_m
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

    def monotonic(self) -> float:
        return self._time

    def sleep(self, duration_s: float) -> None:
        self.run(duration_s)

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        self.wait(threading.Event(), self._time + duration_s)

    def put(self, joints: np.ndarray) -> None:
        """The arm is somewhere, and holds there."""
        self.position, self._goal = joints.copy(), joints.copy()

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
            raise ArmUnavailable("There is no XS driver.")

    def peers(self) -> Peers:
        return self.peers_now

    def send_arm(self, joints: np.ndarray) -> None:
        self.set_points.append((self._time, joints.copy()))
        if not self.drop_commands:
            self._goal = joints.copy()

    def send_gripper(self, angle: float) -> None:
        self.gripper_angles.append(angle)
        self._finger_goal_m = finger_from_angle(angle)

    def facts(self, kind: str, name: str) -> RobotFacts:
        if kind == "group":
            return self.arm_facts
        # The vendor's driver names the left finger here.
        return RobotFacts(self.gripper_mode, "time", ("left_finger",), np.zeros(1), np.ones(1))

    def registers(self, kind: str, name: str, register: str) -> list[int]:
        values: list[int] = []
        for servo in self._servos(kind, name):
            if (
                self.silent.get(servo, 0) > 0
            ):  # the vendor's driver stops here, and returns what it has
                self.silent[servo] -= 1
                return values
            values.append(self._register(servo, register))
        return values

    def set_register(self, kind: str, name: str, register: str, value: int) -> None:
        self.log.append(("register", name, register, value))
        if not self.writes_lost:
            for servo in self._servos(kind, name):
                self.registers_now[servo][register] = value

    def set_mode(self, kind: str, name: str, mode: str) -> None:
        self.log.append(("mode", kind, name, mode))
        if self.modes_stick:
            return
        if name == GRIPPER:
            self.gripper_mode = mode
        else:
            self.arm_facts = replace(self.arm_facts, mode=mode, profile="time")

    def torque(self, kind: str, name: str, *, enable: bool) -> None:
        self.log.append(("torque", name, enable, self.position.round(2).tolist()))
        for servo in self._servos(kind, name):
            self.torques[servo] = int(enable and not self.errors[servo])
        self._goal = self.position.copy()

    def reboot(self, name: str) -> None:
        self.log.append(("reboot", name))
        # As the vendor's driver.
        self.errors[name], self.torques[name] = 0, int(name not in SHADOWS)
        self.registers_now[name] = {}
        if name == GRIPPER:
            self.gripper_limp = False
        elif name in ARM_JOINTS and self.limp == ARM_JOINTS.index(name):
            self.limp = None
        self._goal = self.position.copy()

    def _servos(self, kind: str, name: str) -> tuple[str, ...]:
        return ({"arm": ARM_JOINTS, "all": MOTORS}[name]) if kind == "group" else (name,)

    def _register(self, servo: str, register: str) -> int:
        if register == "Hardware_Error_Status":
            return self.errors[servo]
        if register == "Torque_Enable":
            return self.torques[servo]
        return self.registers_now[servo].get(register, 0)

    def close(self) -> None:
        self.closed += 1

    # --- physics ------------------------------------------------------------------------------------

    _moved_at = 0.0
    _gripper_ma = 0.0

    def _step(self, dt: float) -> None:
        self._time += dt
        self._steps += 1
        for item in [i for i in self.on_time if i[0] <= self._time + 1e-9]:
            self.on_time.remove(item)
            item[1]()
        if self.alive:
            self._simulate(dt)
            self._publish()
        if self.ticks_on and self._steps % 2 == 0:
            self._on_tick()

    def _simulate(self, dt: float) -> None:
        step = self.speed_rad_s * dt
        way = np.clip(self._goal - self.position, -step, step)
        if self.limp is not None:
            way[self.limp] = 0.5 * dt  # falls
        if not all(self.torques[joint] for joint in ARM_JOINTS):
            way[:] = 0.0
        self._velocity = way / dt
        self.position = np.clip(self.position + way, JOINT_LOWER, JOINT_UPPER)
        if np.abs(way).max() > 1e-6:
            self._moved_at = self._time
        error = self._finger_goal_m - self.finger_m
        step = float(np.clip(error, -FINGER_M_S * dt, FINGER_M_S * dt))
        low = max(FINGER_CLOSED_M, self.obstacle_m)
        limp = self.gripper_limp or not self.torques[GRIPPER]
        before = self.finger_m
        if not limp:
            self.finger_m = float(np.clip(self.finger_m + step, low, FINGER_OPEN_M))
        blocked = not limp and abs(self.finger_m - before) < 0.5 * abs(step)
        current = self.registers_now[GRIPPER].get("Goal_Current", 0) * CURRENT_UNIT_MA
        self._gripper_ma = float(np.sign(error)) * current if blocked and abs(error) > 1e-4 else 0.0

    def _publish(self) -> None:
        stamp = self.date() + self.clock_offset_s
        angle = angle_from_finger(self.finger_m)
        position = np.array([*self.position, angle, self.finger_m, -self.finger_m])
        if self.nan_joint is not None:
            position[self.nan_joint] = np.nan
        if self.swap is not None:
            a, b = self.swap
            position[[a, b]] = position[[b, a]]
        velocity = np.array([*self._velocity, 0.0, 0.0, 0.0])
        effort = self.effort_ma.copy()
        effort[len(ARM_JOINTS)] = self._gripper_ma
        if self.bus_errors > 0:
            self.bus_errors -= 1
            position, velocity, effort = np.full(9, -np.pi), np.zeros(9), np.zeros(9)
        message = JointMessage(self.names, position, velocity, effort, stamp)
        self._late.append((self._time + self.states_late_s, message))
        while self._late and self._late[0][0] <= self._time + 1e-9:
            self._on_joints(self._late.pop(0)[1])
        if self.camera_on and self._steps % self.camera_every == 0:
            self._on_image(self._draw(stamp - self.images_late_s))

    def _draw(self, stamp: float) -> RawImage:
        if self.camera_repeats and self._image is not None:
            last = self._image
            return RawImage(last.data, stamp, last.encoding, last.height, last.width, last.step)
        height, width = self.size
        frame = picture(height, width)
        frame[: height // 4, : width // 4, 0] = int(255 * (self.position[0] % 1.0))
        frame[: height // 4, width // 4 : width // 2, 1] = self._steps % 256
        if self.picture == "upside down":
            frame = frame[::-1, ::-1].copy()
        elif self.picture == "red and blue swapped":
            frame = frame[:, :, ::-1].copy()
        elif self.picture == "red card":
            frame[height // 4 : height // 2, width // 4 : 3 * width // 4] = (210, 30, 30)
        elif self.picture == "black with noise":
            frame = np.random.default_rng(self._steps).integers(0, 8, frame.shape).astype(np.uint8)
        elif self.picture == "covered":
            noise = np.random.default_rng(self._steps).integers(-3, 4, frame.shape)
            frame = (120 + noise).astype(np.uint8)
        self._image = RawImage(frame.tobytes(), stamp, self.encoding, height, width, width * 3)
        return self._image


class FakePerson:
    """The keyboard of the person beside an arm: presses what a test says, and answers questions.

    Args:
        driver: Of the arm.
        takes_s: How long an answer takes.

    Attributes:
        keys: Pressed, and not read yet.
        answers: To the next questions.
        answer: To every other question: a text, or a function of the question.
        questions: All that were asked.
        places: Joints `(6,)` [rad] of the arm when each was answered.
        sent: Set-points that had been sent by then.
    """

    def __init__(self, driver: FakeDriver, takes_s: float = 0.0) -> None:
        self._driver, self._takes_s = driver, takes_s
        self.keys = ""
        self.answers: list[str] = []
        self.answer: str | Callable[[str], str] = ""
        self.questions: list[str] = []
        self.places: list[np.ndarray] = []
        self.sent: list[int] = []

    def pressed(self) -> str:
        keys, self.keys = self.keys, ""
        return keys

    def ask(self, question: str) -> str:
        self._driver.run(self._takes_s)
        self.questions.append(question)
        self.places.append(self._driver.position.copy())
        self.sent.append(len(self._driver.set_points))
        if self.answers:
            return self.answers.pop(0)
        return self.answer if isinstance(self.answer, str) else self.answer(question)

    def press(self, keys: str) -> None:
        self.keys = keys


def real_arm(takes_s: float = 0.0) -> tuple[XsArm, Operator, FakePerson, FakeDriver]:
    """A real arm with a person beside it."""
    driver = FakeDriver()
    driver.peers_now = Peers(drivers=1, others=0, simulated=False)
    person = FakePerson(driver, takes_s)
    operator = Operator(person)
    arm = XsArm(driver, image_size=(48, 64), timer=driver, watched=True, operator=operator)
    return arm, operator, person, driver
