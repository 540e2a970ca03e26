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
"""Servo of each joint; 3 and 5 are the second servos of shoulder and elbow and follow 2 and 4."""

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
ARM_MODE, GRIPPER_MODE = "position", "pwm"
PROFILE_VELOCITY, PROFILE_ACCELERATION = 2000, 300  # [ms] with a time profile

REGISTERS = (
    "Profile_Velocity",
    "Profile_Acceleration",
    "Hardware_Error_Status",
    "Torque_Enable",
    "Present_Position",
    "Present_Temperature",
    "Present_Input_Voltage",
    "Present_Current",
    "Position_P_Gain",
    "Position_I_Gain",
    "Position_D_Gain",
)
"""Registers that the simulated driver knows; the real one takes any of the Dynamixel control table."""

OVERLOAD = 0x20
"""Bit of `Hardware_Error_Status` for an overload; a servo in error has no torque until it is rebooted."""

PWM_LOW, PWM_HIGH = 150, 350
"""Gripper PWM at pressure 0 and 1; the servo takes 885, but heats beyond 350."""

CAMERA_TOPIC = "/camera/camera/color/image_raw"
"""Where recent versions of the RealSense wrapper publish; `/compressed` holds JPEG."""

CAMERA_SIZE = (480, 640)
"""Height and width [px] of BridgeData's cameras."""

RESET_SERVICE = "/simulation/reset"
TRUTH_SERVICE = "/simulation/truth"
FAULT_SERVICE = "/simulation/fault"
"""Simulation only: no robot has them, and no learner may read the truth."""

SEEN_TOPIC = "/simulation/seen"
"""Simulated clock only: clients say here how far they have come, and the simulation waits for the slowest."""


def pwm_from_pressure(
    pressure: float, low: float = float(PWM_LOW), high: float = float(PWM_HIGH)
) -> float:
    """Magnitude of the gripper's PWM for a pressure in 0..1; plus opens, minus closes."""
    return low + float(np.clip(pressure, 0.0, 1.0)) * (high - low)
