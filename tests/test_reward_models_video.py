"""Reading of recordings: true time and colours, bounded memory, and a clear error for every kind of broken file."""

import itertools
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, sample_clip
from reward_models.video import read_clip
from reward_models.video.rate import frame_rate
from reward_models.video.read import VideoSegment, open_recording
from reward_models.video.recording import InvalidVideo, Recording
from reward_models.video.write import write_mp4
from tests.video_files import flat_frames, numbers, write_video

FRAME_BYTES = 32 * 48 * 3


def read(path: Path, fps: float | None = None, **how: Any) -> Recording:
    return open_recording(path, fps).read(**how)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")]
)
def test_a_whole_video_is_read_in_order_at_its_rate(tmp_path: Path, name: str, codec: str) -> None:
    recording = read(write_video(tmp_path / name, flat_frames(12), fps=5, codec=codec))
    assert numbers(recording.frames) == list(range(12))
    assert recording.fps == 5.0
    assert recording.num_frames == 12
    assert recording.indices.tolist() == list(range(12))


def test_read_clip_makes_the_clip_of_a_video(tmp_path: Path) -> None:
    clip = read_clip(write_video(tmp_path / "a.mp4", flat_frames(6), fps=5), "open the drawer")
    assert (clip.task, clip.fps, clip.indices) == ("open the drawer", 5.0, None)
    assert numbers(clip.frames) == list(range(6))


def test_red_stays_red(tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    frames[..., 0] = 220
    red, green, blue = read(write_video(tmp_path / "a.mp4", frames)).frames[1].mean((0, 1)).tolist()
    assert red > 200
    assert max(green, blue) < 20


BT709, BT601 = ("ITU709", 1), ("ITU601", 6)


@pytest.mark.parametrize("colorspace", [None, BT709, BT601, ("ITU601", 5)])
def test_colours_are_decoded_by_the_matrix_they_were_encoded_with(
    tmp_path: Path, colorspace: tuple[str, int] | None
) -> None:
    colour = np.array([200, 60, 30], np.uint8)
    frames = np.broadcast_to(colour, (3, 32, 32, 3))
    path = write_video(tmp_path / "a.mp4", frames, colorspace=colorspace)
    assert read(path).frames.mean((0, 1, 2)) == pytest.approx(colour, abs=3)


def test_a_colon_in_a_name_is_not_taken_for_a_protocol(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(4)).rename(tmp_path / "concat:b.mp4")
    assert len(read(path).frames) == 4


GRID = list(itertools.product((2, 7, 20, 31, 45), (3.0, 7.0, 10.0, 15.0, 30000 / 1001)))


@pytest.mark.parametrize("room", [1, 12])
@pytest.mark.parametrize(("count", "fps"), GRID)
def test_prompt_and_pixels_are_those_without_the_memory_limit(
    tmp_path: Path, count: int, fps: float, room: int
) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(count), fps)
    whole, limited = (read(path, max_bytes=most).clip("x") for most in (10**9, room * FRAME_BYTES))
    assert len(limited.frames) <= max(ROBOREWARD_PROTOCOL.max_frames, room)
    assert whole.fps == limited.fps == fps
    seen, seen_limited = sample_clip(whole), sample_clip(limited)
    assert np.array_equal(seen.frames, seen_limited.frames)
    assert seen.group_times_s == seen_limited.group_times_s
    assert seen.indices.tolist() == seen_limited.indices.tolist()
    assert (seen.total, seen.fps) == (seen_limited.total, seen_limited.fps)


def test_all_frames_are_kept_up_to_the_memory_limit(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(20))
    assert len(read(path, max_bytes=20 * FRAME_BYTES).frames) == 20
    assert len(read(path, max_bytes=20 * FRAME_BYTES - 1).frames) == 17


def test_a_stream_yields_every_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(20))
    assert numbers(np.stack(list(open_recording(path).stream()))) == list(range(20))


def test_a_camera_that_dropped_frames_keeps_its_pause(tmp_path: Path) -> None:
    times = [0, 100, 200, 300, 400, 1400, 1500, 1600, 1700, 1800]
    path = write_video(tmp_path / "a.mkv", flat_frames(10), times_ms=times)
    expected = [0, 2, 4, 4, 4, 4, 4, 5, 7, 9]
    recording = read(path)
    assert recording.fps == pytest.approx(5.0)
    assert numbers(recording.frames) == expected
    assert numbers(np.stack(list(open_recording(path).stream()))) == expected
    limited = read(path, max_bytes=1)
    assert numbers(limited.frames) == [expected[i] for i in limited.indices]


def test_the_rate_is_that_of_the_time_stamps_unless_it_is_given(tmp_path: Path) -> None:
    # The header, written first, promises 10 Hz.
    path = write_video(
        tmp_path / "a.mp4", flat_frames(6), fps=10, times_ms=[0, 250, 500, 750, 1000, 1250]
    )
    assert read(path).fps == 4.0
    assert read(path, fps=7.0).fps == 7.0


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("rate", [3, 15, 24, 30, 60, Fraction(30000, 1001)])
def test_the_rate_is_exact_although_time_stamps_are_rounded(
    tmp_path: Path, suffix: str, rate: float
) -> None:
    path = write_video(tmp_path / f"a.{suffix}", flat_frames(45), float(rate))
    assert read(path).fps == float(rate)


def test_45_frames_at_15_hz_are_three_seconds_and_give_six_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(45), 15)
    assert len(sample_clip(read(path).clip("x")).frames) == 6


@pytest.mark.parametrize("fps", [15, 24, 30, Fraction(24000, 1001)])
def test_a_rate_that_no_header_tells_is_found_among_rounded_time_stamps(fps: Fraction) -> None:
    unit = Fraction(1, 1000)
    times: list[Fraction | None] = [round(k / Fraction(fps) / unit) * unit for k in range(45)]
    rate, shown = frame_rate(times, [Fraction(50)], unit, "a.webm")
    assert rate == float(fps)
    assert shown.tolist() == list(range(45))


@pytest.mark.parametrize("drift_ms", [-99, -50, 0, 2, 50, 99])
def test_a_segment_whose_beginning_drifted_holds_its_own_frames(
    tmp_path: Path, drift_ms: int
) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(30), fps=5)
    segment = VideoSegment(path, 5.0, 12, 10 / 5 + drift_ms / 1000)
    assert numbers(segment.read().frames) == list(range(10, 22))
    assert numbers(np.stack(list(segment.stream()))) == list(range(10, 22))
    limited = segment.read(max_bytes=1)
    assert numbers(limited.frames) == (10 + ROBOREWARD_PROTOCOL.frame_indices(12, 5.0)).tolist()
    assert (limited.num_frames, limited.fps) == (12, 5.0)


def test_a_segment_takes_the_frames_nearest_to_its_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(40), fps=30)
    assert numbers(VideoSegment(path, 10.0, 5, 0.5).read().frames) == [15, 18, 21, 24, 27]
    with pytest.raises(InvalidVideo, match=r"no frame at 0.017 s, .* 60 frames per second"):
        VideoSegment(path, 60.0, 5, 0.0).read()


def test_a_segment_that_the_file_does_not_hold_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(12), fps=5)
    with pytest.raises(
        InvalidVideo, match=r"ends too early: 8 frames from 1\.000 s .* there are 7"
    ):
        VideoSegment(path, 5.0, 8, 1.0).read()


def test_a_video_held_upright_is_read_upright(tmp_path: Path) -> None:
    frames = flat_frames(3, 32, 48)
    frames[:, :, :24] = 0  # dark on the left
    path = write_video(tmp_path / "a.mp4", frames)
    data = bytearray(path.read_bytes())
    # The matrix of the track header, 36 bytes: a quarter turn clockwise.
    start = data.index(b"tkhd") + 4 + 40
    turn = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turn)
    path.write_bytes(data)
    upright = read(path).frames[1]
    assert upright.shape == (48, 32, 3)
    assert upright[:20].mean() < 10 < upright[30:].mean()


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(InvalidVideo, match=r"a\.avi has no frames"):
        read(tmp_path / "a.avi")


def test_a_single_frame_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(1))
    with pytest.raises(InvalidVideo, match="a single frame, and progress is a change"):
        read(path)


def promise(path: Path, count: int) -> Path:
    """Write another number of frames into the header of an AVI file."""
    data = path.read_bytes()
    place = data.index(b"strh") + 8 + 32
    path.write_bytes(data[:place] + count.to_bytes(4, "little") + data[place + 4 :])
    return path


def test_a_header_that_promises_many_more_frames_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", flat_frames(12), codec="mpeg4")
    with pytest.raises(InvalidVideo, match="promises 900 frames, and there are 12"):
        read(promise(path, 900))


def test_a_header_that_promises_one_frame_too_many_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = promise(write_video(tmp_path / "a.avi", flat_frames(12), codec="mpeg4"), 13)
    with caplog.at_level(logging.WARNING):
        assert numbers(read(path).frames) == list(range(12))
    assert "promises 13 frames, and there are 12" in caplog.text


@pytest.mark.parametrize("faststart", [True, False])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, *, faststart: bool) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(40), faststart=faststart)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidVideo, match=r"a\.mp4"):
        read(path)


def test_damage_inside_is_noticed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 32, 48, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 900] = bytes(900)
    path.write_bytes(data)
    # The decoder would paint over it with the frame before.
    with pytest.raises(InvalidVideo, match=r"damaged at 0\.\d+ s"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"This is not a video." * 20])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InvalidVideo, match="damaged or no video"):
        read(tmp_path / "a.mp4")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidVideo, match=r"no video or folder of frames at .*nope\.mp4"):
        read(tmp_path / "nope.mp4")


def write_images(folder: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame_{i}{suffix}")
    return folder


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_folder_of_frames_is_read_in_the_order_of_their_numbers(
    tmp_path: Path, suffix: str
) -> None:
    folder = write_images(tmp_path / "a", flat_frames(12), suffix)
    (folder / "notes.txt").touch()
    recording = read(folder, fps=5.0)
    assert numbers(recording.frames) == list(range(12))
    assert recording.fps == 5.0


def test_a_folder_needs_a_frame_rate(tmp_path: Path) -> None:
    with pytest.raises(InvalidVideo, match="Pass --fps"):
        read(write_images(tmp_path / "a", flat_frames(3)))


def test_of_a_large_folder_only_the_needed_images_are_opened(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", flat_frames(40))
    for i in set(range(40)) - {0, *ROBOREWARD_PROTOCOL.frame_indices(40, 5.0).tolist()}:
        (folder / f"frame_{i}.png").write_bytes(b"")
    recording = read(folder, fps=5.0, max_bytes=1)
    assert numbers(recording.frames) == ROBOREWARD_PROTOCOL.frame_indices(40, 5.0).tolist()


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", flat_frames(4))
    (folder / "frame_2.png").write_bytes(b"no image")
    with pytest.raises(InvalidVideo, match=r"frame_2\.png"):
        read(folder, fps=5.0)


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", flat_frames(4))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "frame_3.png")
    with pytest.raises(InvalidVideo, match="different sizes: 8x8, 32x48"):
        read(folder, fps=5.0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidVideo, match=r"There are no .* images in"):
        read(tmp_path, fps=5.0)


def test_a_photo_is_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    frames = flat_frames(3, 32, 48)
    frames[:, :, :24] = 0  # dark on the left
    folder = tmp_path / "a"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i}.jpg", exif=turned, quality=95)
    upright = read(folder, fps=5.0).frames[1]
    assert upright.shape == (48, 32, 3)
    assert upright[:20].mean() < 10 < upright[30:].mean()


def test_a_beginning_of_a_recording_keeps_what_was_read_of_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(30))
    limited = read(path, max_bytes=1, thinning=lambda n, _, __: np.array([0, 4, 9, n - 1]))
    beginning = limited.beginning(10)
    assert numbers(beginning.frames) == beginning.indices.tolist() == [0, 4, 9]
    assert beginning.clip("x").num_frames == 10


LABELLED = Path(__file__).parents[2] / "shared/data/groot_labeled_frames/labeled_frames_video.mp4"


@pytest.mark.skipif(not LABELLED.is_file(), reason="needs the shared folder of real data")
def test_a_real_av1_video_is_read_whole_at_its_rate() -> None:
    recording = read(LABELLED)
    assert recording.frames.shape == (40, 480, 640, 3)
    assert recording.fps == 20.0
    segment = VideoSegment(LABELLED, 20.0, 10, 1.0).read()
    assert np.array_equal(segment.frames, recording.frames[20:30])


def test_an_odd_side_is_padded_when_written(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", flat_frames(4, 31, 47), 10.0)
    recording = read(tmp_path / "a.mp4")
    assert recording.frames.shape == (4, 32, 48, 3)
    assert numbers(recording.frames) == list(range(4))
