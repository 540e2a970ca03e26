"""Images of the simulated scene on ROS topics, drawn in a thread of their own."""

import array
import threading
from typing import Any

import cv2
import mujoco
import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from robots.sim.camera import make_camera

FRAME = "camera_color_optical_frame"
JPEG_QUALITY = 95
TINY = (16, 12)
"""Width and height [px] of images while their size is at fault."""
CAMERA_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class CameraThread(threading.Thread):
    """Draws the newest state of the physics, and only while somebody listens.

    Args:
        driver: The node; its lock guards the simulation that is drawn.
        topic: Raw images go there, JPEG to `<topic>/compressed`.
        hz: Images a second, fewer on a slow machine.
        stop: Ends the thread.
    """

    def __init__(self, driver: Any, topic: str, hz: float, stop: threading.Event) -> None:
        super().__init__(name="camera", daemon=True)
        self._driver, self._hz, self._stopped = driver, hz, stop
        self._wake = threading.Event()
        self._busy = threading.Event()
        self._due = 0.0
        self._raw = driver.create_publisher(Image, topic, CAMERA_QOS)
        self._jpeg = driver.create_publisher(CompressedImage, f"{topic}/compressed", CAMERA_QOS)
        self._last: np.ndarray | None = None
        self._last_s = float("-inf")

    def draw_at(self, now: float) -> None:
        """The simulation has come to `now` [s]; draws if an image is due."""
        if now >= self._due:
            self._due = max(self._due + 1.0 / self._hz, now)
            self._busy.set()
            self._wake.set()

    def is_behind(self, now: float) -> bool:
        """Whether an image is due at `now` [s] and the one before is still being drawn."""
        return now >= self._due and self._busy.is_set()

    def run(self) -> None:
        """Draw and publish until stopped; the renderer belongs to this thread."""
        arm = self._driver.robot.arm
        camera = make_camera(arm.model, *arm.image_size, "front")
        data = mujoco.MjData(arm.model)  # a copy, so that drawing does not hold up the physics
        try:
            while not self._stopped.is_set():
                if self._wake.wait(0.1):
                    self._wake.clear()
                    self._draw(camera, data)
                    self._busy.clear()
        finally:  # also after an error: a driver whose camera is broken is not a driver
            self._stopped.set()
            camera.close()

    def _draw(self, camera: Any, data: mujoco.MjData) -> None:
        if not (self._raw.get_subscription_count() or self._jpeg.get_subscription_count()):
            return
        driver, now = self._driver, self._driver.robot.time
        slow = driver.faults.active("slow_camera", now)
        if slow is not None and now - self._last_s < 1.0 / max(slow.hz, 1e-3):
            return
        frozen = driver.faults.active("frozen_camera", now)
        if frozen is None or (frozen.repeat and self._last is None):
            with driver.drawing:
                with driver.lock:
                    mujoco.mj_copyData(data, driver.robot.arm.model, driver.robot.arm.data)
                    stamp = driver.stamp()
                image = camera.render(data)
        elif frozen.repeat and self._last is not None:
            image, stamp = self._last, driver.stamp()
        else:
            return
        self._last, self._last_s = image, now
        if driver.faults.active("image_size", now):
            image = cv2.resize(image, TINY)
        if not driver.faults.loses("images", now):
            self._publish(image, stamp)

    def _publish(self, image: np.ndarray, stamp: Any) -> None:
        if self._raw.get_subscription_count():
            message = Image()
            message.header.stamp, message.header.frame_id = stamp, FRAME
            message.height, message.width = image.shape[:2]
            message.encoding, message.step = "rgb8", image.shape[1] * 3
            message.data = array.array("B", image.tobytes())  # an ndarray would be copied by bytes
            self._raw.publish(message)
        if self._jpeg.get_subscription_count():
            message = CompressedImage()
            message.header.stamp, message.header.frame_id = stamp, FRAME
            message.format = "rgb8; jpeg compressed bgr8"
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            message.data = array.array("B", code.tobytes())
            self._jpeg.publish(message)
