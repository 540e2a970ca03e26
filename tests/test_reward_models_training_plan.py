"""The plan of memory against numbers computed by hand."""

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.random_checkpoint import SHAPES
from reward_models.commands.train import main
from reward_models.qwen3vl import checkpoint
from reward_models.qwen3vl.shapes import PUBLISHED_SHAPES, shape_config
from reward_models.training.adapters import add_adapters
from reward_models.training.config import NAMED, LoraSettings
from reward_models.training.plan import Need, activation_bytes, count_parts, needs
from reward_models.training.projector import freeze
from roboreward_gym.errors import WeightsError


def of(found: list[Need], gpus: int, method: str) -> Need:
    (need,) = [n for n in found if n.gpus == gpus and n.method.startswith(method)]
    return need


def test_parts_are_those_of_a_real_model() -> None:
    config = shape_config(SHAPES["tiny"])
    lora = LoraSettings(rank=4)
    parts = count_parts(config, lora)
    model = Qwen3VLForConditionalGeneration(config)
    freeze(model, projector=True)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert (parts.trained, parts.tower) == (trained, frozen)
    adapted = add_adapters(model, lora, one_type=False)
    assert parts.adapters == sum(p.numel() for p in adapted.parameters() if p.requires_grad)


def test_the_published_sizes_are_4_and_8_billion() -> None:
    for size, billions in (("4b", 4.44), ("8b", 8.77)):
        parts = count_parts(shape_config(PUBLISHED_SHAPES[size]), LoraSettings())
        assert (parts.trained + parts.tower) / 1e9 == pytest.approx(billions, abs=0.01)


def test_all_weights_take_sixteen_bytes_each_and_fsdp_divides_them() -> None:
    config, sft = shape_config(PUBLISHED_SHAPES["4b"]), NAMED["roboreward-4b"].sft
    found = needs(config, sft, cached=True)
    trained = count_parts(config, LoraSettings()).trained
    one, eight = of(found, 1, "all weights"), of(found, 8, "all weights")
    for need, gpus in ((one, 1), (eight, 8)):
        state = need.weights + need.gradients + need.moments
        assert state == pytest.approx(16 * trained / gpus, rel=1e-6)
    assert eight.total < one.total / 4


def test_adapters_need_a_fraction_and_half_precision_half() -> None:
    config, sft = shape_config(PUBLISHED_SHAPES["8b"]), NAMED["roboreward-8b"].sft
    found = needs(config, sft, cached=False)
    assert of(found, 1, "LoRA").total < of(found, 1, "all weights").total / 4
    narrow = needs(config, dataclasses.replace(sft, precision="bfloat16"), cached=False)
    wide, half = (of(rows, 2, "all weights") for rows in (found, narrow))
    assert half.weights + half.gradients + half.moments == pytest.approx(
        (wide.weights + wide.gradients + wide.moments) / 2, rel=1e-6
    )


def test_checkpointing_and_smaller_batches_keep_less() -> None:
    config, sft = shape_config(PUBLISHED_SHAPES["4b"]), NAMED["roboreward-4b"].sft
    kept = activation_bytes(config, sft)
    assert (
        activation_bytes(config, dataclasses.replace(sft, gradient_checkpointing=False)) > 4 * kept
    )
    assert activation_bytes(config, dataclasses.replace(sft, batch_size=1)) == pytest.approx(
        kept / 8
    )


def test_the_estimate_of_activations_holds_for_a_small_model() -> None:
    """What autograd saves in a forward pass, against the estimate of one layer times layers."""
    shape = dataclasses.replace(SHAPES["mid"], depth=3)
    config = shape_config(shape)
    model = Qwen3VLForConditionalGeneration(config).model.language_model
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    held: list[torch.Tensor] = []
    tokens, weights = 620, {p.untyped_storage().data_ptr() for p in model.parameters()}
    embeddings = torch.zeros(1, tokens, shape.width)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs_embeds=embeddings, use_cache=False)
    measured = sum(size for place, size in saved.items() if place not in weights)
    sft = dataclasses.replace(
        NAMED["nano"].sft, batch_size=1, gradient_checkpointing=False, precision="float32"
    )
    no_rest = dataclasses.replace(shape, vision_width=1, vision_expanded=1, vision_heads=1)
    estimate = activation_bytes(shape_config(no_rest), sft) - 6 * 151_936 * 16
    assert estimate == pytest.approx(measured, rel=0.3)


def test_another_architecture_of_the_same_size_has_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    found = checkpoint.Checkpoint(tmp_path, "somebody/Llama-8B")
    monkeypatch.setattr(checkpoint, "find_checkpoint", lambda *_, **__: found)
    with pytest.raises(WeightsError, match="of type 'llama'"):
        main(["nano", "--plan", "--model", "somebody/Llama-8B"])


@pytest.mark.parametrize("name", ["roboreward-4b", "roboreward-8b", "nano"])
def test_the_plan_is_printed_without_data(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--plan"]) == 0
    printed = capsys.readouterr().out
    for words in ("all weights", "LoRA, FSDP", "smallest card", "not measured"):
        assert words in printed


@pytest.mark.parametrize("name", ["roboreward-4b", "roboreward-8b"])
def test_adapters_learn_ten_times_as_fast_as_all_weights(name: str) -> None:
    whole, adapters = NAMED[name].sft, NAMED[f"{name}-lora"].sft
    assert adapters.learning_rate == pytest.approx(10 * whole.learning_rate)
    same = dataclasses.replace(adapters, lora=None, learning_rate=whole.learning_rate)
    assert same == whole


def test_adapters_have_options_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roboreward-8b-lora", "--sft.lora.rank", "8", "--plan"]) == 0
    assert "of rank 8:" in " ".join(capsys.readouterr().out.split())
