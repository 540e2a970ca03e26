"""Which frames of a recording RoboReward sees, when they were taken, and the size they are resized to.

The numbers are those of the checkpoints' own processor. Recordings that were thinned to save memory keep the indices of
their frames, so that thinning changes neither prompt nor pixels as long as `wanted_indices` were kept.
"""

import math
from dataclasses import dataclass

import numpy as np

from roboreward_gym.errors import InvalidClip
from roboreward_gym.types import Clip

PATCH = 16
MERGE = 2
TEMPORAL_PATCH = 2
TOKEN_PIXELS = PATCH * MERGE
"""Side of the square that one visual token covers, in pixels."""

MAX_ASPECT_RATIO = 200


@dataclass(frozen=True)
class VideoProtocol:
    """Frame sampling and pixel budget; the defaults are those that RoboReward was trained with."""

    fps: float = 2.0
    """Sampling rate in [Hz] that the number of frames is derived from."""
    min_frames: int = 4
    """Fewest frames, unless the clip itself is shorter."""
    max_frames: int = 8
    """Most frames."""
    min_pixels: int = 256 * 28 * 28
    """Least pixels of a whole clip (frames x height x width) after resizing."""
    max_pixels: int = 1024 * 28 * 28
    """Most pixels of a whole clip after resizing."""

    def frame_indices(self, total: int, fps: float) -> np.ndarray:
        """Choose frames spread evenly over the clip, the first and the last included.

        Args:
            total: Frames in the clip.
            fps: Frame rate of the clip in [Hz].

        Returns:
            `(n,)` int64 indices, increasing; equal to `Qwen3VLVideoProcessor.sample_frames`.
        """
        wanted = int(total / fps * self.fps)
        n = min(max(wanted, self.min_frames), self.max_frames, total)
        return np.linspace(0, total - 1, n).round().astype(np.int64)


ROBOREWARD_PROTOCOL = VideoProtocol()


def wanted_indices(
    num_frames: int, fps: float, protocol: VideoProtocol = ROBOREWARD_PROTOCOL
) -> np.ndarray:
    """Say which frames of a whole recording the model is shown.

    A reader that keeps these can drop all others without any effect on a score.

    Args:
        num_frames: Frames of the whole recording.
        fps: Frame rate of the whole recording in [Hz].
        protocol: Frame sampling.

    Returns:
        `(n,)` int64 indices, strictly increasing, the first and the last frame included.
    """
    return protocol.frame_indices(num_frames, fps)


def thinned_indices(
    num_frames: int, fps: float, most: int, protocol: VideoProtocol = ROBOREWARD_PROTOCOL
) -> np.ndarray:
    """Choose at most `most` frames of a recording: those that the model is shown, and evenly spread ones between.

    Args:
        num_frames: Frames of the whole recording.
        fps: Frame rate of the whole recording in [Hz].
        most: How many frames there is room for; `wanted_indices` are kept in any case.
        protocol: Frame sampling.

    Returns:
        `(n,)` int64 indices, strictly increasing: the `indices` of a thinned `Clip`.
    """
    if num_frames <= most:
        return np.arange(num_frames)
    wanted = wanted_indices(num_frames, fps, protocol)
    spread = np.linspace(0, num_frames - 1, max(most - len(wanted), 0)).round().astype(np.int64)
    return np.union1d(wanted, spread)


@dataclass(frozen=True, eq=False)
class SampledClip:
    """The frames of a clip that a model is shown.

    Attributes:
        frames: `(n, H, W, 3)` uint8 RGB.
        indices: `(n,)` int64, which frames of the whole recording these are.
        total: Frames of the whole recording.
        fps: Frame rate of the whole recording in [Hz].
        task: The instruction that the robot was given.
        missing: Indices that the protocol asks for and a thinned recording no longer has; the nearest frames that it
            has are shown instead, each once.
    """

    frames: np.ndarray
    indices: np.ndarray
    total: int
    fps: float
    task: str
    missing: tuple[int, ...] = ()

    @property
    def group_times_s(self) -> tuple[float, ...]:
        """Time of each temporal patch in [s]: the mean of its two frames, as the prompt states it."""
        indices = self.indices.tolist()
        indices += indices[-1:] * (-len(indices) % TEMPORAL_PATCH)
        # The same operations in the same order as the processor: times are rounded to 0.1 s later.
        times = [index / self.fps for index in indices]
        return tuple((a + b) / 2 for a, b in zip(times[::2], times[1::2], strict=True))


def sample_clip(clip: Clip, protocol: VideoProtocol = ROBOREWARD_PROTOCOL) -> SampledClip:
    """Pick the frames that the model sees, by their places in the whole recording.

    Raises:
        InvalidClip: Fewer than two frames (one frame shows no change, and the vision tower takes
            frames in pairs), or frames too small or too narrow for a single visual token.
    """
    count, height, width, _ = clip.frames.shape
    if count < TEMPORAL_PATCH:
        raise InvalidClip(
            f"A clip needs at least {TEMPORAL_PATCH} frames, this one has {count}: progress is a change between "
            "frames. Record the reset and the final frame at least."
        )
    if min(height, width) < TOKEN_PIXELS:
        raise InvalidClip(
            f"Frames must have at least {TOKEN_PIXELS}x{TOKEN_PIXELS} pixels, got {height}x{width} "
            "(height x width). Render larger images."
        )
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise InvalidClip(
            f"The aspect ratio of {height}x{width} frames is above {MAX_ASPECT_RATIO}. Crop them."
        )
    total = clip.num_frames or count
    kept = np.arange(count) if clip.indices is None else np.asarray(clip.indices, np.int64)
    wanted = wanted_indices(total, clip.fps, protocol)
    places = np.unique(_nearest(kept, wanted))
    missing = tuple(np.setdiff1d(wanted, kept).tolist())
    return SampledClip(clip.frames[places], kept[places], total, clip.fps, clip.task, missing)


def _nearest(kept: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted index the place in `kept` of the nearest one, of two equally near ones the later."""
    after = np.searchsorted(kept, wanted).clip(max=len(kept) - 1)
    before = (after - 1).clip(min=0)
    return np.where(wanted - kept[before] < kept[after] - wanted, before, after)


def resized_size(
    n_frames: int, height: int, width: int, protocol: VideoProtocol = ROBOREWARD_PROTOCOL
) -> tuple[int, int]:
    """Return the (height, width) in pixels that frames are resized to, to fit the pixel budget."""
    t = math.ceil(n_frames / TEMPORAL_PATCH) * TEMPORAL_PATCH
    h, w = (round(side / TOKEN_PIXELS) * TOKEN_PIXELS for side in (height, width))
    if t * h * w > protocol.max_pixels:
        beta = math.sqrt(n_frames * height * width / protocol.max_pixels)
        h, w = (
            max(TOKEN_PIXELS, math.floor(side / beta / TOKEN_PIXELS) * TOKEN_PIXELS)
            for side in (height, width)
        )
    elif t * h * w < protocol.min_pixels:
        beta = math.sqrt(protocol.min_pixels / (n_frames * height * width))
        h, w = (math.ceil(side * beta / TOKEN_PIXELS) * TOKEN_PIXELS for side in (height, width))
    return h, w
