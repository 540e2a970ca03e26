"""Environment variables that must be set before the first ROS node of a process is made."""

import os
from pathlib import Path

PROFILE = Path(__file__).parent / "fastdds.xml"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Jazzy and older read the first name, newer ones the second."""


def large_images() -> None:
    """Let images through best-effort topics whole, unless the user has chosen a profile of their own."""
    if not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        # Both at once only make newer versions warn about the old name, for nothing.
        jazzy_or_older = os.environ.get("ROS_DISTRO", "jazzy") in ("humble", "iron", "jazzy")
        os.environ[PROFILE_VARIABLES[0 if jazzy_or_older else 1]] = str(PROFILE)
