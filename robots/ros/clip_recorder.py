"""Frames of an episode from a camera that sends by itself: a sample at a steady rate, in bounded memory. No ROS in here."""

import numpy as np

from roboreward_gym.errors import NoFrames
from roboreward_gym.types import MAX_BYTES, MAX_FRAMES, Clip, FrameBuffer, check_task

MAX_AGE_S = 0.5
"""A sample of an older image would show what is no more: the recording is then useless."""


class ClipRecorder:
    """Records one episode after the other.

    Args:
        fps: Samples a second.
        max_age_s: A camera that is silent for longer spoils the recording.
    """

    def __init__(self, fps: float, *, max_age_s: float = MAX_AGE_S) -> None:
        self.fps, self._max_age_s = fps, max_age_s
        self._image: np.ndarray | None = None
        self._arrived_s = float("-inf")
        self._task: str | None = None
        self._buffer: FrameBuffer | None = None
        self._last: np.ndarray | None = None
        self._spoiled = ""

    @property
    def is_recording(self) -> bool:
        """Whether an episode has begun and not ended."""
        return self._task is not None

    def take(self, image: np.ndarray, now_s: float) -> None:
        """The newest image `(H, W, 3)` uint8 RGB, and when it arrived [s]."""
        self._image, self._arrived_s = image, now_s

    def spoil(self, reason: str) -> None:
        """The episode that is being recorded cannot be scored; the first reason counts."""
        if self.is_recording:
            self._spoiled = self._spoiled or reason

    def start(self, task: str, now_s: float) -> None:
        """Begin with the newest image.

        Raises:
            InvalidClip: An empty task.
            NoFrames: The camera is silent.
        """
        self._task = None
        check_task(task)
        self._check_age(now_s)
        self._buffer, self._last, self._spoiled = None, None, ""
        self._task = task
        self.sample(now_s)

    def sample(self, now_s: float) -> None:
        """Take the newest image as the next frame; call at `fps`. Does nothing between episodes."""
        if not self.is_recording or self._spoiled:
            return
        try:
            self._check_age(now_s)
        except NoFrames as error:
            self._spoiled = str(error)
            return
        assert self._image is not None
        # The newest frame waits, since only at the end it is known to be the last, which is kept in any case.
        self._keep_last(final=False)
        self._last = self._image

    def stop(self) -> Clip:
        """End the episode.

        Raises:
            NoFrames: None has begun, or it is spoiled.
        """
        task, self._task = self._task, None
        if task is None:
            raise NoFrames("No episode is being recorded. Call start first.")
        if not self._spoiled:
            self._keep_last(final=True)
        if self._spoiled or self._buffer is None:
            raise NoFrames(f"The recording cannot be scored. {self._spoiled}")
        return self._buffer.to_clip(task, self.fps)

    def _keep_last(self, *, final: bool) -> None:
        last = self._last
        if last is None:
            return
        if self._buffer is None:
            self._buffer = FrameBuffer(last, MAX_FRAMES, MAX_BYTES)
            return
        try:
            self._buffer.add(lambda: last, final=final)
        except NoFrames as error:  # another size
            self._spoiled = str(error)

    def _check_age(self, now_s: float) -> None:
        age_s = now_s - self._arrived_s
        if age_s > self._max_age_s:
            never = self._image is None
            raise NoFrames(
                f"{'No image has come from' if never else f'The last image is {age_s:.1f} s old:'} the camera. "
                "See whether it runs and whether the topic is right; then start again."
            )
