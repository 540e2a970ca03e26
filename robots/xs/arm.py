"""The WidowX behind an Interbotix XS driver: what is sent when, and what stops it.

The driver has no watchdog: it holds the last set-point for ever. So a thread of ours watches over the arm fifty
times a second, and everything that it finds wrong becomes one `ArmFault`: the arm holds at once, the caller gets
it in the middle of its `move`, and the next `reset` recovers. A real arm that was stopped does not move again,
not even to its sleep pose, before the person beside it has agreed.

States: at rest (`_driving` False: nothing is sent or expected) -> prepared (`_driving`, the watch is on) ->
stopped (`_fault` is set, a hold is sent) -> at rest by `rest`, or prepared anew by the next motion.
"""

import logging
import threading
from collections.abc import Sequence

import numpy as np

from robots import safety
from robots.arm import ArmReading
from robots.conventions import (
    CONTROL_HZ,
    FINGER_CLOSED_M,
    JOINT_LOWER,
    JOINT_UPPER,
    NEUTRAL_JOINTS,
    finger_from_gripper,
)
from robots.errors import ArmFault, ArmUnavailable, CameraError, MotionRefused
from robots.kinematics import Kinematics
from robots.safety import SafetyLimits
from robots.workspace import check_path
from robots.xs.clock import ControlClock, SystemTimer, Timer
from robots.xs.consent import Consent
from robots.xs.feeds import JointMessage
from robots.xs.gripper_linkage import angle_from_finger
from robots.xs.images import RawImage, View
from robots.xs.interface import ARM_GROUP, GRIPPER, SLEEP_JOINTS
from robots.xs.link import DISCOVERY_S, TICK_S, XsLink, await_peers
from robots.xs.monitor import Monitor
from robots.xs.operator import Operator
from robots.xs.servos import MOVING_S, prepare_servos
from robots.xs.slow_path import STREAM_HZ, slow_path

log = logging.getLogger(__name__)

ARRIVED_RAD = 0.1
"""Servos sag a little under the arm's weight."""
RESTING_RAD_S = 0.05
SETTLE_S = 2.0
READY_S = 20.0
RECONNECT_S = 120.0
"""How long an episode's start waits for a driver that has died or a network that has gone."""
HOLD_TICKS = 5
"""How often a stop is sent: messages can be lost."""
NOT_MOVED = "The arm was not moved."
UNDER_TORQUE = "The arm was not put to sleep and holds where it is, with torque on: support it before you switch the power off."


class XsArm:
    """An `Arm` over a connection to the driver. Making one moves nothing; `reset` is the first motion.

    Args:
        link: The connection; closed with the arm.
        image_size: Height and width that images are scaled to [px].
        limits: The limits to keep.
        watched: Somebody stands beside the arm with a hand at its power switch. Without that only a
            simulation moves.
        operator: That person's keyboard: stops the arm at any time, and is asked before it moves after a stop.
        ready_s: How long to wait for driver and camera [s].
        timer: The clock.
        clock: Clock of the control periods; made from `timer` if None.
        view: What the camera has to see.
        dry: The link is a `DryLink`: the arm only seems to move, and the camera does not see it.
    """

    def __init__(
        self,
        link: XsLink,
        *,
        image_size: tuple[int, int] = (192, 256),
        limits: SafetyLimits | None = None,
        watched: bool = False,
        operator: Operator | None = None,
        ready_s: float = READY_S,
        timer: Timer | None = None,
        clock: ControlClock | None = None,
        view: View | None = None,
        dry: bool = False,
    ) -> None:
        self.image_size, self._dry = image_size, dry
        self._link, self._limits, self._watched = link, limits or SafetyLimits(), watched
        self._operator, self.consent = operator, Consent(operator, needed=watched)
        self.ready_s, self._timer = ready_s, timer or SystemTimer()
        self.clock = clock or ControlClock(1.0 / CONTROL_HZ, self._timer)
        self._monitor = Monitor(
            link, self._limits, self._timer, image_size, operator, view, seen=not dry
        )
        self.joints, self.images = self._monitor.joints, self._monitor.images
        self._lock = threading.RLock()  # of everything below, which two threads use
        self._stop = threading.Event()
        self._fault: ArmFault | None = None
        self._driving = self._recording = self._moved = self._closed = self._is_only_client = False
        self._asleep = False
        self._sent = NEUTRAL_JOINTS
        self._finger_m = FINGER_CLOSED_M
        self._holds = 0
        link.listen(self._on_joints, self._on_image, self._on_tick)

    # --- the protocol of an arm --------------------------------------------------------------------

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        """Recover from whatever was, then go slowly to `joints` `(6,)` [rad].

        Raises:
            MotionRefused: Nobody watches the arm, or a mode would have to change where it would fall.
            ArmUnavailable: No driver, another robot's, two of them, or a servo that needs a person.
            CameraError: Images that cannot be used.
            ArmFault: Stopped on the way.
        """
        safety.check_target(joints, None, self._limits)
        self._prepare()
        self._travel(joints, gripper)
        self._recording = True

    def read(self) -> ArmReading:
        """Newest joints and gripper.

        Raises:
            ArmFault: The arm has been stopped.
        """
        with self._lock:
            self._raise_fault()
            return self._monitor.reading(recording=self._recording)

    def move(self, joints: np.ndarray, gripper: float) -> None:
        """Send a set-point, joints `(6,)` [rad] and gripper 0..1, and wait until the control period ends.

        Raises:
            ArmFault: The arm was stopped before, or in the meantime.
            MotionRefused: The set-point is too far from the last one.
        """
        with self._lock:
            self._raise_fault()
            if not self._driving:
                raise ArmFault("The arm holds. Call reset() before move().")
            safety.check_target(joints, self._sent, self._limits)
            self._finger_m = finger_from_gripper(gripper)
            self.clock.begin()
            self._send(joints)
        self.clock.finish(self._stop)
        self._raise_fault()

    def hold(self) -> None:
        """Stop where the arm is; a real one that was moving does not move again before a person has agreed."""
        with self._lock:
            if self._driving and self._fault is None:
                self.consent.withdraw("The program stopped it.")
            self._hold_now()

    def stop(self, reason: str) -> None:
        """Stop where the arm is, and raise `ArmFault` with the reason."""
        with self._lock:
            self._fail(ArmFault(f"{reason} The arm holds."))
            self._raise_fault()

    def allow_motion(self) -> None:
        """The person beside the arm agrees that it may move after a stop; not needed with an `operator`."""
        self.consent.give()

    def condition(self) -> str:
        """How the arm is left, for the person beside it."""
        if self._dry:
            return "It was a dry run: nothing was sent to the arm."
        if not self._moved:
            return NOT_MOVED
        if self._asleep:
            return "The arm lies in its sleep pose and its torque is off."
        return UNDER_TORQUE

    def camera(self) -> np.ndarray:
        """The newest image, `(H, W, 3)` uint8 RGB.

        Raises:
            ArmFault: The arm has been stopped, or the image is too old.
        """
        with self._lock:
            self._raise_fault()
            try:
                image = self._monitor.image()
            except (CameraError, ArmFault) as error:
                self._fail(ArmFault(str(error)))
            self._raise_fault()
            return image

    def connect(self) -> None:
        """Wait for the driver, or raise `ArmUnavailable`; one that was there before may be started again."""
        again = self._moved and not self._closed
        self._link.open(RECONNECT_S if again else self.ready_s)

    def check_peers(self) -> None:
        """Raise `ArmUnavailable` or `MotionRefused` if this arm may not be driven; it is connected."""
        await_peers(self._link, self._timer, watched=self._watched)

    def look(self) -> np.ndarray:
        """A new image, `(H, W, 3)` uint8 RGB; nothing moves, and no reference is needed."""
        self.connect()
        self._monitor.await_messages(self.ready_s, camera=True)
        return self.images.rgb()

    def rest(self) -> None:
        """Hold, and expect nothing of driver and camera until the next reset."""
        with self._lock:
            if self._driving:
                self._hold_now()
            self._driving = self._recording = False
        self.clock.stop()

    def retreat(self) -> None:
        """Go slowly to where the arm is out of the way, and rest there. For hands on the table."""
        if self._moved:
            self._prepare(camera=False)
            self._travel(NEUTRAL_JOINTS, 1.0)
        self.rest()

    def go_through(self, poses: Sequence[tuple[np.ndarray, float]]) -> None:
        """Go slowly through poses of joints `(6,)` [rad] and gripper 0..1, and rest at the last.

        Raises:
            MotionRefused: A pose past the joint limits, or fingers under the table; nothing has moved.
            UnreachablePose: A pose outside the box; nothing has moved.
        """
        path = [joints for joints, _ in poses]
        check_path(NEUTRAL_JOINTS, path, self._limits, Kinematics())
        self._prepare(camera=False)
        for joints, gripper in poses:
            self._travel(joints, gripper)
        self.rest()

    def close(self) -> None:
        """Go slowly to the sleep pose and take the torque off, if the arm was moved; then leave."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._moved:
                self._sleep()
        finally:
            self.rest()
            self._link.close()

    # --- preparation and slow motion ---------------------------------------------------------------

    def _prepare(self, *, camera: bool = True) -> None:
        """Make sure of consent, driver, modes, servos and torque, and start from where the arm really is."""
        self.consent.require()
        with self._lock:
            self._driving = self._recording = False
            self._fault = None
            self._stop.clear()
            self._monitor.forget()
        self.clock.stop()
        self.connect()
        # Only before the first motion: later the watch has looked for others all the time.
        unshared_s = 0.0 if self._is_only_client else DISCOVERY_S
        await_peers(self._link, self._timer, watched=self._watched, unshared_s=unshared_s)
        self._is_only_client = True
        # An image that was under way already may show what was before.
        self._monitor.await_messages(self.ready_s, camera=camera)
        if camera:
            self._monitor.check_picture()
        prepare_servos(self._link, lambda: self._monitor.newest().arm, self._timer)
        self._monitor.await_messages(self.ready_s, camera=camera)
        with self._lock:
            # Only now, after torque on: the joints may have moved meanwhile.
            self._sent = np.clip(self._monitor.newest().arm, JOINT_LOWER, JOINT_UPPER)
            self._finger_m = self._monitor.newest().finger_m
            self._driving = True

    def _travel(self, joints: np.ndarray, gripper: float) -> None:
        """Go to `joints` `(6,)` [rad] slowly, starting and ending at rest."""
        with self._lock:
            start, self._moved, self._asleep = self._sent.copy(), True, False
            self._finger_m = finger_from_gripper(gripper)
        for set_point in slow_path(start, joints):
            with self._lock:
                self._look()
                self._send(set_point)
            # From now, not from the start: after a pause nothing is made up for in a hurry.
            self._timer.wait(self._stop, self._timer.now() + 1.0 / STREAM_HZ)
        self._settle(joints)

    def _settle(self, joints: np.ndarray) -> None:
        """Wait until the arm rests near `joints` `(6,)` [rad]; it may not have begun to move yet."""
        self._timer.wait(self._stop, self._timer.now() + MOVING_S)
        deadline = self._timer.now() + SETTLE_S
        while True:
            newest = self._monitor.newest()
            near = safety.near(newest.arm, joints, ARRIVED_RAD)
            if near and np.abs(newest.speed).max() < RESTING_RAD_S:
                return
            if self._timer.now() > deadline:
                where = f"The arm rests at {newest.arm.round(2)} instead of {joints.round(2)} rad."
                self._fail(ArmFault(f"{where} It holds; look for what is in its way."))
            with self._lock:
                self._look()
            self._timer.wait(self._stop, self._timer.now() + TICK_S)

    def _look(self) -> None:
        """Watch in the caller's thread too, and raise what was found: the watching thread may be dead."""
        if self._operator is not None:
            self._operator.check_end()
        if self._fault is None:
            self._watch()
        self._raise_fault()

    def _sleep(self) -> None:
        """To the sleep pose, torque off; an arm that cannot get there keeps holding, and the log says so."""
        try:
            try:
                self._go_to_sleep()
            except ArmFault as fault:
                log.warning("Stopped on the way to sleep, trying once more. %s", fault)
                self._go_to_sleep()
        except (ArmFault, ArmUnavailable, MotionRefused) as error:
            log.error("%s %s", UNDER_TORQUE, error)
        except KeyboardInterrupt:
            log.error("%s It was interrupted on the way to its sleep pose.", UNDER_TORQUE)
            raise

    def _go_to_sleep(self) -> None:
        self._prepare(camera=False)
        self._travel(NEUTRAL_JOINTS, 1.0)
        self._travel(SLEEP_JOINTS, 0.0)
        with self._lock:
            self._look()  # an old joint state proves nothing
            self._driving = False
            safety.check_torque_off_is_safe(self._monitor.newest().arm, SLEEP_JOINTS)
        for kind, name in (("group", ARM_GROUP), ("single", GRIPPER)):
            self._link.torque(kind, name, enable=False)
        self._asleep = True

    # --- the watching thread -----------------------------------------------------------------------

    def _on_joints(self, message: JointMessage) -> None:
        with self._lock:
            self._monitor.take_joints(message)

    def _on_image(self, image: RawImage) -> None:
        with self._lock:
            self._monitor.take_image(image)

    def _on_tick(self) -> None:
        with self._lock:
            self._monitor.tick()
            if not self._driving:
                return
            if self._fault is None:
                self._watch()
            elif self._holds > 0:
                self._holds -= 1
                self._link.send_arm(self._sent)

    def _watch(self) -> None:
        try:
            self._monitor.check(self._sent, self._finger_m, recording=self._recording)
        except ArmFault as fault:
            self._fail(fault)

    # --- what both threads use, under the lock -----------------------------------------------------

    def _send(self, joints: np.ndarray) -> None:
        self._sent = joints.copy()
        self._link.send_arm(self._sent)
        self._link.send_gripper(angle_from_finger(self._finger_m))

    def _hold_now(self) -> None:
        """Where the arm is becomes its set-point; unknown, it keeps the last one, a step away at most."""
        newest = self.joints.newest
        if newest is None or not self._driving:
            return
        if self.joints.age_s(self._timer.now()) <= self._limits.joints_max_age_s:
            self._send(np.clip(newest.arm, JOINT_LOWER, JOINT_UPPER))

    def _fail(self, fault: ArmFault) -> None:
        if self._fault is None:
            log.warning("Stopped: %s", fault)
            self._fault, self._holds = fault, HOLD_TICKS
            self.consent.withdraw(str(fault))
            self._hold_now()
            self._stop.set()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault
