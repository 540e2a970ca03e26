"""The written interface of the Interbotix XS driver for the WidowX 250S: names, orders, modes, registers.

Every number and name here is the vendor's unless it says otherwise; nothing needs ROS.
"""

import numpy as np

from robots.conventions import ARM_JOINTS

ROBOT_NAME = "wx250s"
ARM_GROUP = "arm"
GRIPPER = "gripper"
FINGERS = ("left_finger", "right_finger")
STATE_JOINTS = (*ARM_JOINTS, GRIPPER, *FINGERS)
"""Order of `joint_states`; positions [rad] and fingers [m], velocities, efforts [mA]."""

MOTORS = (*ARM_JOINTS, GRIPPER)
MOTOR_IDS = dict(zip(MOTORS, (1, 2, 4, 6, 7, 8, 9), strict=True))
SHADOWS = {"shoulder_shadow": "shoulder", "elbow_shadow": "elbow"}
"""Second servos 3 and 5, which follow those of the named joints. They can be asked singly, and are in no group."""
SERVOS = (*MOTORS, *SHADOWS)

HOME_JOINTS = np.zeros(6)  # [rad]
SLEEP_JOINTS = np.array([0.0, -1.80, 1.55, 0.0, 0.8, 0.0])  # [rad]

STATES_HZ = 100.0
QUEUE_DEPTH = 10

MODES = (
    "position",
    "ext_position",
    "velocity",
    "current",
    "current_based_position",
    "pwm",
    "linear_position",
)
PROFILES = ("time", "velocity")
ARM_MODE = "position"
GRIPPER_MODE = "current_based_position"
"""Ours: goes to an angle with a bounded current, and so can neither burn nor go on pushing unwatched."""
GRIPPER_START_MODE = "pwm"
"""The mode in which the vendor's driver starts the gripper."""
CURRENT_UNIT_MA = 2.69
"""[mA] of one unit of `Goal_Current` and `Present_Current`."""
GRIPPER_CURRENT_MA = 500.0
"""Most that the gripper's servo draws; it can bear that for ever (its stall current is 2300 mA)."""
PROFILE_VELOCITY, PROFILE_ACCELERATION = 2000, 300  # [ms] with a time profile

OVERLOAD = 0x20
"""Bit of `Hardware_Error_Status` for an overload; a servo in error has no torque until it is rebooted."""

CAMERA_TOPIC = "/camera/camera/color/image_raw"
"""Where recent versions of the RealSense wrapper publish; `/compressed` holds JPEG."""

CAMERA_SIZE = (480, 640)
"""Height and width [px] of BridgeData's cameras."""

RESET_SERVICE = "/simulation/reset"
TRUTH_SERVICE = "/simulation/truth"
FAULT_SERVICE = "/simulation/fault"
"""Simulation only: no robot has them, and no learner may read the truth."""

PROGRESS_TOPIC = "/simulation/progress"
"""Simulated clock only: clients report here how far they have come, and the simulation waits for the slowest."""
