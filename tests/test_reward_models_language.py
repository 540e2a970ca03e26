import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from reward_models.data.reward_data import RewardData
from reward_models.nano.features import CachedTower, FeatureCache, cache_features
from reward_models.nano.language import (
    DESCRIBE,
    LOCATE,
    ChatEncoder,
    LanguageConfig,
    TurnSampler,
    balanced_chances,
    language_loss,
    predict,
    score_turn,
    vocabulary,
)
from reward_models.protocol.frames import sample_clip
from reward_models.protocol.prompt import ANSWER_PREFIX
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.errors import WeightsError
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
def judge(checkpoint: Path) -> RoboReward:
    return RoboReward(checkpoint, protocol=SMALL_CLIPS, off_format_limit=1.0)


@pytest.fixture
def cache(judge: RoboReward, data: RewardData, tmp_path: Path) -> FeatureCache:
    return cache_features(
        judge.model,
        judge.processor,
        data,
        tmp_path / "features",
        key="k",
        protocol=SMALL_CLIPS,
        batch_size=5,
    )


def test_cached_features_give_the_scores_of_the_pixels(
    judge: RoboReward, cache: FeatureCache, data: RewardData
) -> None:
    scores = judge.score([data.clip(e.clip, e.task) for e in data.examples])
    judge.model.model.visual = CachedTower(judge.model.model.visual)
    encoder = ChatEncoder(judge.processor, judge.model)
    turns = [score_turn(e, encoder.end) for e in data.examples]
    batch = encoder.collate(turns, cache, text_weight=0.5)
    _, logits = language_loss(judge.model, batch)
    digits = logits[batch.weight == 1.0].softmax(-1)[:, judge._digits]
    for score, mass in zip(scores, digits, strict=True):
        # Features are kept in half precision.
        expected = (mass / mass.sum()).detach().numpy()
        np.testing.assert_allclose(probabilities_of(score), expected, atol=5e-3)
        assert score.off_format == pytest.approx(1 - mass.sum().item(), abs=5e-3)
    levels = predict(judge.model, encoder, cache, data.examples, judge.processor, batch_size=7)
    assert levels.tolist() == [score.level for score in scores]
    assert len(set(levels.tolist())) > 1


def test_chats_have_the_token_ids_of_the_processor(
    judge: RoboReward, cache: FeatureCache, data: RewardData
) -> None:
    encoder = ChatEncoder(judge.processor, judge.model)
    for example in data.examples[:4]:
        turn = score_turn(example, encoder.end)
        ids, first = encoder.encode(
            turn.question, turn.answer, cache.grids[turn.clip], cache.group_times_s[turn.clip]
        )
        theirs = judge.prepare([sample_clip(data.clip(example.clip, example.task), SMALL_CLIPS)])
        prefix = len(judge.processor.tokenizer.encode(ANSWER_PREFIX))
        assert ids[: first + prefix] == theirs["input_ids"][0].tolist()
        assert judge.processor.tokenizer.decode(ids[first:]) == f"ANSWER: {example.level}<|im_end|>"


def test_a_padded_batch_has_the_loss_of_its_rows(
    judge: RoboReward, cache: FeatureCache, data: RewardData
) -> None:
    judge.model.model.visual = CachedTower(judge.model.model.visual)
    encoder = ChatEncoder(judge.processor, judge.model)
    config = LanguageConfig(batch_size=9, describe_share=(0.3, 0.3), locate_share=(0.3, 0.3))
    turns = TurnSampler(data, config, encoder.end, seed=0).draw(0)
    with torch.inference_mode():
        together, _ = language_loss(judge.model, encoder.collate(turns, cache, 0.5))
        alone = [
            language_loss(judge.model, encoder.collate([turn], cache, 0.5))[0] for turn in turns
        ]
    assert together.item() == pytest.approx(float(np.mean(alone)), rel=1e-4)


def test_a_finished_cache_is_opened_not_computed(
    judge: RoboReward, cache: FeatureCache, data: RewardData, tmp_path: Path
) -> None:
    assert FeatureCache.open(tmp_path / "features", "other key") is None
    judge.model.model.visual = None
    again = cache_features(judge.model, judge.processor, data, tmp_path / "features", key="k")
    np.testing.assert_array_equal(again.read(3), cache.read(3))


def test_a_cache_that_was_cut_is_an_error(cache: FeatureCache) -> None:
    with pytest.raises(WeightsError, match="cached tokens"):
        FeatureCache(cache.values[:-1], cache.grids, cache.group_times_s)


def test_questions_repeat_for_the_same_seed(data: RewardData) -> None:
    first, same, other = (TurnSampler(data, LanguageConfig(), "<e>", seed) for seed in (0, 0, 1))
    assert first.draw(5) == same.draw(5)
    assert first.draw(5) != first.draw(6)
    assert first.draw(5) != other.draw(5)


def test_shares_of_the_questions_are_kept(data: RewardData) -> None:
    config = LanguageConfig(
        batch_size=400, steps=10, describe_share=(0.5, 0.0), locate_share=(0.25, 0.0)
    )
    sampler = TurnSampler(data, config, "<e>", 0)
    early, late = sampler.draw(0), sampler.draw(9)
    assert sum(t.question == DESCRIBE for t in early) == pytest.approx(200, abs=40)
    assert sum(t.question.startswith(LOCATE) for t in early) == pytest.approx(100, abs=40)
    assert all(t.scored for t in late)


def test_places_are_those_of_the_last_frame(data: RewardData) -> None:
    config = LanguageConfig(
        batch_size=20, describe_share=(0.0, 0.0), locate_share=(1.0, 1.0), located=1
    )
    for turn in TurnSampler(data, config, "", 0).draw(0):
        name, *place = turn.answer.split()
        x, y, present, _ = data.dense[turn.clip, -1, data.landmarks.index(name)]
        assert turn.question == f"{LOCATE} {name}"
        assert present
        np.testing.assert_allclose(np.array(place, int) / 40, (x, y), atol=1 / 40)


def test_without_negatives_only_successes_are_asked(data: RewardData) -> None:
    config = LanguageConfig(negatives=False, describe_share=(0.0, 0.0), locate_share=(0.0, 0.0))
    turns = TurnSampler(data, config, "", 0).draw(0)
    assert {turn.answer for turn in turns} == {"ANSWER: 5"}
    successes = {e.clip for e in data.examples if e.level == 5 and e.kind == "original"}
    assert {turn.clip for turn in turns} <= successes


def test_balance_makes_cells_equally_frequent(data: RewardData) -> None:
    chances = balanced_chances(data, data.examples, 1.0)
    cells: dict[tuple[str, int], float] = {}
    for example, chance in zip(data.examples, chances, strict=True):
        cells[example.kind, example.level] = cells.get((example.kind, example.level), 0.0) + chance
    assert max(cells.values()) == pytest.approx(min(cells.values()))
    assert len(set(balanced_chances(data, data.examples, 0.0).tolist())) == 1


def test_hidden_things_are_answered_with_a_word(data: RewardData) -> None:
    dense = data.dense.copy()
    dense[:, -1, :, 2] = 0
    hidden = dataclasses.replace(data, dense=dense)
    config = LanguageConfig(describe_share=(0.0, 0.0), locate_share=(1.0, 1.0), located=2)
    assert all(
        t.answer.split()[1::2] == ["hidden"] * 2 for t in TurnSampler(hidden, config, "", 0).draw(0)
    )


def test_vocabulary_covers_commands_and_captions(data: RewardData) -> None:
    words = vocabulary(data)
    assert {"put", "towel", "off", "hidden", "."} <= set(words)
    assert all(" " not in word for word in words)
