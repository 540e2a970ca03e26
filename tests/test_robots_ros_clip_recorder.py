"""Recording a camera that sends by itself: a steady rate, bounded memory, and no score of what was not seen."""

import numpy as np
import pytest

from roboreward_gym.errors import InvalidClip, NoFrames
from roboreward_gym.recording import MAX_FRAMES
from robots.ros.clip_recorder import ClipRecorder

TASK = "open the left drawer"
PERIOD_S = 0.2


def image(value: int, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return np.full((*size, 3), value % 256, np.uint8)


def record(recorder: ClipRecorder, samples: int) -> None:
    """Start, then show and sample the images 1, 2, 3 and so on."""
    recorder.take(image(0), 0.0)
    recorder.start(TASK, 0.0)
    for i in range(1, samples):
        recorder.take(image(i), i * PERIOD_S)
        recorder.sample(i * PERIOD_S)


def test_the_clip_holds_the_samples_in_order() -> None:
    recorder = ClipRecorder(5.0)
    record(recorder, 4)
    clip = recorder.stop()
    assert clip.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert (clip.task, clip.fps) == (TASK, 5.0)
    assert not recorder.is_recording


def test_a_start_alone_is_a_clip_of_one_frame() -> None:
    recorder = ClipRecorder(5.0)
    record(recorder, 1)
    assert len(recorder.stop().frames) == 1


def test_a_camera_slower_than_the_rate_repeats_its_image() -> None:
    recorder = ClipRecorder(5.0)
    recorder.take(image(7), 0.0)
    recorder.start(TASK, 0.0)
    recorder.sample(0.2)
    recorder.sample(0.4)
    assert recorder.stop().frames[:, 0, 0, 0].tolist() == [7, 7, 7]


def test_a_long_episode_keeps_its_first_and_last_frame_in_bounded_memory() -> None:
    recorder = ClipRecorder(5.0)
    record(recorder, 1000)
    clip = recorder.stop()
    assert len(clip.frames) <= MAX_FRAMES
    assert clip.num_frames == 1000
    assert clip.indices is not None
    assert clip.indices[0] == 0
    assert clip.frames[:, 0, 0, 0].tolist() == [i % 256 for i in clip.indices]


def test_without_an_image_nothing_begins() -> None:
    recorder = ClipRecorder(5.0)
    with pytest.raises(NoFrames, match="No image has come"):
        recorder.start(TASK, 0.0)
    recorder.take(image(0), 0.0)
    with pytest.raises(NoFrames, match=r"3\.0 s old"):
        recorder.start(TASK, 3.0)
    with pytest.raises(NoFrames, match="Call start first"):
        recorder.stop()


def test_an_empty_task_is_refused() -> None:
    recorder = ClipRecorder(5.0)
    recorder.take(image(0), 0.0)
    with pytest.raises(InvalidClip, match="empty"):
        recorder.start("  ", 0.0)


def test_a_silent_camera_spoils_the_recording_and_the_next_one_is_sound() -> None:
    recorder = ClipRecorder(5.0)
    record(recorder, 3)
    recorder.sample(9.0)
    recorder.take(image(9), 9.1)
    recorder.sample(9.1)  # it came back, but nobody knows what happened meanwhile
    with pytest.raises(NoFrames, match="s old"):
        recorder.stop()
    recorder.start(TASK, 9.2)
    assert len(recorder.stop().frames) == 1


def test_an_image_of_another_size_or_kind_spoils_the_recording() -> None:
    recorder = ClipRecorder(5.0)
    record(recorder, 2)
    recorder.take(image(9, (3, 4)), 0.4)
    recorder.sample(0.4)
    with pytest.raises(NoFrames, match="shape"):
        recorder.stop()
    record(recorder, 2)
    recorder.spoil("The image encoding must be rgb8.")
    with pytest.raises(NoFrames, match="encoding"):
        recorder.stop()


def test_a_new_start_drops_what_was_recorded() -> None:
    recorder = ClipRecorder(5.0)
    record(recorder, 5)
    recorder.start("close the left drawer", 0.8)
    clip = recorder.stop()
    assert (len(clip.frames), clip.task) == (1, "close the left drawer")
