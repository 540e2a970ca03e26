from pathlib import Path

import numpy as np
import pytest

from policies.demos import Demos
from policies.errors import InvalidDemos


def made(**changes: object) -> Demos:
    """Three episodes of 5, 3 and 2 rows; actions count the rows."""
    parts: dict = {
        "images": np.zeros((10, 96, 128, 3), np.uint8),
        "states": np.zeros((10, 7), np.float32),
        "actions": np.repeat(np.arange(10, dtype=np.float32)[:, None], 7, 1),
        "landmarks": np.zeros((10, 2, 3), np.float32),
        "episode_ends": np.array([5, 8, 10]),
        "names": ("duck", "towel"),
        "task": "put the duck on the towel",
        "fps": 5.0,
    }
    return Demos(**{**parts, **changes})


def test_chunk_follows_its_row() -> None:
    actions, mask = made().chunks(np.array([0, 1]), 3)
    assert actions[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3]]
    assert mask.all()


def test_chunk_does_not_cross_into_the_next_episode() -> None:
    actions, mask = made().chunks(np.array([3, 4, 5, 9]), 4)
    assert actions[:, :, 0].tolist() == [[3, 4, 4, 4], [4, 4, 4, 4], [5, 6, 7, 7], [9, 9, 9, 9]]
    assert mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]]


def test_held_out_rows_are_whole_episodes() -> None:
    train, test = made().split(0.3)
    assert train.tolist() == list(range(8))
    assert test.tolist() == [8, 9]


def test_single_episode_is_trained_on() -> None:
    train, test = made(episode_ends=np.array([10])).split(0.5)
    assert len(train) == 10
    assert len(test) == 0


def test_saved_demos_come_back(tmp_path: Path) -> None:
    made().save(tmp_path)
    back = Demos.load(tmp_path)
    assert back.names == ("duck", "towel")
    assert np.array_equal(back.actions, made().actions)
    assert isinstance(back.images, np.memmap)


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((10, 96, 96, 3), np.uint8)},
        {"images": np.zeros((10, 96, 128, 3), np.float32)},
        {"states": np.zeros((9, 7), np.float32)},
        {"actions": np.full((10, 7), np.nan, np.float32)},
        {"landmarks": np.zeros((10, 3, 3), np.float32)},
        {"episode_ends": np.array([5, 5, 10])},
        {"episode_ends": np.array([5, 9])},
        {"episode_ends": np.array([], np.int64)},
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict) -> None:
    with pytest.raises(InvalidDemos, match="must"):
        made(**change)


@pytest.mark.parametrize("name", ["actions.npy", "meta.json"])
def test_missing_or_cut_file_is_named(tmp_path: Path, name: str) -> None:
    made().save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:20])
    with pytest.raises(InvalidDemos, match="Collect the demonstrations again"):
        Demos.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InvalidDemos, match=name):
        Demos.load(tmp_path)
