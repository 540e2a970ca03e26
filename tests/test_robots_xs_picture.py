"""A picture that is not what the camera should see, although it is a picture."""

import numpy as np
import pytest

from robots.conventions import NEUTRAL_JOINTS
from robots.errors import ArmFault, CameraError
from robots.xs.arm import XsArm
from robots.xs.images import View, check_shows_something
from tests.fakes_xs import FakeDriver, picture

SIZE = (48, 64)
ALTERED = {
    "red and blue are swapped": lambda image: image[:, :, ::-1],
    "it is upside down": lambda image: image[::-1, ::-1],
    "it is mirrored": lambda image: image[:, ::-1],
    "it is flipped": lambda image: image[::-1],
}


def noisy(image: np.ndarray, seed: int = 0, spread: int = 20) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-spread, spread, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def test_what_the_reference_shows_passes_in_another_light_with_noise_and_with_other_things() -> (
    None
):
    view = View(picture(*SIZE))
    view.check(noisy(picture(*SIZE)))
    view.check((picture(*SIZE) * 0.6).astype(np.uint8))
    other = picture(*SIZE)
    other[30:40, 40:55] = (200, 30, 30)
    view.check(other)


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_picture_is_refused_and_named(what: str) -> None:
    with pytest.raises(CameraError, match=what):
        View(picture(*SIZE)).check(noisy(ALTERED[what](picture(*SIZE))))


@pytest.mark.parametrize(
    ("altered", "message"),
    [("upside down", "upside down"), ("red and blue swapped", "red and blue are swapped")],
)
def test_before_the_start_nothing_moves_and_during_an_episode_the_arm_stops(
    altered: str, message: str
) -> None:
    driver = FakeDriver()
    arm = XsArm(driver, image_size=SIZE, timer=driver, view=View(picture(*SIZE)))
    driver.picture = altered
    with pytest.raises(CameraError, match=message):
        arm.reset(NEUTRAL_JOINTS, 1.0)
    assert driver.set_points == []
    driver.picture = "table"
    arm.reset(NEUTRAL_JOINTS, 1.0)
    arm.move(NEUTRAL_JOINTS, 1.0)
    arm.camera()
    driver.picture = altered
    arm.move(NEUTRAL_JOINTS, 1.0)
    with pytest.raises(ArmFault, match=message):
        arm.camera()


@pytest.mark.parametrize("seed", range(5))
def test_noise_in_the_dark_or_under_a_cover_is_no_picture(seed: int) -> None:
    dark = np.zeros((192, 256, 3), np.uint8)
    with pytest.raises(CameraError, match="dark"):
        check_shows_something(noisy(dark, seed, 12))
    with pytest.raises(CameraError, match="shows nothing"):
        check_shows_something(noisy(dark + 128, seed, 12))


def test_a_dim_picture_is_one() -> None:
    check_shows_something((picture(*SIZE) * 0.2).astype(np.uint8))
