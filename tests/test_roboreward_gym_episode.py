from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roboreward_gym import Episode, EpisodeFileError, ProgressScore


def make(steps: int = 3, **changes: Any) -> Episode:
    generator = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "frames": generator.integers(0, 256, (steps + 1, 4, 6, 3), np.uint8),
        "states": generator.normal(size=(steps + 1, 7)).astype(np.float32),
        "actions": generator.normal(size=(steps, 7)).astype(np.float32),
        "env_rewards": np.zeros(steps, np.float32),
        "terminated": False,
        "truncated": True,
        "task": "put the duck on the towel",
        "fps": 5.0,
    }
    return Episode(**{**fields, **changes})


@pytest.mark.parametrize(
    "score",
    [
        None,
        ProgressScore(None, text="what?"),
        ProgressScore(
            np.int64(4),
            np.array([0.0, 0.0, 0.1, 0.6, 0.3]),
            0.01,
            "ANSWER: 4",
            {"model": "nano"},
        ),
    ],
)
def test_a_saved_episode_is_loaded_as_it_was(tmp_path: Path, score: ProgressScore | None) -> None:
    episode = make(seed=7, score=score)
    path = tmp_path / "toy-train.7.npz"
    episode.save(path)
    loaded = Episode.load(path)
    for name in ("frames", "states", "actions", "env_rewards"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(episode, name))
        assert getattr(loaded, name).dtype == getattr(episode, name).dtype
    for name in ("terminated", "truncated", "task", "fps", "seed"):
        assert getattr(loaded, name) == getattr(episode, name)
    if score is None:
        assert loaded.score is None
    else:
        assert loaded.score is not None
        assert loaded.score.level == score.level
        assert loaded.score.text == score.text
        assert loaded.score.manifest == score.manifest
        np.testing.assert_equal(loaded.score.expected, score.expected)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_clip_of_an_episode_shows_all_its_frames() -> None:
    episode = make()
    assert episode.clip.frames is episode.frames
    assert (episode.clip.task, episode.clip.fps) == (episode.task, 5.0)
    assert len(episode) == 3


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "episode.npz"
    make().save(path)
    before = path.read_bytes()
    unwritable = replace(make(), score=ProgressScore(3, manifest={"model": object()}))
    with pytest.raises(TypeError):
        unwritable.save(path)
    assert path.read_bytes() == before


def test_every_damaged_file_is_refused_or_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "episode.npz"
    make().save(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    damaged = [whole[:n] for n in range(0, len(whole), 97)]
    for _ in range(150):
        flipped = bytearray(whole)
        flipped[generator.integers(len(whole))] ^= int(generator.integers(1, 256))
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            loaded = Episode.load(path)
        except EpisodeFileError:
            refused += 1
        else:
            np.testing.assert_array_equal(loaded.frames, make().frames)
    assert refused > len(damaged) / 2


@pytest.mark.parametrize(
    "content",
    [b"", b"not a file of arrays", b"\x93NUMPY"],
)
def test_a_file_that_is_no_episode_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "episode.npz"
    path.write_bytes(content)
    with pytest.raises(EpisodeFileError, match="record it again"):
        Episode.load(path)


def test_arrays_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "episode.npz"
    np.savez(path, frames=np.zeros(3))
    with pytest.raises(EpisodeFileError, match="meta"):
        Episode.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(EpisodeFileError, match="holds no readable episode"):
        Episode.load(path)


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "episode.npz"
    make().save(path)
    monkeypatch.setattr("roboreward_gym.episode.FORMAT", "roboreward-episode-2")
    with pytest.raises(EpisodeFileError, match="another version"):
        Episode.load(path)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Episode.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.zeros((3, 4, 6, 3), np.uint8)}, "3 actions need 4 frames, got 3"),
        ({"states": np.zeros((3, 7), np.float32)}, "4 states"),
        ({"env_rewards": np.zeros(4, np.float32)}, "3 env_rewards"),
        ({"actions": np.full((3, 7), np.nan, np.float32)}, "actions contain NaN"),
        ({"states": np.full((4, 7), np.inf, np.float32)}, "states contain NaN"),
        ({"states": np.zeros(4, np.float32)}, "2 dimensions"),
        ({"frames": np.zeros((4, 4, 6, 3), np.float32)}, "float32"),
        ({"frames": np.zeros((4, 4, 6, 4), np.uint8)}, r"\(4, 4, 6, 4\)"),
        ({"task": ""}, "task is empty"),
        ({"fps": 0.0}, "0 Hz"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EpisodeFileError, match=message):
        make(**changes)


def test_an_episode_without_actions_is_refused() -> None:
    with pytest.raises(EpisodeFileError, match="at least one"):
        make(0)


def test_env_rewards_may_be_unknown() -> None:
    assert len(make(env_rewards=np.full(3, np.nan, np.float32))) == 3


def test_the_reason_why_an_episode_is_invalid_is_kept(tmp_path: Path) -> None:
    hurt = make(invalid="the camera froze")
    hurt.save(tmp_path / "hurt.npz")
    assert Episode.load(tmp_path / "hurt.npz").invalid == "the camera froze"


def test_an_invalid_episode_cannot_be_scored() -> None:
    with pytest.raises(EpisodeFileError, match="the camera froze"):
        make(score=ProgressScore(level=5), invalid="the camera froze")
