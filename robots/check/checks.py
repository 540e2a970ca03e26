"""The checks: what a program can see by itself, and what it asks the person beside the arm."""

import threading
from dataclasses import dataclass

import numpy as np

from robots import safety
from robots.check.picture import TrainingView, card_colour, red_or_blue, side_by_side
from robots.conventions import (
    CONTROL_HZ,
    FINGER_CLOSED_M,
    FINGER_OPEN_M,
    GRIPPER_DOWN,
    NEUTRAL_JOINTS,
    gripper_from_finger,
)
from robots.errors import ArmFault, ArmUnavailable, CameraError, MotionRefused, UnreachablePose
from robots.kinematics import Kinematics
from robots.safety import SafetyLimits
from robots.xs.arm import XsArm
from robots.xs.clock import Timer
from robots.xs.operator import Operator
from robots.xs.setup import Finding

COUNT_S = 2.0
"""How long messages are counted [s]."""
MIN_STATES_HZ, MIN_IMAGES_HZ = 50.0, 2.0 * CONTROL_HZ
GRIPPER_S = 2.0
"""How long the gripper gets to open or to close [s]."""
MAX_FINGER_ERROR_M = 0.004
INWARDS = 21
"""Places on the way from a corner to the middle at which the arm is tried."""
ABOVE_M = 0.06
"""How far above a corner the arm goes down to it [m]."""
MAX_GAP_ERROR_M = 0.005
INSIDE_M = 0.001
"""Corners are so far inside of the box: inverse kinematics is not exact."""
NOBODY = "nobody could be asked: standard input is not a terminal."
ARM_ERRORS = (ArmFault, ArmUnavailable, MotionRefused, UnreachablePose)


@dataclass(frozen=True)
class Bench:
    """What the checks work with.

    Attributes:
        arm: Connected; only `gripper` and `workspace` move it.
        operator: The person; None if nobody can be asked.
        limits: Whose workspace is gone through.
        timer: The clock.
        view: What policies were trained on.
    """

    arm: XsArm
    operator: Operator | None
    limits: SafetyLimits
    timer: Timer
    view: TrainingView

    def pause(self, duration_s: float) -> None:
        """Let time pass [s]."""
        self.timer.wait(threading.Event(), self.timer.now() + duration_s)

    def picture(self) -> np.ndarray:
        """The camera now, the training view, and its outlines over the camera, `(H, 3 W, 3)` uint8 RGB."""
        live = self.arm.look()
        newest = self.arm.joints.newest
        joints = NEUTRAL_JOINTS if newest is None else newest.arm
        gripper = 1.0 if newest is None else gripper_from_finger(newest.finger_m)
        return side_by_side(live, self.view.render(joints, gripper))


def joint_states(bench: Bench) -> Finding:
    """Do joint states of this arm come often enough?"""
    feed = bench.arm.joints
    before, bad = feed.received, feed.rejected
    bench.pause(COUNT_S)
    hz, bad = (feed.received - before) / COUNT_S, feed.rejected - bad
    good = hz >= MIN_STATES_HZ and bad <= 0.1 * hz
    advice = "" if good else " See the driver's log, its USB cable, and the clocks (chrony)."
    found = f"{hz:.0f} a second, {bad} of them rejected; 100 are usual.{advice}"
    return Finding("joint states", passed=good, found=found)


def camera(bench: Bench) -> Finding:
    """Do images come often enough, and can they be used?"""
    before = bench.arm.images.received
    bench.pause(COUNT_S)
    hz = (bench.arm.images.received - before) / COUNT_S
    try:
        bench.arm.look()
    except (CameraError, *ARM_ERRORS) as error:
        return Finding("camera", passed=False, found=str(error))
    good = hz >= MIN_IMAGES_HZ
    advice = (
        "" if good else " Set robots/ros/fastdds.xml for the camera's process too (docs/robot.md)."
    )
    return Finding(
        "camera", passed=good, found=f"{hz:.0f} images a second; 15 to 30 are usual.{advice}"
    )


def view(bench: Bench, address: str) -> Finding:
    """Does a person see the camera's picture in place of the training view?"""
    if bench.operator is None:
        return Finding("view", passed=None, found=NOBODY)
    answer = bench.operator.ask(
        f"Open {address} (over ssh: ssh -L). Move the camera until the arm lies in its green outline. "
        "Then press Enter; n if it cannot be done:"
    )
    if answer.strip():
        found = "the picture does not fit. Move the camera as docs/robot.md describes."
        return Finding("view", passed=False, found=found)
    return Finding("view", passed=True, found="a person has compared it with the training view.")


def colours(bench: Bench) -> Finding:
    """Is a red card red?"""
    if bench.operator is None:
        return Finding("colours", passed=None, found=NOBODY)
    question = "Take your hands out of the picture, then press Enter:"
    bench.operator.ask(question)
    before = bench.arm.look()
    bench.operator.ask("Hold something red, as large as a hand, in front of the camera. Enter:")
    colour = card_colour(before, bench.arm.look())
    if colour is None:
        return Finding(
            "colours", passed=False, found="nothing came into the picture. Try again, nearer."
        )
    seen, numbers = red_or_blue(colour), np.round(colour).astype(int).tolist()
    if seen == "red":
        return Finding("colours", passed=True, found=f"red is red: {numbers} in red, green, blue.")
    if seen == "blue":
        found = (
            f"red looks blue: {numbers}. The camera's node labels bgr8 as rgb8 or the other way."
        )
        return Finding("colours", passed=False, found=found)
    return Finding(
        "colours", passed=False, found=f"what came in is not red: {numbers}. Try with more light."
    )


def gripper(bench: Bench) -> Finding:
    """Do the fingers open and close as far as they should? The arm goes to its neutral pose first."""
    fingers: list[float] = []
    try:
        for opening in (1.0, 0.0, 1.0):
            bench.arm.go_through([(NEUTRAL_JOINTS, opening)])
            bench.pause(GRIPPER_S)
            newest = bench.arm.joints.newest
            fingers.append(float("nan") if newest is None else newest.finger_m)
    except ARM_ERRORS as error:
        return Finding("gripper", passed=False, found=str(error))
    opened, closed, again = fingers
    errors = np.abs([opened - FINGER_OPEN_M, closed - FINGER_CLOSED_M, again - FINGER_OPEN_M])
    good = bool((errors <= MAX_FINGER_ERROR_M).all())
    advice = "" if good else " Is something between them? Else calibrate the gripper's servo."
    found = (
        f"from {1e3 * closed:.1f} to {1e3 * opened:.1f} mm from the centre to a finger; "
        f"{1e3 * FINGER_CLOSED_M:.0f} to {1e3 * FINGER_OPEN_M:.0f} are usual.{advice}"
    )
    return Finding("gripper", passed=good, found=found)


def workspace(bench: Bench) -> Finding:
    """Do the fingers stay off the table in the corners of the workspace, as low as they may go?"""
    if bench.operator is None:
        return Finding("workspace", passed=None, found=NOBODY)
    notes: list[str] = []
    for corner in corners(bench.limits):
        place, poses = reachable(corner, bench.limits)
        name = f"({place[0]:.2f}, {place[1]:.2f}) m"
        try:
            bench.arm.go_through([(joints, 1.0) for joints in poses])
            gap_m = safety.lowest_finger(place, GRIPPER_DOWN) - bench.limits.table_m
            problem = _ask_gap(bench.operator, name, gap_m, bench.limits.table_m)
            bench.arm.go_through([(poses[0], 1.0), (NEUTRAL_JOINTS, 1.0)])
        except ARM_ERRORS as error:
            problem = str(error)
        if problem:
            return Finding("workspace", passed=False, found=f"at {name}: {problem}")
        notes.append(f"{name} is free.")
    return Finding("workspace", passed=True, found=" ".join(notes))


def corners(limits: SafetyLimits) -> list[np.ndarray]:
    """The four corners `(3,)` [m] of the workspace, as low as the end effector may go with the gripper down."""
    low, high = limits.box_low + INSIDE_M, limits.box_high - INSIDE_M
    xy = ((low[0], low[1]), (low[0], high[1]), (high[0], high[1]), (high[0], low[1]))
    return [safety.clamp_pose(np.array([x, y, low[2]]), np.zeros(3), limits)[0] for x, y in xy]


def reachable(corner: np.ndarray, limits: SafetyLimits) -> tuple[np.ndarray, list[np.ndarray]]:
    """The place `(3,)` [m] nearest to a corner, towards the middle, that the arm reaches, and joints above it and at it.

    Raises:
        UnreachablePose: There is none, not even in the middle.
    """
    middle = (limits.box_low + limits.box_high) / 2
    towards = np.array([*(middle - corner)[:2], 0.0])
    for part in np.linspace(0.0, 1.0, INWARDS):
        place = corner + part * towards
        poses = poses_of(place, limits)
        if poses is not None:
            return place, poses
    raise UnreachablePose(
        f"No joints reach the middle of the box, {middle} m, with the gripper down. Choose other --limits."
    )


def poses_of(corner: np.ndarray, limits: SafetyLimits) -> list[np.ndarray] | None:
    """Joints `(6,)` [rad] above a corner and at it; None if the arm cannot go there with the gripper down."""
    kinematics, start, poses = Kinematics(), NEUTRAL_JOINTS, []
    for height in (ABOVE_M, 0.0):
        position = corner + np.array([0.0, 0.0, height])
        joints = kinematics.inverse(position, GRIPPER_DOWN, start, iterations=200)
        try:
            if joints is None:
                return None
            safety.check_target(joints, None, limits)
            safety.check_pose(position, limits)
        except (MotionRefused, UnreachablePose):
            return None
        poses.append(joints)
        start = joints
    return poses


def _ask_gap(operator: Operator, name: str, gap_m: float, table_m: float) -> str:
    """Ask for the distance to the table; what is wrong, or nothing."""
    note = ""
    while True:
        answer = operator.ask(
            f"{note}Corner {name}: the open fingertips should be {1e3 * gap_m:.0f} mm above the table. Press Enter if "
            "they are about that, type the distance in mm if not, or n if they touch something:"
        ).strip()
        if not answer:
            return ""
        if answer.lower() == "n":
            return "the fingers touch something. Make the workspace smaller with --limits."
        try:
            error_m = float(answer) / 1e3 - gap_m
        except ValueError:
            note = f"{answer!r} is not a distance. "
            continue
        if abs(error_m) <= MAX_GAP_ERROR_M:
            return ""
        where = "lower" if error_m > 0 else "higher"
        return (
            f"the table is {1e3 * abs(error_m):.0f} mm {where} than the arm takes it for. Bolt the arm level with the "
            f"table, or set table_m in --limits to {table_m - error_m:.3f}."
        )
