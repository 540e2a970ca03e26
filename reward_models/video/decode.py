"""Decoding of video files: every frame with its exact time, in true colours, and damage is an error.

A header may promise what the file does not hold, so frames are counted and dated by decoding them.
"""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from reward_models.video.recording import InvalidVideo

logger = logging.getLogger(__name__)

MISCOUNT = 1
"""Frames that a header may promise too many: some programs count one that they never write."""

COLORSPACES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
"""FFmpeg's number of a colour space (`AVCOL_SPC_...`) -> swscale's number of its matrix (`SWS_CS_...`)."""


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame.

    Attributes:
        time_s: When it is shown, exactly; None if the file does not tell.
        picture: As the decoder left it.
        path: The file, for errors.
    """

    time_s: Fraction | None
    picture: av.VideoFrame
    path: Path

    @property
    def nbytes(self) -> int:
        """Memory that it takes as RGB, in bytes."""
        return self.picture.height * self.picture.width * 3

    def check(self) -> None:
        """Refuse a damaged picture, which the decoder would paint over with the one before.

        Raises:
            InvalidVideo: It is damaged.
        """
        if self.picture.is_corrupt:
            raise InvalidVideo(
                f"{self.path} is damaged at {self.picture.time} s. Record the episode again."
            )

    def rgb(self) -> np.ndarray:
        """Return it as `(H, W, 3)` uint8 RGB, upright."""
        picture = self.picture
        # Without a tag it is BT.601, as for FFmpeg, torchcodec and what RoboReward was trained with.
        matrix = COLORSPACES.get(int(picture.colorspace), Colorspace.ITU601.value)
        full = int(picture.color_range) == ColorRange.JPEG.value
        image = picture.reformat(
            format="rgb24",
            src_colorspace=matrix,
            # The matrix of the target is not used for RGB; only if both differ is the source's used.
            dst_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        ).to_ndarray()
        # A phone held upright says so in its metadata; people and RoboReward expect it upright.
        turns = round(picture.rotation / 90)
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


@dataclass(frozen=True)
class VideoDecoder:
    """An open file.

    Attributes:
        path: The file.
        container: As FFmpeg opened it.
    """

    path: Path
    container: av.container.InputContainer

    @property
    def stream(self) -> av.VideoStream:
        """The first video stream."""
        return self.container.streams.video[0]

    @property
    def rates(self) -> list[Fraction]:
        """Frame rates in [Hz] that the file says, some of which may be wrong."""
        said = (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate)
        return [rate for rate in dict.fromkeys(said) if rate]

    @property
    def time_base(self) -> Fraction:
        """Unit of the time stamps in [s]: they are rounded to whole multiples of it."""
        return self.stream.time_base or Fraction(0)

    def frames(self, start_s: float = 0.0) -> Iterator[VideoFrame]:
        """Decode from the last key frame before `start_s` to the end.

        Raises:
            InvalidVideo: The file is damaged; or, read from its beginning, ends too early.
        """
        stream = self.stream
        if start_s > 0 and stream.time_base:
            self.container.seek(int(start_s / stream.time_base), stream=stream)
        packets = 0
        for packet in self.container.demux(stream):
            packets += packet.size > 0
            for picture in stream.decode(packet):
                pts, unit = picture.pts, picture.time_base
                time_s = None if pts is None or unit is None else pts * unit
                yield VideoFrame(time_s, picture, self.path)
        if start_s <= 0:
            self._check_count(packets)

    def _check_count(self, found: int) -> None:
        promised = self.stream.frames
        if found + MISCOUNT < promised:
            raise InvalidVideo(
                f"{self.path} was cut short: its header promises {promised} frames, and there are "
                f"{found}. Record the episode again. If nothing is missing, repair the header with "
                "`ffmpeg -i OLD -c copy NEW`."
            )
        if found < promised:
            logger.warning(
                "The header of %s promises %d frames, and there are %d. Check that the end is there.",
                self.path,
                promised,
                found,
            )


@contextmanager
def open_video(path: Path) -> Generator[VideoDecoder, None, None]:
    """Open a file; errors of FFmpeg while it is open become ours.

    Raises:
        InvalidVideo: Damaged, or no video.
    """
    if not path.is_file():
        raise InvalidVideo(f"There is no video or folder of frames at {path}.")
    try:
        # With the protocol spelled out, a colon in a name is not taken for one.
        with av.open(f"file:{path}") as container:
            if not container.streams.video:
                raise InvalidVideo(f"{path} has no video stream.")
            yield VideoDecoder(path, container)
    except av.FFmpegError as error:
        raise InvalidVideo(
            f"{path} is damaged or no video: {error.strerror}. Record the episode again."
        ) from error
