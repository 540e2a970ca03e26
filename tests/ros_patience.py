"""What lets tests over ROS pass on a machine that is busy with something else."""

import os

from robots.safety import simulated_clock_limits

SPEED = os.environ.get("ROBOREWARD_ROS_SPEED", "0.5")
"""Simulated seconds in a second: a client that gets little time falls behind a driver that is too fast."""

PATIENT = simulated_clock_limits()
