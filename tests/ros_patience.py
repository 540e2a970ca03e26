"""What lets tests over ROS pass on a machine that is busy with something else."""

import os

from robots.safety import SafetyLimits

SPEED = os.environ.get("ROBOREWARD_ROS_SPEED", "0.5")
"""Simulated seconds in a second: a client that gets little time falls behind a driver that is too fast."""

PATIENT = SafetyLimits(joints_max_age_s=1.0, image_max_age_s=2.0)
"""Ten and four times what a robot gets."""
