"""What is known of a moving arm, and everything that can be wrong with it, looked at fifty times a second."""

import os
import threading

import numpy as np

from robots import safety
from robots.arm import ArmReading
from robots.conventions import ARM_JOINTS, gripper_from_finger
from robots.errors import ArmFault, ArmUnavailable
from robots.safety import SafetyLimits
from robots.xs.clock import Timer
from robots.xs.feeds import ImageFeed, JointFeed, JointMessage, Joints
from robots.xs.images import RawImage, View
from robots.xs.link import TICK_S, XsLink, check_only_client
from robots.xs.operator import Operator
from robots.xs.watch import FollowWatch, GripperWatch

PEERS_CHECKS = 25
"""Checks between two looks for other clients."""
LATE_TICK_S = 0.08
"""A tick of the watch this late [s] is a sign that this computer has too much to do."""
BUSY_LOAD = 3.0
"""Programs that want a core, for each core that there is, from which messages come late."""
LATE_SHOWN_S = 2.0
"""How long a late tick is held against a fault [s]."""


class Monitor:
    """Takes messages, and finds what has to stop the arm. Its caller holds a lock around each call.

    Args:
        link: To look for other clients.
        limits: The limits to keep.
        timer: The clock.
        image_size: Height and width that images are scaled to [px].
        operator: Whose keys stop the arm.
        view: What the camera has to see.
        seen: Whether motion shows in the images.
    """

    def __init__(
        self,
        link: XsLink,
        limits: SafetyLimits,
        timer: Timer,
        image_size: tuple[int, int],
        operator: Operator | None,
        view: View | None,
        *,
        seen: bool = True,
    ) -> None:
        self._link, self._limits, self._timer = link, limits, timer
        self._operator, self._view, self._seen = operator, view, seen
        self.joints, self.images = JointFeed(), ImageFeed(image_size)
        self._follow, self._gripper = FollowWatch(), GripperWatch()
        self.rejected_joints: ArmFault | None = None
        """Why the messages since the last good one could not be trusted; None if there were none."""
        self.rejected_images: ArmFault | None = None
        self._checks = 0
        self._ticked_s: float | None = None
        self._late: tuple[float, float] | None = None  # when a tick was late, and by how much

    def tick(self) -> None:
        """Take note of when the watching thread runs; called at each of its ticks."""
        now = self._timer.now()
        if self._ticked_s is not None:
            late = now - self._ticked_s - TICK_S
            if late > LATE_TICK_S and (self._late is None or late >= self._late[1]):
                self._late = (now, late)
        self._ticked_s = now
        if self._late is not None and now - self._late[0] > LATE_SHOWN_S:
            self._late = None

    def _cause(self) -> str:
        """A sentence about a computer that has too much to do, to follow a message that is old; empty if it has not."""
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        if self._late is None and load < BUSY_LOAD * cores:
            return ""
        late = (
            "" if self._late is None else f"the watch over the arm ran {self._late[1]:.1f} s late, "
        )
        return f" This computer is too busy: {late}its load is {load:.1f} on {cores} cores. Stop other programs."

    def forget(self) -> None:
        """Start anew, before a motion."""
        self.rejected_joints = self.rejected_images = None
        self.joints.forget()
        self.images.forget()
        self._follow.forget()
        self._gripper.forget()

    def take_joints(self, message: JointMessage) -> None:
        """Take a joint state. One that cannot be trusted stops the arm only if no good one comes in time.

        The vendor's driver publishes one state of -pi rad whenever a read on the bus fails.
        """
        try:
            self.joints.take(message, self._timer.now(), self._timer.date())
            self.rejected_joints = None
        except ArmFault as fault:
            self.rejected_joints = fault

    def take_image(self, image: RawImage) -> None:
        """Take an image, as `take_joints`."""
        try:
            self.images.take(image, self._timer.now(), self._timer.date())
            self.rejected_images = None
        except ArmFault as fault:
            self.rejected_images = fault

    def await_messages(self, ready_s: float, *, camera: bool) -> None:
        """Wait for a joint state and, if needed, an image from after this call: one under way shows what was before.

        Needs no lock.

        Raises:
            ArmUnavailable: None came within `ready_s` [s].
        """
        limits, since = self._limits, self._timer.now()
        while True:
            now = self._timer.now()
            passed = now - since
            joints = _is_fresh(self.joints.age_s(now), limits.joints_max_age_s, passed)
            image = not camera or _is_fresh(self.images.age_s(now), limits.image_max_age_s, passed)
            if joints and image:
                return
            if passed > ready_s:
                what = "images" if joints else "joint states"
                why = self.rejected_images if joints else self.rejected_joints
                raise ArmUnavailable(
                    f"No {what} that can be used came within {ready_s:g} s. "
                    f"{why or 'See whether the driver and the camera run.'}"
                )
            self._timer.wait(threading.Event(), now + TICK_S)

    def newest(self) -> Joints:
        """The newest joint state, however old.

        Raises:
            ArmFault: There is none.
        """
        newest = self.joints.newest
        if newest is None:
            raise self.rejected_joints or ArmFault("There are no joint states. The arm holds.")
        return newest

    def reading(self, *, recording: bool) -> ArmReading:
        """What is known of the arm; images count only while they are recorded."""
        newest, now = self.newest(), self._timer.now()
        return ArmReading(
            newest.arm,
            gripper_from_finger(newest.finger_m),
            self.joints.age_s(now),
            self.images.age_s(now) if recording else 0.0,
            newest.effort_ma,
        )

    def image(self) -> np.ndarray:
        """The newest image, `(H, W, 3)` uint8 RGB.

        Raises:
            CameraError: It cannot be used.
            ArmFault: It is too old.
        """
        image = self.check_picture()
        if self.joints.newest is not None:
            limit_s = self._limits.image_max_age_s
            moved = self.joints.newest.arm if self._seen else np.zeros(len(ARM_JOINTS))
            self.images.check_changes(image, moved, self._timer.now(), limit_s)
        return image

    def check_picture(self) -> np.ndarray:
        """The newest image, if it shows what it should.

        Raises:
            CameraError: It does not.
        """
        image = self.images.rgb()
        if self._view is not None:
            self._view.check(image)
        return image

    def check(self, setpoint: np.ndarray, finger_m: float, *, recording: bool) -> None:
        """Look at everything that has to stop the arm.

        Args:
            setpoint: `(6,)` [rad], where the arm was sent.
            finger_m: Where the finger was sent [m].
            recording: Whether the camera matters.

        Raises:
            ArmFault: Something does.
        """
        self._checks += 1
        reason = None if self._operator is None else self._operator.poll()
        if reason is not None:
            raise ArmFault(f"{reason} The arm holds.")
        newest, now = self.newest(), self._timer.now()
        self._check_reading(recording=recording)
        self._follow.check(newest, setpoint, now)
        self._gripper.check(finger_m, newest.finger_m, newest.gripper_ma, now)
        if self._checks % PEERS_CHECKS == 0:
            try:
                check_only_client(self._link.peers())
            except ArmUnavailable as error:
                raise ArmFault(f"{error} The arm holds.") from error

    def _check_reading(self, *, recording: bool) -> None:
        reading, limits = self.reading(recording=recording), self._limits
        try:
            safety.check_reading(reading, limits)
        except ArmFault as fault:
            old_joints = reading.joints_age_s > limits.joints_max_age_s
            old_image = reading.image_age_s > limits.image_max_age_s
            if not (old_joints or old_image):
                raise
            # Why the messages since then were rejected explains more than that there were no others.
            why = self.rejected_joints if old_joints else self.rejected_images
            raise why or ArmFault(f"{fault}{self._cause()}") from fault


def _is_fresh(age_s: float, max_age_s: float, passed_s: float) -> bool:
    """Whether a message is new enough, and from after a moment `passed_s` ago."""
    return age_s <= max_age_s and age_s < passed_s
