"""Images of any camera that is 4:3 and in colour."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from robots.errors import ArmFault, CameraError
from robots.xs.feeds import ImageFeed
from robots.xs.images import RawImage, fit_4_3, to_rgb


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Red left, blue right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 200
    image[:, width // 2 :, 2] = 100
    return image


def raw(image: np.ndarray, encoding: str = "rgb8", padding: int = 0) -> RawImage:
    height, width = image.shape[:2]
    rows = np.pad(image.reshape(height, -1), ((0, 0), (0, padding)), constant_values=77)
    return RawImage(rows.tobytes(), 0.0, encoding, height, width, rows.shape[1])


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_raw_images_come_out_as_rgb(encoding: str, padding: int) -> None:
    image = picture()
    sent = image if encoding == "rgb8" else image[..., ::-1]
    np.testing.assert_array_equal(to_rgb(raw(sent, encoding, padding)), image)


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_compressed_images_come_out_as_rgb(kind: str) -> None:
    image = picture()
    code = cv2.imencode(kind, image[..., ::-1])[1]
    decoded = to_rgb(RawImage(code.tobytes(), 0.0, compressed=True))
    np.testing.assert_allclose(decoded[:, [5, 60]], image[:, [5, 60]], atol=12)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (raw(picture(), "mono16"), "rgb8 or bgr8, got 'mono16'"),
        (RawImage(b"123", 0.0, "rgb8", 48, 64, 192), "got 3 bytes"),
        (RawImage(b"", 0.0, "rgb8", 48, 64, 100), "at least 192 bytes"),
    ],
)
def test_images_that_cannot_be_read_are_refused(image: RawImage, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        to_rgb(image)


@pytest.mark.parametrize("data", [b"", b"no image"])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(CameraError, match=f"{len(data)} bytes are not a JPEG or PNG image"):
        to_rgb(RawImage(data, 0.0, compressed=True))


@pytest.mark.parametrize("size", [(480, 640), (600, 800), (96, 128), (1080, 1440)])
def test_any_4_3_size_fits(size: tuple[int, int]) -> None:
    fitted = fit_4_3(picture(*size), (96, 128))
    assert fitted.shape == (96, 128, 3)
    np.testing.assert_array_equal(fitted[10, 10], [200, 0, 0])
    np.testing.assert_array_equal(fitted[10, 120], [0, 0, 100])


def test_an_image_smaller_than_needed_is_not_enlarged() -> None:
    with pytest.raises(CameraError, match="64x48 are smaller than the 128x96"):
        fit_4_3(picture(48, 64), (96, 128))


@pytest.mark.parametrize("size", [(480, 854), (480, 480), (0, 0)])
def test_another_aspect_ratio_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CameraError, match=r"4:3 .* got "):
        fit_4_3(np.zeros((*size, 3), np.uint8), (96, 128))


def test_the_result_is_not_the_message() -> None:
    image = picture()
    fitted = fit_4_3(to_rgb(raw(image)), (48, 64))
    assert fitted.flags.writeable
    assert fitted.flags.owndata


def test_a_feed_gives_the_newest_and_knows_its_age() -> None:
    feed = ImageFeed((48, 64))
    with pytest.raises(CameraError, match="no image yet"):
        feed.rgb()
    assert feed.age_s(1.0) == float("inf")
    feed.take(RawImage(b"", 999.9, "rgb8", 0, 0, 0), now=1.0, wall=1000.0)
    assert feed.age_s(1.2) == pytest.approx(0.3)
    feed.forget()
    assert feed.age_s(1.2) == float("inf")


def test_the_same_image_is_fine_while_the_arm_stands_still() -> None:
    feed, image, still = ImageFeed((48, 64)), picture(), np.zeros(6)
    for now in np.arange(0.0, 5.0, 0.2):
        feed.take(replace(raw(image), stamp_s=now), now, now)
        feed.check_changes(image, still, float(now), 0.5)
    feed.check_changes(image, still + 0.01, 6.0, 0.5)
    with pytest.raises(ArmFault, match="It is frozen"):
        feed.check_changes(image, still + 0.1, 6.2, 0.5)
