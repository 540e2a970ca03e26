import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.protocol.frames import sample_clip, thinned_indices
from reward_models.protocol.prompt import ANSWER_PREFIX
from reward_models.qwen3vl import batching
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip, ProgressScore, RewardModel
from roboreward_gym.errors import InvalidClip, WeightsError
from tests.tiny_vlm import SMALL_CLIPS, probabilities_of, random_clip, write_tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> RoboReward:
    return RoboReward(folder, protocol=SMALL_CLIPS, off_format_limit=1.0)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def mixed_clips() -> list[Clip]:
    return [
        random_clip(41, seed=1),
        random_clip(7, seed=2, size=(64, 64)),
        random_clip(41, seed=3, task="open the left drawer, please: it is stuck"),
        random_clip(2, seed=4),
        random_clip(5, seed=5, fps=10.0),
        random_clip(41, seed=6),
    ]


def assert_equal(a: ProgressScore, b: ProgressScore) -> None:
    assert a.level == b.level
    np.testing.assert_allclose(probabilities_of(a), probabilities_of(b), atol=1e-5)
    assert a.off_format == pytest.approx(b.off_format, abs=1e-5)


def test_it_is_a_reward_model(model: RoboReward) -> None:
    assert isinstance(model, RewardModel)
    assert model.score([]) == []


def test_a_batch_equals_single_clips_in_order(model: RoboReward) -> None:
    clips = mixed_clips()
    together = model.score(clips)
    for clip, score in zip(clips, together, strict=True):
        assert_equal(score, model.score([clip])[0])
    assert len({tuple(s.probabilities) for s in together if s.probabilities is not None}) == len(
        clips
    )


def test_the_batch_size_changes_nothing(folder: Path, model: RoboReward) -> None:
    small = RoboReward(folder, protocol=SMALL_CLIPS, off_format_limit=1.0, batch_size=1)
    for a, b in zip(model.score(mixed_clips()), small.score(mixed_clips()), strict=True):
        assert_equal(a, b)


def test_scoring_is_deterministic(model: RoboReward) -> None:
    a, b = (model.score([random_clip(9)])[0] for _ in range(2))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)


# transformers 5.12
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_inputs_equal_those_of_the_processor_from_the_whole_clip(
    model: RoboReward, folder: Path
) -> None:
    clip = random_clip(23, seed=7)
    ours = model.prepare([sample_clip(clip, SMALL_CLIPS)])
    budget = {"shortest_edge": SMALL_CLIPS.min_pixels, "longest_edge": SMALL_CLIPS.max_pixels}
    processor = Qwen3VLProcessor.from_pretrained(folder, local_files_only=True)
    theirs = processor(
        text=["<|vision_start|><|video_pad|><|vision_end|>"],
        videos=[clip.frames],
        text_kwargs={"return_tensors": "pt"},
        videos_kwargs={
            "do_sample_frames": True,
            "return_tensors": "pt",
            "size": budget,
            "video_metadata": [{"total_num_frames": 23, "fps": clip.fps}],
        },
    )
    for name in ("pixel_values_videos", "video_grid_thw"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=0)


def test_the_level_is_the_likeliest_digit_of_the_plain_forward_pass(
    model: RoboReward, folder: Path
) -> None:
    original = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    digits = list(model.tokenizer.digits)
    clips = [random_clip(9, seed=seed) for seed in range(6)]
    inputs = model.prepare([sample_clip(clip, SMALL_CLIPS) for clip in clips])
    with torch.inference_mode():
        said = original(**inputs).logits[:, -1]
    said = torch.tensor(digits)[said[:, digits].argmax(-1)]
    assert [model.tokenizer.decode([t]) for t in said.tolist()] == [
        str(score.level) for score in model.score(clips)
    ]


def test_probabilities_are_those_of_the_plain_forward_pass(model: RoboReward, folder: Path) -> None:
    original = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    clip = random_clip(9)
    with torch.inference_mode():
        logits = original(**model.prepare([sample_clip(clip, SMALL_CLIPS)])).logits[0, -1]
    everything = logits.softmax(-1)[list(model.tokenizer.digits)]
    score = model.score([clip])[0]
    expected = everything / everything.sum()
    np.testing.assert_allclose(probabilities_of(score), expected.numpy(), atol=1e-5)
    assert score.off_format == pytest.approx(1 - everything.sum().item(), abs=1e-5)
    assert score.level == int(everything.argmax()) + 1


def test_swapped_red_and_blue_change_the_answer(model: RoboReward) -> None:
    clip = random_clip(9)
    swapped = Clip(clip.frames[..., ::-1].copy(), clip.task, clip.fps)
    a, b = (probabilities_of(score) for score in model.score([clip, swapped]))
    assert np.abs(a - b).max() > 1e-3


def test_time_order_and_task_reach_the_model(model: RoboReward) -> None:
    clip = random_clip(9)
    backwards = Clip(clip.frames[::-1].copy(), clip.task, clip.fps)
    other = Clip(clip.frames, "open the left drawer", clip.fps)
    a, b, c = (probabilities_of(score) for score in model.score([clip, backwards, other]))
    assert not np.allclose(a, b, atol=1e-6)
    assert not np.allclose(a, c, atol=1e-6)


def test_an_answer_that_is_no_digit_is_unreadable(folder: Path) -> None:
    strict = RoboReward(folder, protocol=SMALL_CLIPS, off_format_limit=0.0)
    score = strict.score([random_clip(9)])[0]
    assert score.level is None
    assert score.off_format > 0
    assert score.text.startswith(ANSWER_PREFIX)


def test_nan_logits_are_unreadable(folder: Path) -> None:
    broken = RoboReward(folder, protocol=SMALL_CLIPS, off_format_limit=1.0)
    broken.model.lm_head.weight.fill_(float("nan"))
    score = broken.score([random_clip(9)])[0]
    assert score.level is None
    assert score.probabilities is None
    assert score.off_format == 1.0


def test_the_manifest_tells_what_was_fed(model: RoboReward) -> None:
    manifest = model.score([random_clip(41, size=(64, 96))])[0].manifest
    assert manifest["frame_indices"] == [0, 6, 11, 17, 23, 29, 34, 40]
    assert manifest["frames_missing"] == []
    assert manifest["frame_size"] == [64, 96]
    assert manifest["grid_thw"] == [4, 4, 6]
    assert manifest["visual_tokens"] == 24
    assert len(manifest["weights_sha256"]) == 64
    json.dumps(manifest)


def test_one_frame_is_refused(model: RoboReward) -> None:
    with pytest.raises(InvalidClip, match="at least 2 frames"):
        model.score([random_clip(9), random_clip(1)])


def test_reserved_tokens_in_the_task_are_refused(model: RoboReward) -> None:
    with pytest.raises(InvalidClip, match="reserved token"):
        model.score([random_clip(9, task="say <|im_end|> now")])


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a folder with a checkpoint"):
        RoboReward(tmp_path / "nowhere")


def test_missing_weight_file_is_an_error(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lack model\.safetensors"):
        RoboReward(copy)


def test_truncated_weights_are_an_error(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="cut off or no safetensors file"):
        RoboReward(copy)


def test_a_missing_tensor_is_not_filled_with_random_numbers(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.visual.blocks.0.attn.qkv.weight"]
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"attn\.qkv\.weight"):
        RoboReward(copy)


def test_a_tensor_of_another_shape_is_an_error(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.visual.blocks.0.attn.qkv.weight"] = torch.zeros(2, 2)
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError):
        RoboReward(copy)


def test_another_kind_of_model_is_an_error(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(WeightsError, match="'bert'"):
        RoboReward(copy)


def test_a_config_that_is_no_json_is_an_error(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(WeightsError):
        RoboReward(copy)


def test_missing_tokenizer_is_an_error(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(WeightsError):
        RoboReward(copy)


def test_a_thinned_recording_has_the_inputs_and_the_manifest_of_the_whole_one(
    model: RoboReward,
) -> None:
    whole = random_clip(147, seed=8, fps=15.0)
    indices = thinned_indices(147, 15.0, 40, SMALL_CLIPS)
    kept = Clip(whole.frames[indices], whole.task, whole.fps, indices, 147)
    inputs = [model.prepare([sample_clip(clip, SMALL_CLIPS)]) for clip in (whole, kept)]
    assert all(torch.equal(inputs[0][name], inputs[1][name]) for name in inputs[0])
    a, b = model.score([whole, kept])
    assert a.manifest == b.manifest
    np.testing.assert_array_equal(probabilities_of(a), probabilities_of(b))


def test_the_two_parsers_of_a_generated_reply_have_names_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = {}
    for decode in ("text", "published"):
        model = RoboReward(folder, protocol=SMALL_CLIPS, decode=decode)
        monkeypatch.setattr(model, "_replies", lambda _: ["ANSWER: 3 or 4"])
        readings[decode] = model.score([random_clip(9)])[0].level
        assert model.score([random_clip(9)])[0].manifest["decode"] == decode
    assert readings == {"text": None, "published": 3}


def test_settings_beside_the_weights_that_differ_are_a_warning(copy: Path) -> None:
    settings = json.loads((copy / "processor_config.json").read_text())
    settings["video_processor"]["fps"] = 4
    (copy / "processor_config.json").write_text(json.dumps(settings))
    with pytest.warns(UserWarning, match="fps is 4, the protocol's is 2.0.*The protocol is used"):
        RoboReward(copy)


def test_a_tokenizer_of_another_checkpoint_is_noticed(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["video_token_id"] = 1
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="video token is 1, the tokenizer's is"):
        RoboReward(copy)


def test_a_tower_with_other_patches_is_noticed(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["patch_size"] = 14
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"patches of \(14, 2, 2\)"):
        RoboReward(copy)


@pytest.mark.parametrize("threads", [1, 2])
def test_cores_that_torch_leaves_free_share_the_clips_of_a_call(
    model: RoboReward, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(batching.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert batching.free_cores() == 4 // threads
    clips = [random_clip(9, seed=seed) for seed in range(9)]
    for clip, score in zip(clips, model.score(clips), strict=True):
        np.testing.assert_array_equal(
            probabilities_of(score), probabilities_of(model.score([clip])[0])
        )
