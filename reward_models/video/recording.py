"""What reading gives: the frames that were kept of a recording, and where they lie in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from reward_models.protocol.frames import thinned_indices
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import Clip

MAX_BYTES = 64 * 2**20
"""Most memory that the frames of a recording take; a larger one is thinned."""

Thinning = Callable[[int, float, int], np.ndarray]
"""Which frames of a recording to keep: from how many it has, its rate in [Hz], and how many there is room for."""


class InvalidVideo(RoboRewardError, ValueError):
    """A file or folder that cannot be read as the recording of one episode."""


@dataclass(frozen=True, eq=False)
class Recording:
    """The frames that were kept of a recording.

    Attributes:
        frames: `(n, H, W, 3)` uint8 RGB.
        indices: `(n,)` int64, increasing: which frames of the whole recording these are.
        num_frames: Frames of the whole recording.
        fps: Frames per second of the whole recording, in [Hz].
    """

    frames: np.ndarray
    indices: np.ndarray
    num_frames: int
    fps: float

    def clip(self, task: str) -> Clip:
        """Return what a reward model is given.

        Raises:
            InvalidClip: An empty task.
        """
        if len(self.indices) == self.num_frames:
            return Clip(self.frames, task, self.fps)
        return Clip(self.frames, task, self.fps, self.indices, self.num_frames)

    def beginning(self, num_frames: int) -> "Recording":
        """Return the recording as it was after `num_frames` frames, of which the last must have been kept."""
        kept = self.indices < num_frames
        return Recording(self.frames[kept], self.indices[kept], num_frames, self.fps)


class RecordingSource(Protocol):
    """A place on disk that holds one recording."""

    def read(self, max_bytes: int = MAX_BYTES, thinning: Thinning = thinned_indices) -> Recording:
        """Read all frames, or where they take more than `max_bytes`, those that `thinning` chooses.

        By default these are the frames that RoboReward's protocol samples, and evenly spread ones for
        reward models that sample otherwise.

        Raises:
            InvalidVideo: It cannot be read, or not as a whole.
        """
        ...

    def stream(self) -> Iterator[np.ndarray]:
        """Yield every frame in order, `(H, W, 3)` uint8, one in memory at a time.

        Raises:
            InvalidVideo: It cannot be read, or not as a whole.
        """
        ...


def stack(frames: list[np.ndarray], name: object) -> np.ndarray:
    """Put `(H, W, 3)` frames of one size into one `(T, H, W, 3)` array.

    Raises:
        InvalidVideo: Their sizes differ.
    """
    sizes = sorted({frame.shape[:2] for frame in frames})
    if len(sizes) != 1:
        raise InvalidVideo(
            f"The frames of {name} have different sizes: "
            f"{', '.join(f'{height}x{width}' for height, width in sizes)}. Make them equal."
        )
    return np.stack(frames)
