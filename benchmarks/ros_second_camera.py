"""A second camera on the topic of the first, for `benchmarks.ros_faults`: publishes until a signal ends it."""

import json
import os
import signal
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from robots.xs.interface import CAMERA_TOPIC


def main() -> int:
    """Publish one image again and again."""
    rclpy.init()
    node = Node(f"second_camera_{os.getpid()}")
    publisher = node.create_publisher(Image, CAMERA_TOPIC, qos_profile_sensor_data)
    image = Image(height=480, width=640, encoding="rgb8", step=1920, data=bytes(921_600))

    def publish() -> None:
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)

    node.create_timer(0.1, publish)
    sys.stdout.write(json.dumps({"event": "publishing", "at": time.time()}) + "\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: rclpy.try_shutdown())
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
