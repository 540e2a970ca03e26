"""Features of the frozen tower on disk: made once, and never served for another tower, other pixels or another protocol."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from reward_models.data.reward_data import RewardData
from reward_models.nano.model import build_config, build_model
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.protocol.frames import VideoProtocol
from reward_models.training.data import SimulatedClips
from reward_models.training.features import INDEX, VALUES, FeatureCache, cache_features
from roboreward_gym.errors import WeightsError
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import SMALL_CLIPS, TINY, WORDS, enliven

Model = Qwen3VLForConditionalGeneration
CLIPS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reward_folder(tmp_path / "train", CLIPS, size=(32, 64))


@pytest.fixture
def model() -> Model:
    model = build_model(build_config(TINY, build_tokenizer(WORDS)), 0)
    enliven(model)
    return model


def cached(
    model: Model, folder: Path, root: Path, protocol: VideoProtocol = SMALL_CLIPS
) -> FeatureCache:
    clips = SimulatedClips(RewardData.open([folder], "train"), protocol)
    return cache_features(model.model.visual, clips, root, protocol=protocol, batch_size=2)


def values(cache: FeatureCache) -> np.ndarray:
    return np.concatenate([cache[clip].values.numpy() for clip in range(CLIPS)])


def refuse_to_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("The tower ran again.")

    monkeypatch.setattr(model.model.visual, "forward", refuse)


def test_a_finished_cache_is_opened_not_computed(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = values(cached(model, folder, tmp_path / "cache"))
    refuse_to_run(model, monkeypatch)
    np.testing.assert_array_equal(values(cached(model, folder, tmp_path / "cache")), first)


def test_an_interrupted_cache_goes_on(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = values(cached(model, folder, tmp_path / "whole"))
    visual = model.model.visual
    calls, forward = [], visual.forward

    def interrupted(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(visual, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cached(model, folder, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob(f"*/{VALUES}")
    with path.open("ab") as file:
        file.write(b"half a row")  # what a kill leaves of a batch that was not finished
    np.testing.assert_array_equal(values(cached(model, folder, tmp_path / "cache")), whole)
    # Two of three clips were there already.
    (index,) = (tmp_path / "cache").glob(f"*/{INDEX}")
    assert len(index.read_text().splitlines()) == CLIPS


def test_other_pixels_in_the_same_folder_get_their_own_features(
    model: Model, folder: Path, tmp_path: Path
) -> None:
    before = values(cached(model, folder, tmp_path / "cache"))
    frames = np.load(folder / "frames.npy")
    np.save(folder / "frames.npy", 255 - frames)  # everything else in the folder stays as it was
    after = values(cached(model, folder, tmp_path / "cache"))
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, values(cached(model, folder, tmp_path / "fresh")))


def test_one_changed_pixel_is_enough(model: Model, folder: Path, tmp_path: Path) -> None:
    before = values(cached(model, folder, tmp_path / "cache"))
    frames = np.load(folder / "frames.npy")
    frames[2, -1, 0, 0, 0] ^= 128
    np.save(folder / "frames.npy", frames)
    after = values(cached(model, folder, tmp_path / "cache"))
    rows = len(before) // CLIPS
    np.testing.assert_array_equal(after[: 2 * rows], before[: 2 * rows])
    assert not np.array_equal(after[2 * rows :], before[2 * rows :])


def test_other_times_of_the_frames_are_noticed(model: Model, folder: Path, tmp_path: Path) -> None:
    before = cached(model, folder, tmp_path / "cache")[0].group_times_s
    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    text = "".join(json.dumps(row | {"fps": 10.0}) + "\n" for row in rows)
    (folder / "clips.jsonl").write_text(text)
    assert cached(model, folder, tmp_path / "cache")[0].group_times_s != before


def test_another_tower_gets_its_own_features(model: Model, folder: Path, tmp_path: Path) -> None:
    before = values(cached(model, folder, tmp_path / "cache"))
    with torch.no_grad():
        model.model.visual.blocks[0].mlp.linear_fc2.bias[0] += 1.0
    after = values(cached(model, folder, tmp_path / "cache"))
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(after, values(cached(model, folder, tmp_path / "fresh")))


def test_a_trained_projector_keeps_the_cache(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = values(cached(model, folder, tmp_path / "cache"))
    with torch.no_grad():
        model.model.visual.merger.linear_fc2.bias[0] += 1.0
    refuse_to_run(model, monkeypatch)
    np.testing.assert_array_equal(values(cached(model, folder, tmp_path / "cache")), before)


@pytest.mark.parametrize("change", [{"max_frames": 4}, {"fps": 0.5}, {"min_pixels": 8 * 64 * 64}])
def test_another_protocol_gets_its_own_features(
    model: Model, folder: Path, tmp_path: Path, change: dict[str, float]
) -> None:
    before = values(cached(model, folder, tmp_path / "cache"))
    protocol = dataclasses.replace(SMALL_CLIPS, **change)
    after = values(cached(model, folder, tmp_path / "cache", protocol))
    assert len(after) != len(before)
    np.testing.assert_array_equal(
        after, values(cached(model, folder, tmp_path / "fresh", protocol))
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_are_stored_as_precisely_as_asked(
    model: Model, folder: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    clips = SimulatedClips(RewardData.open([folder], "train"), SMALL_CLIPS)
    exact = cached(model, folder, tmp_path / "exact")[1].values
    cache = cache_features(
        model.model.visual, clips, tmp_path / "cache", protocol=SMALL_CLIPS, dtype=dtype
    )
    assert torch.equal(cache[1].values, exact.to(dtype))


def test_a_cache_that_was_cut_is_an_error(model: Model, folder: Path, tmp_path: Path) -> None:
    cache = cached(model, folder, tmp_path / "cache")
    with (cache.folder / VALUES).open("r+b") as file:
        file.truncate(50 * cache.width * 4)
    with pytest.raises(WeightsError, match=r"has 50 rows, but its index says \d+"):
        cache[0]
