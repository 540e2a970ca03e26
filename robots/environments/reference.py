"""Take the reference of the camera's view: `python -m robots.environments.reference view.png`. Nothing moves."""

import argparse
import sys
from pathlib import Path

import cv2

from robots.environments.simulated import IMAGE_SIZE
from robots.ros.link import RosConfig
from robots.ros.ros_arm import RosArm
from robots.xs.interface import CAMERA_TOPIC, ROBOT_NAME


def main(arguments: list[str] | None = None) -> int:
    """Write an image of now, for a person to look at."""
    parser = argparse.ArgumentParser(description="Take the reference of the camera's view.")
    parser.add_argument("file", type=Path, help="PNG file to write")
    parser.add_argument("--camera-topic", default=CAMERA_TOPIC)
    parser.add_argument("--robot-name", default=ROBOT_NAME, help="namespace of the driver")
    options = parser.parse_args(arguments)
    arm = RosArm(RosConfig(options.robot_name, options.camera_topic), image_size=IMAGE_SIZE)
    try:
        image = arm.look()
    finally:
        arm.close()
    if not cv2.imwrite(str(options.file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        parser.error(f"{options.file} cannot be written")
    sys.stdout.write(
        f"{options.file}: look at it. Is the arm in the upper part, its base to the left, and is red red? "
        "Then pass it as camera_reference.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
