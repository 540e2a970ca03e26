"""What arrives from a driver and a camera, checked and dated; no ROS in here.

A message has two dates: its stamp, by the driver's clock, and when it was received, by ours. A message that
comes late but regularly is caught by its stamp, a silent driver by the reception, and a clock that jumps makes the
two contradict one another. The clocks of two computers therefore have to agree; chrony does that.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from robots import safety
from robots.conventions import ARM_JOINTS, CONTROL_HZ, JOINT_VELOCITY
from robots.errors import ArmFault, CameraError
from robots.xs.images import RawImage, check_shows_something, fit_4_3, to_rgb
from robots.xs.interface import GRIPPER

MAX_CLOCK_DIFFERENCE_S = 2.0
"""A message that seems older than this did not take so long: a clock is wrong."""
FUTURE_S = 0.05
EFFORT_MESSAGES = 10
"""The effort is the median of as many messages, a tenth of a second, because starts have peaks."""
FASTEST_RAD_S = 2.0 * JOINT_VELOCITY
"""A joint that seems to move faster was misread."""
JUMP_SLACK_RAD = 0.1
FROZEN_RAD = 0.05
"""How far the arm can move in front of a camera that works before its image changes."""
RATE_WINDOW, MAX_REPEATS = 10, 2
"""Steps in a row that are looked at, and how many of them may show the image of the step before."""


@dataclass(frozen=True, eq=False)
class JointMessage:
    """A `joint_states` message: fields as they came, and its stamp [s] by the driver's clock."""

    names: tuple[str, ...]
    positions: np.ndarray
    velocities: np.ndarray
    efforts: np.ndarray
    stamp_s: float


@dataclass(frozen=True, eq=False)
class Joints:
    """The newest joint state.

    Attributes:
        arm: `(6,)` [rad].
        speed: `(6,)` [rad/s].
        effort_ma: `(6,)` [mA], median over a tenth of a second.
        finger_m: From the centre to the left finger [m].
        gripper_ma: Current of the gripper's servo [mA], median over a tenth of a second.
        taken_s: When the joints were like that, by our monotonic clock.
    """

    arm: np.ndarray
    speed: np.ndarray
    effort_ma: np.ndarray
    finger_m: float
    gripper_ma: float
    taken_s: float


def taken_at(what: str, stamp_s: float, now: float, wall: float) -> float:
    """When a message was made, by our monotonic clock.

    Args:
        what: Name for the error.
        stamp_s: Its stamp [s].
        now: Our monotonic clock [s].
        wall: Our date [s].

    Raises:
        ArmFault: The clocks contradict one another.
    """
    delay = wall - stamp_s
    if not -FUTURE_S <= delay <= MAX_CLOCK_DIFFERENCE_S:
        raise ArmFault(
            f"By their stamp the {what} are {delay:.2f} s old. "
            "A clock jumped, or the clocks of robot and computer differ: synchronise them (chrony)."
        )
    return now - max(0.0, delay)


class JointFeed:
    """Takes joint states, 100 in a second, and remembers the newest good one."""

    def __init__(self) -> None:
        self.newest: Joints | None = None
        self.received = 0
        self.rejected = 0
        """Messages that could not be trusted."""
        self._efforts: deque[np.ndarray] = deque(maxlen=EFFORT_MESSAGES)

    def take(self, message: JointMessage, now: float, wall: float) -> None:
        """Check a message and make it the newest.

        Raises:
            ArmFault: It cannot be trusted; the newest stays what it was.
        """
        self.received += 1
        try:
            self._take(message, now, wall)
        except ArmFault:
            self.rejected += 1
            raise

    def age_s(self, now: float) -> float:
        """Age of the newest good joint state; infinite before the first."""
        return float("inf") if self.newest is None else now - self.newest.taken_s

    def forget(self) -> None:
        """Start anew, after a fault."""
        self.newest = None
        self._efforts.clear()

    def _take(self, message: JointMessage, now: float, wall: float) -> None:
        arm, names = len(ARM_JOINTS), message.names
        if names[:arm] != ARM_JOINTS or not {"left_finger", GRIPPER} <= set(names):
            raise ArmFault(
                f"The joint states have the joints {', '.join(names) or 'none'}, those of a wx250s "
                f"{', '.join(ARM_JOINTS)}, {GRIPPER} and left_finger, in this order. Launch its driver."
            )
        count = len(names)
        for name in ("positions", "velocities", "efforts"):
            if len(getattr(message, name)) != count:
                raise ArmFault(
                    f"A joint state of {count} joints needs as many {name}, got {len(getattr(message, name))}."
                )
        finger, gripper = names.index("left_finger"), names.index(GRIPPER)
        joints, finger_m = message.positions[:arm], float(message.positions[finger])
        if not np.isfinite([*joints, finger_m]).all():
            raise ArmFault(f"Joint positions must be finite, got {message.positions}.")
        safety.check_joints_possible(joints)
        taken_s = taken_at("joint states", message.stamp_s, now, wall)
        self._check_speed(joints, taken_s)
        self._efforts.append(message.efforts[[*range(arm), gripper]])
        effort_ma = np.median(self._efforts, axis=0)
        self.newest = Joints(
            joints,
            message.velocities[:arm],
            effort_ma[:arm],
            finger_m,
            float(effort_ma[arm]),
            taken_s,
        )

    def _check_speed(self, joints: np.ndarray, taken_s: float) -> None:
        if self.newest is None:
            return
        elapsed = taken_s - self.newest.taken_s
        moved = np.abs(joints - self.newest.arm)
        if (moved > FASTEST_RAD_S * max(elapsed, 0.0) + JUMP_SLACK_RAD).any():
            worst = int(np.argmax(moved))
            raise ArmFault(
                f"{ARM_JOINTS[worst]} seems to have moved {moved[worst]:.2f} rad within {elapsed:.3f} s. "
                "It was misread, or the joints are in another order."
            )


class ImageFeed:
    """Takes images, 30 in a second, keeps the newest and decodes it only when it is wanted."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._newest: tuple[RawImage, float] | None = None
        self.received = 0
        self.forget()

    def take(self, image: RawImage, now: float, wall: float) -> None:
        """Make an image the newest.

        Raises:
            ArmFault: Its date cannot be true.
        """
        self.received += 1
        self._newest = (image, taken_at("images", image.stamp_s, now, wall))

    def age_s(self, now: float) -> float:
        """Age of the newest image; infinite before the first."""
        return float("inf") if self._newest is None else now - self._newest[1]

    def forget(self) -> None:
        """Start anew, after a fault."""
        self._newest, self._shown = None, None
        self._raw_size: tuple[int, ...] | None = None
        self._shown_at = np.zeros(len(ARM_JOINTS))
        self._changed_s = 0.0
        self._used: tuple[float, float] | None = None  # when an image was used last, and its date
        self._repeats: deque[bool] = deque(maxlen=RATE_WINDOW)

    def rgb(self) -> np.ndarray:
        """The newest image, `(H, W, 3)` uint8 RGB of the wanted size.

        Raises:
            CameraError: There is none, it cannot be read, shows nothing, or has another size than those before.
        """
        if self._newest is None:
            raise CameraError("There is no image yet. Is the camera's node up?")
        rgb = to_rgb(self._newest[0])
        size, before = rgb.shape[:2], self._raw_size or rgb.shape[:2]
        if size != before:
            raise CameraError(
                f"The camera's images have changed from {before[1]}x{before[0]} to {size[1]}x{size[0]}. "
                "See whether somebody else has configured its node."
            )
        self._raw_size = size
        image = fit_4_3(rgb, self._size)
        check_shows_something(image)
        return image

    def check_changes(
        self, image: np.ndarray, joints: np.ndarray, now: float, limit_s: float
    ) -> None:
        """Check that an image that is used at `now` [s] is new enough.

        A driver can repeat its last image for ever with fresh stamps; sensors have noise.

        Raises:
            ArmFault: It stays bit-exact although the arm moves, or the camera is slower than the control rate.
        """
        self._check_rate(now)
        if self._shown is None or not np.array_equal(image, self._shown):
            self._shown, self._shown_at, self._changed_s = image, joints, now
            return
        if np.abs(joints - self._shown_at).max() > FROZEN_RAD and now - self._changed_s > limit_s:
            raise ArmFault(
                f"The camera has shown the same image for {now - self._changed_s:.1f} s although the arm "
                "moves. It is frozen; restart its node."
            )

    def _check_rate(self, now: float) -> None:
        assert self._newest is not None
        taken_s = self._newest[1]
        if self._used is not None:
            if now - self._used[0] < 0.5 / CONTROL_HZ:
                return  # the same step looks twice
            self._repeats.append(taken_s <= self._used[1])
        self._used = (now, taken_s)
        if sum(self._repeats) > MAX_REPEATS:
            raise ArmFault(
                f"The camera is too slow: {sum(self._repeats)} of the last {len(self._repeats)} steps had no "
                f"new image. It needs more than {CONTROL_HZ:g} images a second; see its exposure and its bus."
            )
