"""What arrives from a driver and a camera, checked and dated; no ROS in here.

A message has two dates: its stamp, by the driver's clock, and when it was received, by ours. A message that
comes late but regularly is caught by its stamp, a silent driver by the reception, and a clock that jumps makes the
two contradict one another. The clocks of two computers therefore have to agree; chrony does that.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from robots import safety
from robots.conventions import ARM_JOINTS, JOINT_VELOCITY
from robots.errors import ArmFault, CameraError
from robots.xs.images import RawImage, compressed_to_rgb, fit_4_3, to_rgb

CLOCKS_DIFFER_S = 2.0
"""A message that seems older than this did not take so long: a clock is wrong."""
FUTURE_S = 0.05
EFFORT_MESSAGES = 10
"""The effort is the median of as many messages, a tenth of a second, because starts have peaks."""
FASTEST = 2.0 * JOINT_VELOCITY
"""A joint that seems to move faster [rad/s] was misread."""
JUMP_SLACK_RAD = 0.1
FROZEN_RAD = 0.05
"""How far the arm can move in front of a camera that works before its image changes."""


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
        taken_s: When the joints were like that, by our monotonic clock.
    """

    arm: np.ndarray
    speed: np.ndarray
    effort_ma: np.ndarray
    finger_m: float
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
    if not -FUTURE_S <= delay <= CLOCKS_DIFFER_S:
        raise ArmFault(
            f"Expected {what} stamped with the present time, got one {delay:.2f} s old by its stamp. "
            "A clock jumped, or the clocks of robot and computer differ: synchronise them (chrony)."
        )
    return now - max(0.0, delay)


class JointFeed:
    """Takes joint states, 100 in a second, and remembers the newest good one."""

    def __init__(self) -> None:
        self.newest: Joints | None = None
        self.received = 0
        self._efforts: deque[np.ndarray] = deque(maxlen=EFFORT_MESSAGES)

    def take(self, message: JointMessage, now: float, wall: float) -> None:
        """Check a message and make it the newest.

        Raises:
            ArmFault: It cannot be trusted; the newest stays what it was.
        """
        self.received += 1
        arm = len(ARM_JOINTS)
        if message.names[:arm] != ARM_JOINTS or "left_finger" not in message.names:
            raise ArmFault(
                f"Expected joint states of {', '.join(ARM_JOINTS)} and left_finger, in this order, "
                f"got {', '.join(message.names) or 'none'}. Is this the driver of a wx250s?"
            )
        count = len(message.names)
        for name in ("positions", "velocities", "efforts"):
            if len(getattr(message, name)) != count:
                raise ArmFault(
                    f"Expected {count} {name} in a joint state, got {len(getattr(message, name))}."
                )
        finger = message.names.index("left_finger")
        joints, finger_m = message.positions[:arm], float(message.positions[finger])
        if not np.isfinite([*joints, finger_m]).all():
            raise ArmFault(f"Expected finite joint positions, got {message.positions}.")
        safety.check_joints_possible(joints)
        taken_s = taken_at("joint states", message.stamp_s, now, wall)
        self._check_speed(joints, taken_s)
        self._efforts.append(message.efforts[:arm])
        effort_ma = np.median(self._efforts, axis=0)
        self.newest = Joints(joints, message.velocities[:arm], effort_ma, finger_m, taken_s)

    def age_s(self, now: float) -> float:
        """Age of the newest good joint state; infinite before the first."""
        return float("inf") if self.newest is None else now - self.newest.taken_s

    def forget(self) -> None:
        """Start anew, after a fault."""
        self.newest = None
        self._efforts.clear()

    def _check_speed(self, joints: np.ndarray, taken_s: float) -> None:
        if self.newest is None:
            return
        elapsed = taken_s - self.newest.taken_s
        moved = np.abs(joints - self.newest.arm)
        if (moved > FASTEST * max(elapsed, 0.0) + JUMP_SLACK_RAD).any():
            worst = int(np.argmax(moved))
            raise ArmFault(
                f"Expected joints that move, got {ARM_JOINTS[worst]} {moved[worst]:.2f} rad further "
                f"after {elapsed:.3f} s. It was misread, or the joints are in another order."
            )


class ImageFeed:
    """Takes images, 30 in a second, keeps the newest and decodes it only when it is wanted."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._newest: tuple[RawImage, float] | None = None
        self._shown: np.ndarray | None = None
        self._shown_at = np.zeros(len(ARM_JOINTS))
        self._changed_s = 0.0
        self.received = 0

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

    def rgb(self) -> np.ndarray:
        """The newest image, `(H, W, 3)` uint8 RGB of the wanted size.

        Raises:
            CameraError: There is none, or it cannot be read.
        """
        if self._newest is None:
            raise CameraError("Expected an image, got none yet. Is the camera's node up?")
        raw = self._newest[0]
        rgb = compressed_to_rgb(raw) if raw.compressed else to_rgb(raw)
        return fit_4_3(rgb, self._size)

    def check_changes(
        self, image: np.ndarray, joints: np.ndarray, now: float, limit_s: float
    ) -> None:
        """Raise `ArmFault` if the image stays the same to the bit although the arm moves.

        A driver can repeat its last image for ever with fresh stamps; sensors have noise.
        """
        if self._shown is None or not np.array_equal(image, self._shown):
            self._shown, self._shown_at, self._changed_s = image, joints, now
            return
        if np.abs(joints - self._shown_at).max() > FROZEN_RAD and now - self._changed_s > limit_s:
            raise ArmFault(
                f"Expected an image that shows the arm move, got the same one for "
                f"{now - self._changed_s:.1f} s. The camera is frozen; restart its node."
            )
