"""Cached features of the vision tower: made once, and never served for another tower, other pixels or another protocol."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from reward_models.data.reward_data import RewardData
from reward_models.nano.features import FeatureCache, cache_features
from reward_models.nano.model import build_config, build_model
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.protocol.frames import VideoProtocol
from roboreward_gym.errors import WeightsError
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import SMALL_CLIPS, TINY, WORDS, enliven

Model = Qwen3VLForConditionalGeneration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reward_folder(tmp_path / "train", 3, size=(32, 64))


@pytest.fixture
def model() -> Model:
    model = build_model(build_config(TINY, build_tokenizer(WORDS)), 0)
    enliven(model)
    return model


def features(
    model: Model, folder: Path, cache: Path, protocol: VideoProtocol = SMALL_CLIPS
) -> FeatureCache:
    data = RewardData.open([folder], "train")
    return cache_features(model, data, cache, protocol=protocol, batch_size=2)


def fresh(
    model: Model, folder: Path, tmp_path: Path, protocol: VideoProtocol = SMALL_CLIPS
) -> np.ndarray:
    return features(model, folder, tmp_path / "fresh", protocol).values


def test_a_finished_cache_is_opened_not_computed(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = features(model, folder, tmp_path / "cache")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("The tower ran again.")

    monkeypatch.setattr(model.model.visual, "forward", refuse)
    again = features(model, folder, tmp_path / "cache")
    np.testing.assert_array_equal(again.read(2), first.read(2))


def test_other_pixels_in_the_same_folder_get_their_own_features(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    before = features(model, folder, tmp_path / "cache").values.copy()
    frames = np.load(folder / "frames.npy")
    np.save(folder / "frames.npy", 255 - frames)  # everything else in the folder stays as it was
    after = features(model, folder, tmp_path / "cache").values
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, fresh(model, folder, tmp_path))


def test_one_changed_pixel_is_enough(model: Model, folder: Path, tmp_path: Path) -> None:
    before = features(model, folder, tmp_path / "cache").values.copy()
    frames = np.load(folder / "frames.npy")
    frames[2, -1, 0, 0, 0] ^= 128
    np.save(folder / "frames.npy", frames)
    assert not np.array_equal(features(model, folder, tmp_path / "cache").values, before)


def test_other_times_of_the_frames_are_noticed(model: Model, folder: Path, tmp_path: Path) -> None:
    before = features(model, folder, tmp_path / "cache").group_times_s
    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(row | {"fps": 10.0}) + "\n" for row in rows)
    (folder / "clips.jsonl").write_text(text)
    assert features(model, folder, tmp_path / "cache").group_times_s != before


def test_another_tower_gets_its_own_features(model: Model, folder: Path, tmp_path: Path) -> None:
    before = features(model, folder, tmp_path / "cache").values.copy()
    with torch.no_grad():
        model.model.visual.merger.linear_fc2.bias[0] += 1.0
    after = features(model, folder, tmp_path / "cache").values
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, fresh(model, folder, tmp_path))


@pytest.mark.parametrize("change", [{"max_frames": 4}, {"fps": 0.5}, {"min_pixels": 8 * 64 * 64}])
def test_another_protocol_gets_its_own_features(
    model: Model, folder: Path, tmp_path: Path, change: dict[str, float]
) -> None:
    before = features(model, folder, tmp_path / "cache")
    protocol = dataclasses.replace(SMALL_CLIPS, **change)
    after = features(model, folder, tmp_path / "cache", protocol)
    assert len(after.values) != len(before.values)
    np.testing.assert_array_equal(after.values, fresh(model, folder, tmp_path, protocol))


def test_a_cache_that_was_not_finished_is_made_again(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    whole = features(model, folder, tmp_path / "cache").values.copy()
    (tmp_path / "cache" / "index.json").unlink()
    np.save(tmp_path / "cache" / "values.npy", np.zeros_like(whole))
    np.testing.assert_array_equal(features(model, folder, tmp_path / "cache").values, whole)


def test_a_cache_that_was_cut_is_an_error(model: Model, folder: Path, tmp_path: Path) -> None:
    cache = features(model, folder, tmp_path / "cache")
    with pytest.raises(WeightsError, match="cache must hold 24 tokens"):
        FeatureCache(cache.values[:-1], cache.grids, cache.group_times_s)
