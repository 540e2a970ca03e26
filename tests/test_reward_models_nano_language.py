import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from reward_models.data.reward_data import RewardData
from reward_models.nano.config import LanguageConfig
from reward_models.nano.features import CachedTower, FeatureCache, cache_features
from reward_models.nano.language import ChatEncoder, language_loss, predict_levels
from reward_models.nano.questions import (
    DESCRIBE,
    LOCATE,
    Question,
    QuestionSampler,
    balanced_probabilities,
    score_question,
    vocabulary,
)
from reward_models.protocol.frames import sample_clip
from reward_models.protocol.prompt import ANSWER_PREFIX
from reward_models.qwen3vl.roboreward import RoboReward
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import SMALL_CLIPS, probabilities_of, write_tiny_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RewardData:
    folder = write_reward_folder(tmp_path_factory.mktemp("data") / "train", 12, size=(32, 64))
    return RewardData.open([folder], "train")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(checkpoint: Path) -> RoboReward:
    return RoboReward(checkpoint, protocol=SMALL_CLIPS, off_format_limit=1.0)


@pytest.fixture
def cache(model: RoboReward, data: RewardData, tmp_path: Path) -> FeatureCache:
    return cache_features(
        model.model,
        data,
        tmp_path / "features",
        protocol=SMALL_CLIPS,
        batch_size=5,
    )


def test_cached_features_give_the_scores_of_the_pixels(
    model: RoboReward, cache: FeatureCache, data: RewardData
) -> None:
    scores = model.score([data.clip(e.clip, e.task) for e in data.examples])
    model.model.model.visual = CachedTower(model.model.model.visual)
    encoder = ChatEncoder(model.tokenizer)
    questions = [score_question(e, encoder.end_of_turn) for e in data.examples]
    batch = encoder.collate(questions, cache, text_weight=0.5)
    _, logits = language_loss(model.model, batch)
    digits = logits[batch.is_digit].softmax(-1)[:, model._digits]
    for score, mass in zip(scores, digits, strict=True):
        # Features are kept in half precision.
        expected = (mass / mass.sum()).detach().numpy()
        np.testing.assert_allclose(probabilities_of(score), expected, atol=5e-3)
        assert score.off_format == pytest.approx(1 - mass.sum().item(), abs=5e-3)
    levels = predict_levels(model.model, encoder, cache, data.examples, batch_size=7)
    assert levels.tolist() == [score.level for score in scores]
    assert len(set(levels.tolist())) > 1


def test_chats_have_the_token_ids_of_scoring(
    model: RoboReward, cache: FeatureCache, data: RewardData
) -> None:
    encoder = ChatEncoder(model.tokenizer)
    for example in data.examples[:4]:
        question = score_question(example, encoder.end_of_turn)
        ids, first = encoder.encode(
            question.text,
            question.answer,
            cache.grids[question.clip],
            cache.group_times_s[question.clip],
        )
        theirs = model.prepare([sample_clip(data.clip(example.clip, example.task), SMALL_CLIPS)])
        prefix = len(model.tokenizer.encode(ANSWER_PREFIX))
        assert ids[: first + prefix] == theirs["input_ids"][0].tolist()
        assert ids[-1] == model.tokenizer.turn_end
        assert model.tokenizer.decode(ids[first:]) == f"ANSWER: {example.level}"


def test_a_padded_batch_has_the_loss_of_its_rows(
    model: RoboReward, cache: FeatureCache, data: RewardData
) -> None:
    model.model.model.visual = CachedTower(model.model.model.visual)
    encoder = ChatEncoder(model.tokenizer)
    config = LanguageConfig(batch_size=9, describe_share=(0.3, 0.3), locate_share=(0.3, 0.3))
    questions = QuestionSampler(data, config, encoder.end_of_turn, seed=0).draw(0)
    with torch.inference_mode():
        together, _ = language_loss(model.model, encoder.collate(questions, cache, 0.5))
        alone = [
            language_loss(model.model, encoder.collate([question], cache, 0.5))[0]
            for question in questions
        ]
    assert together.item() == pytest.approx(float(np.mean(alone)), rel=1e-4)


def test_the_digit_of_a_score_weighs_most_and_words_share_the_rest(
    model: RoboReward, cache: FeatureCache
) -> None:
    encoder = ChatEncoder(model.tokenizer)
    end = encoder.end_of_turn
    questions = [
        Question(0, "Score it.", f"{ANSWER_PREFIX}4{end}", is_score=True),
        Question(1, DESCRIBE, f" the duck is on the towel{end}", is_score=False),
    ]
    batch = encoder.collate(questions, cache, text_weight=0.5)
    score, description = (batch.answer_positions[:, 0] == row for row in (0, 1))
    words = len(model.tokenizer.encode(f"{ANSWER_PREFIX}4{end}"))
    weights = batch.loss_weights[score].tolist()
    assert sorted(weights)[-1] == 1.0
    assert sorted(weights)[:-1] == pytest.approx([0.1 * 0.5 / words] * (words - 1))
    assert model.tokenizer.decode(batch.targets[batch.is_digit].tolist()) == "4"
    # A description is worth half a digit, however long it is.
    assert batch.loss_weights[description].sum().item() == pytest.approx(0.5)
    assert not batch.is_digit[description].any()


def test_the_loss_is_the_weighted_cross_entropy_of_both_kinds_of_answers(
    model: RoboReward, cache: FeatureCache
) -> None:
    model.model.model.visual = CachedTower(model.model.model.visual)
    encoder = ChatEncoder(model.tokenizer)
    end = encoder.end_of_turn
    questions = [
        Question(0, "Score it.", f"{ANSWER_PREFIX}4{end}", is_score=True),
        Question(1, DESCRIBE, f" the duck is on the towel{end}", is_score=False),
    ]
    batch = encoder.collate(questions, cache, text_weight=0.5)
    with torch.inference_mode():
        loss, logits = language_loss(model.model, batch)
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(1, keepdims=True)
    right = probabilities[np.arange(len(batch.targets)), batch.targets.numpy()]
    by_hand = -(np.log(right) * batch.loss_weights.numpy()).sum() / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-4)


def test_questions_repeat_for_the_same_seed(data: RewardData) -> None:
    first, same, other = (
        QuestionSampler(data, LanguageConfig(), "<e>", seed) for seed in (0, 0, 1)
    )
    assert first.draw(5) == same.draw(5)
    assert first.draw(5) != first.draw(6)
    assert first.draw(5) != other.draw(5)


def test_shares_of_the_questions_are_kept(data: RewardData) -> None:
    config = LanguageConfig(
        batch_size=400, steps=10, describe_share=(0.5, 0.0), locate_share=(0.25, 0.0)
    )
    sampler = QuestionSampler(data, config, "<e>", 0)
    early, late = sampler.draw(0), sampler.draw(9)
    assert sum(t.text == DESCRIBE for t in early) == pytest.approx(200, abs=40)
    assert sum(t.text.startswith(LOCATE) for t in early) == pytest.approx(100, abs=40)
    assert all(t.is_score for t in late)


def test_locations_are_those_of_the_last_frame(data: RewardData) -> None:
    config = LanguageConfig(
        batch_size=20, describe_share=(0.0, 0.0), locate_share=(1.0, 1.0), located=1
    )
    for question in QuestionSampler(data, config, "", 0).draw(0):
        name, *place = question.answer.split()
        x, y, present, _ = data.dense[question.clip, -1, data.landmarks.index(name)]
        assert question.text == f"{LOCATE} {name}"
        assert present
        np.testing.assert_allclose(np.array(place, int) / 40, (x, y), atol=1 / 40)


def test_without_negatives_only_successes_are_asked(data: RewardData) -> None:
    config = LanguageConfig(negatives=False, describe_share=(0.0, 0.0), locate_share=(0.0, 0.0))
    questions = QuestionSampler(data, config, "", 0).draw(0)
    assert {question.answer for question in questions} == {"ANSWER: 5"}
    successes = {e.clip for e in data.examples if e.level == 5 and e.kind == "original"}
    assert {question.clip for question in questions} <= successes


def test_balance_makes_cells_equally_frequent(data: RewardData) -> None:
    chances = balanced_probabilities(data, data.examples, 1.0)
    cells: dict[tuple[str, int], float] = {}
    for example, chance in zip(data.examples, chances, strict=True):
        cells[example.kind, example.level] = cells.get((example.kind, example.level), 0.0) + chance
    assert max(cells.values()) == pytest.approx(min(cells.values()))
    assert len(set(balanced_probabilities(data, data.examples, 0.0).tolist())) == 1


def test_the_balance_of_the_settings_is_used(data: RewardData) -> None:
    def rare(balance: float) -> int:
        """How often one of the two rarest cells is drawn."""
        config = LanguageConfig(
            batch_size=2_000, balance=balance, describe_share=(0.0, 0.0), locate_share=(0.0, 0.0)
        )
        drawn = QuestionSampler(data, config, "", 0).draw(0)
        return sum(not question.answer.endswith("1") for question in drawn)

    # Half of the examples are counterfactuals at level 1, and all of these are one cell of several.
    assert rare(1.0) > rare(0.0) + 300


def test_hidden_things_are_answered_with_a_word(data: RewardData) -> None:
    dense = data.dense.copy()
    dense[:, -1, :, 2] = 0
    hidden = dataclasses.replace(data, dense=dense)
    config = LanguageConfig(describe_share=(0.0, 0.0), locate_share=(1.0, 1.0), located=2)
    assert all(
        t.answer.split()[1::2] == ["hidden"] * 2
        for t in QuestionSampler(hidden, config, "", 0).draw(0)
    )


def test_vocabulary_covers_tasks_and_captions(data: RewardData) -> None:
    words = vocabulary(data)
    assert {"put", "towel", "off", "hidden", "."} <= set(words)
    assert all(" " not in word for word in words)
