"""Video files and images: `read_clip` for everybody, the modules for the rest of this package."""

from pathlib import Path

from roboreward_gym.types import Clip


def read_clip(path: Path | str, task: str, *, fps: float | None = None) -> Clip:
    """Read a video file, or a folder with one image per frame, as the clip that a reward model scores.

    The clip holds all frames where they fit in 64 MiB. A longer recording is thinned to the frames that
    RoboReward's protocol samples and evenly spread ones between, so that its score is the same.

    Args:
        path: An MP4, WebM, MKV, AVI or MOV file, or a folder of PNG or JPEG files.
        task: The instruction that the robot was given, one sentence.
        fps: Frames per second in [Hz], instead of the file's time stamps; a folder has none.

    Returns:
        The clip; its `fps`, `indices` and `num_frames` are those of the whole recording.

    Raises:
        InvalidVideo: Missing, empty, damaged, cut short, or without a frame rate.
        InvalidClip: An empty task.
    """
    # Here, so that code which only sends images needs no video decoder.
    from reward_models.video.read import open_recording

    return open_recording(Path(path), fps=fps).read().clip(task)
