"""Reading films: true time, bounded memory, and a clear word about every kind of broken file."""

import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from reward_models.protocol.frames import OFFICIAL
from reward_models.video.read import InvalidVideo, Window, read_footage, thin, thinned_rate
from tests.video_files import flat_frames, numbers, write_video

FRAME_BYTES = 32 * 48 * 3


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx"), ("a.avi", "mpeg4")]
)
def test_a_whole_video_is_read_in_order_at_its_rate(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(tmp_path / name, flat_frames(12), fps=5, codec=codec)
    footage = read_footage(path)
    assert numbers(footage.frames) == list(range(12))
    assert (footage.fps, footage.source_fps) == pytest.approx((5.0, 5.0))
    assert footage.total == 12


def test_red_stays_red(tmp_path: Path) -> None:
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    frames[..., 0] = 220
    red, green, blue = (
        read_footage(write_video(tmp_path / "a.mp4", frames)).frames[1].mean((0, 1)).tolist()
    )
    assert red > 200
    assert max(green, blue) < 20


def test_a_colon_in_a_name_is_not_taken_for_a_protocol(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(4)).rename(tmp_path / "concat:b.mp4")
    assert len(read_footage(path).frames) == 4


def test_a_long_video_is_thinned_to_the_frames_that_the_protocol_shows(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(50), fps=10)
    footage = read_footage(path, max_bytes=20 * FRAME_BYTES)
    assert len(footage.frames) <= 20
    assert footage.total == 50
    shown = footage.frames[OFFICIAL.frame_indices(len(footage.frames), footage.fps)]
    assert numbers(shown) == OFFICIAL.frame_indices(50, 10.0).tolist()


def test_thinning_never_changes_what_the_protocol_shows() -> None:
    totals, rooms, rates = (
        (2, 9, 40, 71, 299, 5003),
        (1, 8, 9, 23, 64, 255),
        (2.0, 5.0, 10.0, 29.97),
    )
    for total, most, fps in itertools.product(totals, rooms, rates):
        kept = thin(total, fps, most)
        assert len(kept) <= max(most, 8)
        shown = OFFICIAL.frame_indices(len(kept), thinned_rate(len(kept), total, fps))
        assert kept[shown].tolist() == OFFICIAL.frame_indices(total, fps).tolist()


def test_thinning_keeps_the_time_of_the_last_frame() -> None:
    kept = thin(1000, 30.0, 64)
    assert (len(kept) - 1) / thinned_rate(len(kept), 1000, 30.0) == pytest.approx(999 / 30)


def test_a_camera_that_dropped_frames_keeps_its_pause(tmp_path: Path) -> None:
    times = [0, 100, 200, 300, 400, 1400, 1500, 1600, 1700, 1800]
    path = write_video(tmp_path / "a.mkv", flat_frames(10), times_ms=times)
    footage = read_footage(path)
    assert footage.fps == pytest.approx(5.0)
    assert numbers(footage.frames) == [0, 2, 4, 4, 4, 4, 4, 5, 7, 9]


def test_the_rate_is_that_of_the_time_stamps_unless_it_is_given(tmp_path: Path) -> None:
    # The header, written first, promises 10 Hz.
    path = write_video(
        tmp_path / "a.mp4", flat_frames(6), fps=10, times_ms=[0, 250, 500, 750, 1000, 1250]
    )
    assert read_footage(path).fps == pytest.approx(4.0)
    assert read_footage(path, fps=7.0).fps == 7.0


def test_a_window_holds_the_frames_of_one_episode(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(30), fps=10)
    first, second = (read_footage(path, window=Window(*ends)) for ends in ((0.0, 1.2), (1.2, 3.0)))
    assert numbers(first.frames) == list(range(12))
    assert numbers(second.frames) == list(range(12, 30))
    assert second.fps == pytest.approx(10.0)


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
    upright = read_footage(path).frames[1]
    assert upright.shape == (48, 32, 3)
    assert upright[:20].mean() < 10 < upright[30:].mean()


def test_a_file_without_frames_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(InvalidVideo, match=r"with frames, got none in .*a\.avi"):
        read_footage(tmp_path / "a.avi")


def test_a_single_frame_is_no_film(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(1))
    with pytest.raises(InvalidVideo, match="at least two frames, got one"):
        read_footage(path)


def test_a_header_that_promises_more_frames_is_caught(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", flat_frames(12), codec="mpeg4")
    data = path.read_bytes()
    index = data.index(b"strh") + 8 + 32  # length of the stream, in frames
    assert int.from_bytes(data[index : index + 4], "little") == 12
    path.write_bytes(data[:index] + (900).to_bytes(4, "little") + data[index + 4 :])
    with pytest.raises(InvalidVideo, match="Expected 900 frames, as the header says, got 12"):
        read_footage(path)


@pytest.mark.parametrize("faststart", [True, False])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, *, faststart: bool) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(40), faststart=faststart)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidVideo, match=r"a\.mp4"):
        read_footage(path)


def test_damage_inside_is_noticed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 32, 48, 3), dtype=np.uint8)
    path = write_video(tmp_path / "a.mp4", noise)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 900] = bytes(900)
    path.write_bytes(data)
    # The decoder would paint over it with the frame before.
    with pytest.raises(InvalidVideo, match=r"damaged at 0\.\d+ s"):
        read_footage(path)


@pytest.mark.parametrize("content", [b"", b"This is no video." * 20])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InvalidVideo, match="damaged or no video"):
        read_footage(tmp_path / "a.mp4")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidVideo, match=r"nope\.mp4, which is neither"):
        read_footage(tmp_path / "nope.mp4")


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
    footage = read_footage(folder, fps=5.0)
    assert numbers(footage.frames) == list(range(12))
    assert footage.fps == 5.0


def test_a_folder_needs_a_frame_rate(tmp_path: Path) -> None:
    with pytest.raises(InvalidVideo, match="Pass --fps"):
        read_footage(write_images(tmp_path / "a", flat_frames(3)))


def test_of_a_large_folder_only_the_frames_to_show_are_opened(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", flat_frames(40))
    for i in set(range(40)) - {0, *OFFICIAL.frame_indices(40, 5.0).tolist()}:
        (folder / f"frame_{i}.png").write_bytes(b"")
    footage = read_footage(folder, fps=5.0, max_bytes=1)
    assert numbers(footage.frames) == OFFICIAL.frame_indices(40, 5.0).tolist()


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", flat_frames(4))
    (folder / "frame_2.png").write_bytes(b"no image")
    with pytest.raises(InvalidVideo, match=r"frame_2\.png"):
        read_footage(folder, fps=5.0)


def test_images_of_different_sizes_are_no_film(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a", flat_frames(4))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "frame_3.png")
    with pytest.raises(InvalidVideo, match="images of one size"):
        read_footage(folder, fps=5.0)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidVideo, match=r"images in .*, got none"):
        read_footage(tmp_path, fps=5.0)
