from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from benchmarks.random_checkpoint import (
    SHAPES,
    build_config,
    build_model,
    build_processor,
    qwen3_tokenizer,
)
from reward_models.protocol.frames import SampledClip, sample_clip
from reward_models.protocol.inputs import CHECKED, InputBuilder, shared_beginning
from reward_models.qwen3vl import roboreward
from reward_models.qwen3vl.one_pass import OnePass, PlainPass, matches_model
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.qwen3vl.vision_attention import speed_up
from roboreward_gym import Clip
from tests.tiny_vlm import (
    SMALL_CLIPS,
    enliven,
    probabilities_of,
    random_clip,
    write_tiny_checkpoint,
)

Model = Qwen3VLForConditionalGeneration
CLIPS = (
    random_clip(9, seed=1),
    random_clip(9, seed=2, task="open the left drawer, please: it is stuck"),
    random_clip(3, seed=3, size=(96, 64), task="put 12 blocks away", fps=0.1),
)


def sampled(clips: Sequence[Clip]) -> list[SampledClip]:
    return [sample_clip(clip, SMALL_CLIPS) for clip in clips]


@pytest.fixture(scope="module")
def builder() -> InputBuilder:
    return InputBuilder(build_processor(qwen3_tokenizer()), SMALL_CLIPS)


def make_model(attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> Model:
    """With grouped heads and a side exit of the tower, as the published ones, and lively."""
    config = build_config(SHAPES["tiny"], qwen3_tokenizer())
    config._attn_implementation = attention
    model = build_model(config)
    enliven(model)
    speed_up(model.model.visual)
    return model.to(dtype)


@pytest.fixture(scope="module")
def model() -> Model:
    return make_model()


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-4) -> None:
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol * theirs.abs().max().item())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_are_those_of_the_plain_pass(builder: InputBuilder, attention: str) -> None:
    model = make_model(attention)
    begin = shared_beginning(builder(CHECKED))
    whole, shared = OnePass(model), OnePass(model, begin)
    for clips in (CLIPS[:1], CLIPS[:2], CLIPS):
        inputs = builder(sampled(clips))
        theirs = PlainPass(model)(inputs)
        assert_equal(whole(inputs), theirs)
        assert_equal(shared(inputs), theirs)


def test_company_and_order_change_nothing(model: Model, builder: InputBuilder) -> None:
    run = OnePass(model, shared_beginning(builder(CHECKED)))
    together = run(builder(sampled(CLIPS)))
    alone = torch.cat([run(builder(sampled([clip]))) for clip in CLIPS])
    assert_equal(together, alone)
    assert (alone[0] - alone[1]).abs().max() > 1e-2


def test_the_instruction_is_most_of_the_text_and_read_once(
    model: Model, builder: InputBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = shared_beginning(builder(CHECKED))
    assert len(begin) == 150
    run, lengths = OnePass(model, begin), []
    embed = model.model.language_model.embed_tokens
    forward = embed.forward
    monkeypatch.setattr(embed, "forward", lambda ids: lengths.append(ids.shape[1]) or forward(ids))
    first, second = (run(builder(sampled(CLIPS[:1]))) for _ in range(2))
    assert torch.equal(first, second)
    assert lengths[0] == len(begin)
    assert lengths[1:] == [lengths[1]] * 2
    assert lengths[1] < 100


def test_prompts_that_begin_otherwise_are_read_whole(model: Model, builder: InputBuilder) -> None:
    inputs = builder(sampled(CLIPS))
    run = OnePass(model, [5, 6, 7, 8])
    assert_equal(run(inputs), PlainPass(model)(inputs))


def test_half_precision_rounds_and_no_more(builder: InputBuilder) -> None:
    model = make_model(dtype=torch.bfloat16)
    inputs = builder(sampled(CLIPS))
    run = OnePass(model, shared_beginning(builder(CHECKED)))
    assert_equal(run(inputs).float(), PlainPass(model)(inputs).float(), atol=5e-2)
    assert matches_model(model)


def test_a_model_that_computes_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    assert matches_model(model)
    last = model.model.language_model.layers[-1].self_attn
    forward = last.forward

    def scaled(*args: object, **kwargs: object) -> tuple[torch.Tensor, None]:
        output, weights = forward(*args, **kwargs)
        return output * 1.01, weights

    monkeypatch.setattr(last, "forward", scaled)
    assert not matches_model(model)


def test_nan_weights_match_nothing(model: Model) -> None:
    broken = make_model()
    broken.lm_head.weight.detach().fill_(float("nan"))
    assert not matches_model(broken)


def test_where_they_differ_the_plain_pass_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_checkpoint(tmp_path)
    fast = RoboReward(folder, device="cpu", protocol=SMALL_CLIPS, off_format_limit=1.0)
    monkeypatch.setattr(roboreward, "matches_model", lambda _: False)
    plain = RoboReward(folder, device="cpu", protocol=SMALL_CLIPS, off_format_limit=1.0)
    for a, b in zip(fast.score(CLIPS), plain.score(CLIPS), strict=True):
        assert (a.manifest["forward"], b.manifest["forward"]) == ("one pass", "transformers")
        assert a.level == b.level
        np.testing.assert_allclose(probabilities_of(a), probabilities_of(b), atol=1e-5)


def test_the_shared_beginning_ends_before_task_and_video(builder: InputBuilder) -> None:
    tokenizer = qwen3_tokenizer()
    text = tokenizer.decode(shared_beginning(builder(CHECKED)))
    assert text.startswith("<|im_start|>user\nGiven the task, assign")
    assert text.endswith("\n\nTask:")
    twice = [CHECKED[0], CHECKED[0]]
    assert "duck" in tokenizer.decode(begin := shared_beginning(builder(twice)))
    assert tokenizer.convert_tokens_to_ids("<|video_pad|>") not in begin


@pytest.mark.parametrize("threads", [1, 2])
def test_cores_that_torch_leaves_free_share_the_clips_of_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    judge = RoboReward(
        write_tiny_checkpoint(tmp_path), device="cpu", protocol=SMALL_CLIPS, off_format_limit=1.0
    )
    monkeypatch.setattr(roboreward.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert roboreward.free_cores() == 4 // threads
    clips = [random_clip(9, seed=seed) for seed in range(9)]
    for clip, score in zip(clips, judge.score(clips), strict=True):
        np.testing.assert_array_equal(
            probabilities_of(score), probabilities_of(judge.score([clip])[0])
        )
