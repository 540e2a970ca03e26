"""The questions that nano's language model is asked."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from reward_models.data.reward_data import Example, RewardData
from reward_models.nano.config import QuestionConfig
from reward_models.nano.questions import (
    DESCRIBE,
    LOCATE,
    QuestionSampler,
    balanced_probabilities,
    vocabulary,
)
from reward_models.protocol.tokens import TURN_END
from roboreward_gym.errors import InvalidSetting
from tests.reward_folder import write_reward_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RewardData:
    folder = write_reward_folder(tmp_path_factory.mktemp("data") / "train", 12, size=(32, 64))
    return RewardData.open([folder], "train")


def sampler(
    data: RewardData, *, seed: int = 0, steps: int = 10, per_step: int = 32, **settings: Any
) -> QuestionSampler:
    return QuestionSampler(
        data, QuestionConfig(**settings), steps=steps, per_step=per_step, seed=seed
    )


NO_WORDS = {"describe_share": (0.0, 0.0), "locate_share": (0.0, 0.0)}
"""Scores only."""


def test_questions_repeat_for_the_same_seed(data: RewardData) -> None:
    first, same, other = (sampler(data, seed=seed) for seed in (0, 0, 1))
    assert first.draw(5) == same.draw(5)
    assert first.draw(5) != first.draw(6)
    assert first.draw(5) != other.draw(5)


def test_places_count_through_the_questions_of_the_steps(data: RewardData) -> None:
    questions = sampler(data, steps=3, per_step=4)
    drawn = [question for step in range(3) for question in questions.draw(step)]
    assert len(questions) == 12
    assert list(questions) == drawn
    assert questions[9] == drawn[9]  # also out of order, as after a resumed run
    assert questions[2] == drawn[2]
    with pytest.raises(IndexError):
        questions[12]


def test_shares_of_the_questions_are_kept(data: RewardData) -> None:
    questions = sampler(
        data, per_step=400, steps=10, describe_share=(0.5, 0.0), locate_share=(0.25, 0.0)
    )
    early, late = questions.draw(0), questions.draw(9)
    assert sum(q.text == DESCRIBE for q in early) == pytest.approx(200, abs=40)
    assert sum(q.text.startswith(LOCATE) for q in early) == pytest.approx(100, abs=40)
    assert all(q.level is not None for q in late)


def test_locations_are_those_of_the_last_frame(data: RewardData) -> None:
    questions = sampler(
        data, per_step=20, describe_share=(0.0, 0.0), locate_share=(1.0, 1.0), located=1
    )
    for question in questions.draw(0):
        name, *place = question.answer.removesuffix(TURN_END).split()
        x, y, present, _ = data.dense[question.clip, -1, data.landmarks.index(name)]
        assert question.text == f"{LOCATE} {name}"
        assert present
        np.testing.assert_allclose(np.array(place, int) / 40, (x, y), atol=1 / 40)


def test_pairs_ask_about_one_clip_what_is_done_in_it_and_what_is_not(data: RewardData) -> None:
    for step in range(10):
        drawn = sampler(data, contrast_share=1.0, **NO_WORDS).draw(step)
        for one, other in zip(drawn[::2], drawn[1::2], strict=True):
            assert one.clip == other.clip
            assert one.text != other.text
            assert (one.level == 5) != (other.level == 5)


def test_so_many_scores_come_in_pairs(data: RewardData) -> None:
    def success_share(**settings: Any) -> float:
        drawn = sampler(data, per_step=2000, balance=0.0, **NO_WORDS, **settings).draw(0)
        return float(np.mean([question.level == 5 for question in drawn]))

    alone = np.mean([example.level == 5 for example in data.examples])
    assert success_share() == pytest.approx(alone, abs=0.04)
    assert success_share(contrast_share=0.5) == pytest.approx(0.25 + alone / 2, abs=0.04)


def test_pairs_may_be_of_tasks_with_certain_words(data: RewardData) -> None:
    paired = {"contrast_share": 1.0, **NO_WORDS}
    done = [example for example in data.examples if example.level == 5]
    word = done[0].task.split()[2]  # only the tasks about one of the things
    clips = {e.clip for e in data.examples if word in e.task and e.level == 5}
    others = {e.clip for e in data.examples if word in e.task and e.level < 5}
    assert not clips & others
    with pytest.raises(InvalidSetting, match="no pairs"):
        sampler(data, contrast_words=(word,), **paired)
    drawn = sampler(data, contrast_words=("towel",), **paired).draw(0)
    assert drawn == sampler(data, **paired).draw(0)


def test_a_score_names_its_example_and_subset(data: RewardData) -> None:
    for question in sampler(data, **NO_WORDS).draw(0):
        episode, _, number = question.name.rpartition("#")
        example = data.examples[int(number)]
        assert (question.clip, question.level) == (example.clip, example.level)
        assert question.subset == data.subsets[int(number)]
        assert episode == data.clips[example.clip].episode


def test_without_negatives_only_successes_are_asked(data: RewardData) -> None:
    questions = sampler(data, negatives=False, **NO_WORDS).draw(0)
    assert {question.answer for question in questions} == {f"ANSWER: 5{TURN_END}"}
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
        """How often one of the rarer cells is drawn."""
        drawn = sampler(data, per_step=2_000, balance=balance, **NO_WORDS).draw(0)
        return sum(question.level != 1 for question in drawn)

    # Half of the examples are counterfactuals at level 1, and all of these are one cell of several.
    assert rare(1.0) > rare(0.0) + 300


def test_hidden_things_are_answered_with_a_word(data: RewardData) -> None:
    dense = data.dense.copy()
    dense[:, -1, :, 2] = 0
    hidden = dataclasses.replace(data, dense=dense)
    questions = sampler(hidden, describe_share=(0.0, 0.0), locate_share=(1.0, 1.0), located=2)
    for question in questions.draw(0):
        assert question.answer.removesuffix(TURN_END).split()[1::2] == ["hidden"] * 2


def test_vocabulary_covers_tasks_and_captions(data: RewardData) -> None:
    words = vocabulary(data)
    assert {"put", "towel", "off", "hidden", "."} <= set(words)
    assert all(" " not in word for word in words)


def test_vocabulary_has_no_word_with_a_full_stop(data: RewardData) -> None:
    spelled = dataclasses.replace(
        data, examples=(Example(0, "Put the red one on the towel.", 1, "organic"),)
    )
    words = vocabulary(spelled)
    assert {"Put", "towel", "."} <= set(words)
    assert "towel." not in words
