from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from reward_models.nano.config import NanoSize
from reward_models.nano.model import build_config, build_model, build_processor, describe, save
from reward_models.nano.tokenizer import build_tokenizer
from tests.tiny_vlm import TINY, WORDS


def test_nano_has_a_few_million_parameters() -> None:
    model = build_model(build_config(NanoSize(), build_tokenizer(WORDS)), 0)
    sizes = describe(model)
    assert sizes["parameters"] <= 4_000_000
    assert sizes["parameters"] == sizes["vision_parameters"] + sizes["language_parameters"]


def test_the_folder_loads_like_any_other_checkpoint(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(WORDS)
    model = build_model(build_config(TINY, tokenizer), 0)
    save(model, build_processor(tokenizer), tmp_path)
    loaded = Qwen3VLForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value.half().float(), rtol=0, atol=0)
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(processor, Qwen3VLProcessor)
    assert isinstance(processor.video_processor, Qwen3VLVideoProcessor)
    video = processor.video_processor
    assert (video.fps, video.min_frames, video.max_frames) == (2, 4, 8)
    assert (video.size["shortest_edge"], video.size["longest_edge"]) == (200_704, 802_816)
    assert processor.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_a_folder_gets_its_name_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = build_tokenizer(WORDS)
    model, processor = build_model(build_config(TINY, tokenizer), 0), build_processor(tokenizer)

    def stop(self: Qwen3VLProcessor, folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Qwen3VLProcessor, "save_pretrained", stop)
    with pytest.raises(KeyboardInterrupt):
        save(model, processor, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    monkeypatch.undo()
    save(model, processor, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_seed_decides_the_weights_and_nothing_else() -> None:
    config = build_config(TINY, build_tokenizer(WORDS))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    a, b, c = (build_model(config, seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.rand(2), expected)
