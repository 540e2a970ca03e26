import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reward_models.data.reward_data import RewardData
from reward_models.nano.config import TowerConfig
from reward_models.nano.model import build_config, build_model, build_processor
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.nano.tower import (
    OTHER_RECORDINGS,
    TowerBatch,
    dense_labels,
    draw_batch,
    make_head,
    patchify,
    shift_pair,
    token_places,
    tower_loss,
)
from reward_models.protocol.frames import MERGE, PATCH, resized_size
from reward_models.qwen3vl.patches import project_patches
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import TINY, random_clip

PLAIN = TowerConfig(batch_size=4, colour_jitter=0.0, shift_px=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RewardData:
    folder = write_reward_folder(tmp_path_factory.mktemp("data") / "train", 24, size=(64, 96))
    return RewardData.open([folder], "train")


def test_patches_are_those_of_the_processor() -> None:
    frames = random_clip(2, size=(64, 96)).frames
    theirs = build_processor(build_tokenizer(["put"])).video_processor(
        [frames],
        do_sample_frames=False,
        size={"shortest_edge": 1, "longest_edge": 10**6},
        return_tensors="pt",
    )
    images = torch.from_numpy(frames).permute(0, 3, 1, 2)[None] / 255.0
    patches, grid = patchify(images)
    torch.testing.assert_close(patches, theirs["pixel_values_videos"], rtol=0, atol=1e-6)
    assert grid.tolist() == theirs["video_grid_thw"].tolist()


def test_a_landmark_lands_in_its_token() -> None:
    dense = np.zeros((1, 2, 4), np.float32)
    dense[0, 1] = (0.75, 0.25, 1, 0.4)
    labels = dense_labels(dense, rows=2, columns=3).reshape(2, 3, 2, 4)
    # x 0.75 of 3 columns is 2.25: a quarter into column 2; y 0.25 of 2 rows is the middle of row 0.
    np.testing.assert_allclose(labels[0, 2, 1], (1, -0.5, 0, 0.4), atol=1e-6)
    assert labels.sum() == pytest.approx(0.9)


def test_other_sizes_are_those_that_the_protocol_makes_of_other_films(
    tmp_path: Path,
) -> None:
    larger = write_reward_folder(tmp_path / "larger", 24, size=(96, 128))
    first = write_reward_folder(tmp_path / "first", 24, size=(64, 96))
    mixed = RewardData.open([first, larger], "train")
    config = dataclasses.replace(PLAIN, other_sizes=0.5)
    rng = np.random.default_rng(0)
    batches = [draw_batch(mixed, config, rng) for _ in range(30)]
    grids = {tuple(row) for batch in batches for row in batch.grid.tolist()}
    expected = {
        (64, 96),
        *(resized_size(n, round(s * 64), round(s * 96)) for n, s in OTHER_RECORDINGS),
    }
    assert grids == {(1, height // PATCH, width // PATCH) for height, width in expected}
    for batch in batches:
        assert len(batch.patches) == batch.grid.prod(-1).sum()
        assert len(batch.labels) * MERGE**2 == len(batch.patches)


def test_absent_landmarks_have_no_label() -> None:
    dense = np.full((1, 3, 4), 0.5, np.float32)
    dense[..., 2] = 0
    assert not dense_labels(dense, 2, 2).any()


def test_tokens_know_their_own_place() -> None:
    places = token_places(rows=2, columns=3)
    assert places.tolist() == [[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]]


def test_labels_move_with_the_image() -> None:
    frames = np.zeros((2, 64, 96, 3), np.uint8)
    frames[:, 30, 40] = 255
    dense = np.array([[40 / 96, 30 / 64, 1, 0.7], [90 / 96, 0.5, 1, 0.2]], np.float32)
    moved, labels = shift_pair(frames, dense, down=-5, right=9)
    y, x = np.argwhere(moved[0, ..., 0] == 255)[0]
    np.testing.assert_allclose(labels[0, :2], (x / 96, y / 64), atol=1e-6)
    assert labels[0, 2] == 1
    assert labels[1, 2] == 0, "it left the image"
    assert dense[1, 2] == 1, "the data set itself must not change"


def test_batches_repeat_for_the_same_seed(data: RewardData) -> None:
    a, b, c = (
        draw_batch(data, TowerConfig(batch_size=3), np.random.default_rng(s)) for s in (1, 1, 2)
    )
    torch.testing.assert_close(a.patches, b.patches, rtol=0, atol=0)
    assert not torch.equal(a.patches, c.patches)


def test_batches_are_shifted_by_whole_pixels(data: RewardData) -> None:
    stored = data.dense[..., :2][data.dense[..., 2] > 0]

    def distances_px(shift_px: int) -> np.ndarray:
        """How far each landmark of a batch is from where the data has the nearest one, in [px]."""
        config = dataclasses.replace(PLAIN, shift_px=shift_px)
        scene = draw_batch(data, config, np.random.default_rng(0)).scene.numpy()
        places = (scene[..., :2][scene[..., 3] > 0] + 1) / 2
        gaps = (places[:, None] - stored[None]) * (96, 64)
        return np.linalg.norm(gaps, axis=-1).min(1)

    assert distances_px(0).max() < 1e-3
    assert (distances_px(8) > 0.1).mean() > 0.5


def test_colours_change_only_with_jitter(data: RewardData) -> None:
    plain = draw_batch(data, PLAIN, np.random.default_rng(0))
    jittered = draw_batch(
        data, dataclasses.replace(PLAIN, colour_jitter=0.3), np.random.default_rng(0)
    )
    assert not torch.equal(plain.patches, jittered.patches)
    torch.testing.assert_close(plain.labels, jittered.labels)


class Features(torch.nn.Module):
    """A tower whose features, read by an identity head, are the predictions themselves."""

    def __init__(self, predictions: torch.Tensor) -> None:
        super().__init__()
        self.predictions = predictions

    def forward(self, patches: torch.Tensor, grid_thw: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(pooler_output=self.predictions)


@pytest.mark.parametrize(
    ("column", "error", "part"),
    [
        (slice(1, 2), 0.3, 0.3**2),  # offset to the right
        (slice(2, 3), 0.4, 0.4**2),  # offset down
        (slice(3, 4), 0.5, 0.5**2),  # value
        (slice(4, 5), 0.6, 2.0 * 0.6**2),  # column of a landmark, wherever it is; weight 2
        (slice(6, 7), 0.7, 2.0 * 0.7**2),  # its value
        (slice(7, 8), 0.8, 0.8**2 / 4),  # own column: a mean over two tokens and two numbers
        (slice(8, 9), 0.9, 0.9**2 / 4),  # own row
    ],
    ids=["right", "down", "value", "scene column", "scene value", "own column", "own row"],
)
def test_every_dense_label_is_in_the_loss(column: slice, error: float, part: float) -> None:
    # Two tokens, one landmark.
    labels = torch.tensor([[[1.0, 0.25, -0.5, 0.7]], [[0.0, 0.0, 0.0, 0.0]]])
    places = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    scene = torch.tensor([[[0.1, 0.2, 0.7, 1.0]]])
    batch = TowerBatch(torch.zeros(2, 1), torch.tensor([[1, 2, 4]]), labels, places, scene)
    # Presence logits, offsets, value; column, row and value of the landmark; own column and row.
    right = torch.cat([labels[:, 0], scene[0, :, :3].expand(2, 3), places], dim=1)
    right[:, 0] = torch.tensor([2.0, -1.0])
    wrong = right.clone()
    wrong[0, column] += error
    head = torch.nn.Identity()
    (best, _), (worse, _) = (tower_loss(Features(p), head, batch, 3.0) for p in (right, wrong))
    # Presence: cross-entropy of logits 2 and -1, the present token three times; its weight is 10.
    presence = (3 * np.log(1 + np.exp(-2)) + np.log(1 + np.exp(-1))) / 2
    assert best.item() == pytest.approx(10 * presence, rel=1e-5)
    assert worse.item() - best.item() == pytest.approx(part, rel=1e-3)


def test_the_tower_learns_to_find_things(data: RewardData) -> None:
    torch.set_num_threads(1)
    visual = project_patches(
        build_model(build_config(TINY, build_tokenizer(["put"])), 0).model.visual
    )
    head = make_head(visual, len(data.landmarks), 0)
    optimizer = torch.optim.AdamW([*visual.parameters(), *head.parameters()], 5e-3)
    batch = draw_batch(data, dataclasses.replace(PLAIN, batch_size=16), np.random.default_rng(0))
    _, before = tower_loss(visual, head, batch, 3.0)
    for _ in range(60):
        loss, _ = tower_loss(visual, head, batch, 3.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    _, after = tower_loss(visual, head, batch, 3.0)
    assert after["presence_loss"] < 0.3 * before["presence_loss"]
    assert after["found"] > 0.8
    assert after["own_place_error"] < 0.5 * before["own_place_error"]
