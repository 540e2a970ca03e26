"""Batches for training: the tokens of scoring with answers behind them, and which of them carry how much loss."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.random_checkpoint import qwen3_tokenizer
from reward_models.data.reward_data import RewardData
from reward_models.protocol.frames import sample_clip
from reward_models.protocol.prompt import ANSWER_PREFIX
from reward_models.protocol.tokens import TURN_END, PromptTokenizer
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.training.collate import MODEL_INPUTS, NO_TARGET, Collator, Sample
from reward_models.training.config import NAMED, LossConfig
from reward_models.training.data import SimulatedClips, simulated_set
from reward_models.training.errors import InvalidTrainingData
from reward_models.training.features import PixelVisuals, cache_features
from reward_models.training.losses import answer_loss, digit_log_mass
from reward_models.training.projector import Projector
from reward_models.training.questions import Question
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import SMALL_CLIPS, probabilities_of, write_tiny_checkpoint

DEFAULT = LossConfig()
WORDS = Question(1, "Describe the final state.", f" the duck is on the towel{TURN_END}")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RewardData:
    folder = write_reward_folder(tmp_path_factory.mktemp("data") / "train", 6, size=(32, 64))
    return RewardData.open([folder], "train")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RoboReward:
    folder: Path = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
    return RoboReward(folder, protocol=SMALL_CLIPS, off_format_limit=1.0)


def samples(data: RewardData, *others: Question) -> list[Sample]:
    asked = [*simulated_set(data).questions, *others]
    visuals = PixelVisuals(SimulatedClips(data, SMALL_CLIPS), SMALL_CLIPS)
    return [Sample(i, question, visuals[question.clip]) for i, question in enumerate(asked)]


def collator(
    tokenizer: PromptTokenizer, loss: LossConfig = DEFAULT, max_length: int = 9_999
) -> Collator:
    return Collator(tokenizer, loss, max_length)


def logits_of(model: RoboReward, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    given = {name: batch[name] for name in MODEL_INPUTS}
    with torch.inference_mode():
        kept = batch["targets"].shape[1] + 1
        return model.model(**given, use_cache=False, logits_to_keep=kept).logits[:, :-1]


def test_prompts_are_those_of_scoring(model: RoboReward, data: RewardData) -> None:
    end = len(model.tokenizer.encode(f"3{TURN_END}"))
    for sample in samples(data):
        batch = collator(model.tokenizer)([sample])
        example = data.examples[sample.index]
        theirs = model.prepare([sample_clip(data.clip(example.clip, example.task), SMALL_CLIPS)])
        for name in ("input_ids", "position_ids"):
            assert torch.equal(batch[name][..., :-end], theirs[name]), name
        for name in ("pixel_values_videos", "video_grid_thw"):
            assert torch.equal(batch[name], theirs[name]), name
        answer = batch["input_ids"][0, -end - len(model.tokenizer.encode(ANSWER_PREFIX)) :]
        assert model.tokenizer.decode(answer.tolist()) == f"ANSWER: {example.level}"


def test_the_digit_of_a_batch_gets_the_probabilities_of_scoring(
    model: RoboReward, data: RewardData
) -> None:
    scores = model.score([data.clip(e.clip, e.task) for e in data.examples])
    batch = collator(model.tokenizer)(samples(data, WORDS))
    mass = digit_log_mass(
        logits_of(model, batch), batch["digit"], torch.tensor(model.tokenizer.digits)
    )
    probabilities = mass.softmax(-1).numpy()[: len(scores)]
    for score, ours in zip(scores, probabilities, strict=True):
        np.testing.assert_allclose(ours, probabilities_of(score), atol=1e-4)
    assert len({score.level for score in scores}) > 1


def test_answers_of_different_lengths_end_at_the_same_place(
    model: RoboReward, data: RewardData
) -> None:
    batch = collator(model.tokenizer)(samples(data, WORDS))
    targets, ids = batch["targets"], batch["input_ids"]
    assert (targets[:, -1] == model.tokenizer.turn_end).all()
    known = targets != NO_TARGET
    assert torch.equal(ids[:, -targets.shape[1] :][known], targets[known])
    digits = targets[torch.arange(len(targets)), batch["digit"]][:-1]
    assert model.tokenizer.decode(digits.tolist()) == "".join(
        str(example.level) for example in data.examples
    )
    assert batch["digit"][-1] == -1
    assert batch["levels"].tolist() == [*(e.level for e in data.examples), 0]


def test_words_share_their_weight_and_the_digit_has_its_own(
    model: RoboReward, data: RewardData
) -> None:
    loss = LossConfig(words=0.3, text=0.5)
    batch = collator(model.tokenizer, loss)(samples(data, WORDS))
    torch.testing.assert_close(
        batch["weights"].sum(1), torch.tensor([0.3] * len(data.examples) + [0.5])
    )
    rows = torch.arange(len(data.examples))
    assert (batch["weights"][rows, batch["digit"][:-1]] == 0).all()
    assert (batch["weights"][batch["targets"] == NO_TARGET] == 0).all()


def test_a_padded_batch_has_the_mean_loss_of_its_rows(model: RoboReward, data: RewardData) -> None:
    digits = torch.tensor(model.tokenizer.digits)

    def loss(chosen: list[Sample]) -> float:
        batch = collator(model.tokenizer)(chosen)
        return answer_loss(logits_of(model, batch), batch, digits, LossConfig()).item()

    everything = samples(data, WORDS)
    alone = [loss([sample]) for sample in everything]
    assert loss(everything) == pytest.approx(float(np.mean(alone)), rel=1e-4)


def test_equal_weights_give_the_loss_of_the_library(model: RoboReward, data: RewardData) -> None:
    """What the authors train with: plain cross-entropy over the tokens of the answer."""
    batch = collator(model.tokenizer)(samples(data))
    tokens = batch["targets"].shape[1]
    plain = LossConfig(digit=1 / tokens, words=(tokens - 1) / tokens)
    batch = collator(model.tokenizer, plain)(samples(data))
    labels = torch.full_like(batch["input_ids"], NO_TARGET)
    labels[:, -tokens:] = batch["targets"]
    with torch.inference_mode():
        theirs = model.model(
            **{n: batch[n] for n in MODEL_INPUTS}, labels=labels, use_cache=False
        ).loss
    digits = torch.tensor(model.tokenizer.digits)
    ours = answer_loss(logits_of(model, batch), batch, digits, plain)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)


def test_the_settings_of_the_authors_weigh_all_tokens_of_qwen3_alike() -> None:
    tokenizer = PromptTokenizer(qwen3_tokenizer().backend_tokenizer)
    tokens = len(tokenizer.encode(f"{ANSWER_PREFIX}3{TURN_END}"))
    for name in ("roboreward-4b", "roboreward-8b"):
        loss = NAMED[name].sft.loss
        assert (loss.digit, loss.words) == pytest.approx((1 / tokens, (tokens - 1) / tokens))


def test_features_on_disk_give_the_logits_of_the_pixels(
    model: RoboReward, data: RewardData, tmp_path: Path
) -> None:
    batch = collator(model.tokenizer)(samples(data))
    expected = logits_of(model, batch)
    visual = model.model.model.visual
    cache = cache_features(
        visual, SimulatedClips(data, SMALL_CLIPS), tmp_path, protocol=SMALL_CLIPS, batch_size=4
    )
    stored = [Sample(s.index, s.question, cache[s.question.clip]) for s in samples(data)]
    batch = collator(model.tokenizer)(stored)
    model.model.model.visual = Projector(visual)
    try:
        found = logits_of(model, batch)
    finally:
        model.model.model.visual = visual
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_an_example_that_is_too_long_is_named(model: RoboReward, data: RewardData) -> None:
    sample = samples(data)[0]
    with pytest.raises(InvalidTrainingData, match=r"toy-train-0-0#0 has \d+ tokens.*limit of 30"):
        collator(model.tokenizer, max_length=30)([sample])
