"""A reward model on the robot's network: records a camera from start to stop, and answers with the score.

    python -m robots.ros.reward_model_node --model roboreward-nano

The services `start` and `score` are below the node's name (`/reward_model/start`); their fields are in
`robots/ros/messages/roboreward_msgs`. The model is loaded before they appear.
"""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from roboreward_msgs.srv import ScoreRecording, StartRecording
from sensor_msgs.msg import CompressedImage, Image

from roboreward_gym.errors import RoboRewardError
from roboreward_gym.registry import as_reward_model
from roboreward_gym.scorer import outcomes
from roboreward_gym.types import Clip, RewardModel
from robots.conventions import CONTROL_HZ
from robots.errors import CameraError
from robots.ros import dds
from robots.ros.clip_recorder import ClipRecorder
from robots.xs.images import RawImage, to_rgb
from robots.xs.interface import CAMERA_TOPIC

NAME = "reward_model"
FOUND_S = 2.0
"""What the network gets to find a camera that was just subscribed to."""


class RewardModelNode(Node):
    """Answers the two services.

    Args:
        reward_model: What scores.
        camera_topic: Recorded unless a start names another.
        fps: Frames a second that are recorded.
        name: Name of the node.
    """

    def __init__(
        self,
        reward_model: RewardModel,
        *,
        camera_topic: str = CAMERA_TOPIC,
        fps: float = CONTROL_HZ,
        name: str = NAME,
    ) -> None:
        super().__init__(name)
        self._model, self._camera_topic = reward_model, camera_topic
        self._lock = threading.Lock()  # of the recorder, which three threads use
        self._recorder = ClipRecorder(fps)
        self._seen = threading.Event()
        self._unscored: Clip | None = None
        # Images come on while a model of billions of parameters thinks.
        self._images, calls = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self._topic, self._subscription = "", None
        self._subscribe(camera_topic)
        self.create_timer(1.0 / fps, self._sample, callback_group=self._images)
        for service, call, answer in (
            (StartRecording, "start", self._start),
            (ScoreRecording, "score", self._score),
        ):
            self.create_service(
                service, f"{name}/{call}", self._answered(answer), callback_group=calls
            )

    def _start(self, request: Any, response: Any) -> None:
        topic = request.camera_topic or self._camera_topic
        if topic != self._topic:
            self._subscribe(topic)
        self._seen.wait(FOUND_S)
        with self._lock:
            self._unscored = None
            self._recorder.start(request.task, time.monotonic())

    def _score(self, _: Any, response: Any) -> None:
        with self._lock:
            if self._recorder.is_recording or self._unscored is None:
                self._unscored = self._recorder.stop()
        clip = self._unscored
        score = outcomes(self._model, [clip])[0]
        if isinstance(score, RoboRewardError):
            raise score  # the next call asks again about the same episode
        self._unscored = None
        response.task, response.level = clip.task, score.level or 0
        if score.probabilities is not None:
            response.probabilities = [float(p) for p in score.probabilities]
        response.off_format, response.text = float(score.off_format), score.text
        response.manifest = json.dumps(dict(score.manifest), default=str)
        response.frames = clip.num_frames or len(clip.frames)
        response.duration_s = clip.duration_s

    def _subscribe(self, topic: str) -> None:
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
        with self._lock:
            self._recorder = ClipRecorder(self._recorder.fps)  # what was seen was another camera
            self._seen.clear()
        kind, take = (
            (CompressedImage, self._on_compressed)
            if topic.endswith("/compressed")
            else (Image, self._on_image)
        )
        # Best effort matches cameras of either kind.
        quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription = self.create_subscription(
            kind, topic, take, quality, callback_group=self._images
        )
        self._topic = topic

    def _on_image(self, message: Image) -> None:
        self._take(
            RawImage(
                memoryview(message.data),
                0.0,
                message.encoding,
                message.height,
                message.width,
                message.step,
            )
        )

    def _on_compressed(self, message: CompressedImage) -> None:
        self._take(RawImage(memoryview(message.data), 0.0, compressed=True))

    def _take(self, image: RawImage) -> None:
        try:
            rgb = to_rgb(image).copy()
        except CameraError as error:
            with self._lock:
                self._recorder.spoil(str(error))
            return
        with self._lock:
            self._recorder.take(rgb, time.monotonic())
        self._seen.set()

    def _sample(self) -> None:
        with self._lock:
            self._recorder.sample(time.monotonic())

    def _answered(self, answer: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        def service(request: Any, response: Any) -> Any:
            try:
                answer(request, response)
                response.success = True
            except RoboRewardError as error:
                self.get_logger().error(str(error))
                response.success, response.message = False, str(error)
            return response

        return service


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description="A reward model as a ROS 2 node: records a camera, and answers with the score."
    )
    parser.add_argument(
        "--model",
        required=True,
        help="a reward model by name: roboreward-8b or remote:http://HOST:PORT for a real arm, roboreward-nano for the simulated tasks",
    )
    parser.add_argument("--camera-topic", default=CAMERA_TOPIC)
    parser.add_argument("--fps", type=float, default=CONTROL_HZ, help="frames a second (5)")
    parser.add_argument("--name", default=NAME, help="of the node, before the services")
    options = parser.parse_args(arguments)
    if options.fps <= 0.0:
        parser.error("--fps must be above 0")
    dds.large_images()
    try:
        reward_model = as_reward_model(options.model)
    except RoboRewardError as error:
        parser.error(str(error))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = RewardModelNode(
        reward_model, camera_topic=options.camera_topic, fps=options.fps, name=options.name
    )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)
    node.get_logger().info(f"{options.model} scores at /{options.name}/score.")
    while not ended.is_set():
        executor.spin_once(timeout_sec=0.2)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
