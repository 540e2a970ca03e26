import numpy as np
import pytest
import torch

from policies.errors import InvalidObservation
from policies.vision import IMAGE_SIZE, LandmarkNet, augment, downsample, landmark_loss


def test_downsample_averages_areas() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 192, 256, 3)).astype(np.uint8)
    mean = image.reshape(2, 96, 2, 128, 2, 3).mean((2, 4))
    assert downsample(image).shape == (2, *IMAGE_SIZE, 3)
    assert np.abs(downsample(image) - mean).max() <= 0.5


def test_downsampled_images_pass_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, *IMAGE_SIZE, 3)).astype(np.uint8)
    assert np.array_equal(downsample(image), image)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((192, 192, 3), np.uint8),
        np.zeros((48, 64, 3), np.uint8),
        np.zeros((192, 256, 3), np.float32),
        np.zeros((192, 256, 4), np.uint8),
    ],
)
def test_other_aspect_size_dtype_or_channels_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InvalidObservation, match="Images must be"):
        downsample(image)


def test_point_is_the_peak_of_its_heat_map() -> None:
    net = LandmarkNet(1)
    peak = torch.full((1, 1, 24, 32), -50.0)
    peak[0, 0, 5, 20] = 50.0
    net.head.register_forward_hook(lambda *_: peak)
    point = net(torch.zeros(1, *IMAGE_SIZE, 3, dtype=torch.uint8))[0][0, 0]
    assert point.tolist() == pytest.approx([2 * 20.5 / 32 - 1, 2 * 5.5 / 24 - 1, 1.0], abs=1e-4)


def test_landmark_loss_is_least_at_the_landmark() -> None:
    cells = torch.arange(24 * 32).float()
    place = torch.tensor([[[10.5 / 32, 7.5 / 24, 1.0]]])
    losses = []
    for row, column in ((7, 10), (7, 12), (15, 10)):
        away = (cells // 32 - row) ** 2 + (cells % 32 - column) ** 2
        logits = (-away / 2).view(1, 1, 24, 32)
        point = torch.tensor([[[2 * (column + 0.5) / 32 - 1, 2 * (row + 0.5) / 24 - 1, 0.99]]])
        losses.append(float(landmark_loss(point, logits, place)))
    assert losses[0] < min(losses[1:])


def test_absent_landmark_teaches_only_its_absence() -> None:
    points = torch.zeros(1, 2, 3, requires_grad=True)
    logits = torch.randn(1, 2, 24, 32, requires_grad=True)
    landmark_loss(points + 0.5, logits, torch.tensor([[[0.9, 0.1, 0.0]]])).backward()
    assert points.grad is not None
    assert points.grad[0, :, :2].abs().sum() == 0
    assert points.grad[0, 0, 2] > 0
    assert logits.grad is None or logits.grad.abs().sum() == 0


def test_augmentation_moves_landmarks_with_the_image() -> None:
    rng = np.random.default_rng(3)
    images = np.zeros((16, *IMAGE_SIZE, 3), np.uint8)
    images[:, 40, 60] = 250
    landmarks = np.tile(np.float32([60.5 / 128, 40.5 / 96, 1.0]), (16, 1, 1))
    moved, points = augment(images, landmarks, 4, rng)
    for image, point in zip(moved.sum(-1), points[:, 0], strict=True):
        row, column = np.unravel_index(image.argmax(), image.shape)
        assert point[:2] * (128, 96) == pytest.approx((column + 0.5, row + 0.5), abs=1e-3)
    assert len(np.unique(points[:, 0, 0])) > 3


def test_landmark_moved_out_of_the_image_is_absent() -> None:
    landmarks = np.tile(np.float32([0.001, 0.5, 1.0]), (32, 1, 1))
    images = np.zeros((32, *IMAGE_SIZE, 3), np.uint8)
    points = augment(images, landmarks, 4, np.random.default_rng(0))[1]
    assert np.array_equal(points[:, 0, 2] == 1, points[:, 0, 0] >= 0)
    assert 0 < points[:, 0, 2].sum() < 32
    assert landmarks[:, 0, 2].all()
